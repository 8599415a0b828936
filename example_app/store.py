"""Channels of numbered items that every execution environment sees: SQLite on one machine, DynamoDB on AWS.

Environments share no memory, and an open stream occupies one, so who posts and who listens are never in the same
process. What they share is this: a writer appends to a channel, a listener asks for what came after the last number
that it has seen. Numbers grow, and become visible in their order: whoever has seen number 7 has seen, or will never
see, all below it. That is what lets a listener come back with its `Last-Event-ID` and miss nothing.
"""

import asyncio
import contextlib
import functools
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol

from fastapi import Depends

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import QueryInputTypeDef

PAGE = 500  # items that one read returns at most
KEPT = 24 * 3600  # seconds until an item may be forgotten


class Item(NamedTuple):
    id: int
    at: float  # seconds since the epoch
    data: dict[str, Any]


class Store(Protocol):
    """`poll` is how long a listener waits between two reads, in seconds."""

    poll: float

    async def append(self, channel: str, data: Mapping[str, Any]) -> int:
        """Appends an item, JSON, and returns its number."""

    async def read(self, channel: str, after: int) -> list[Item]:
        """The items with a number above `after`, oldest first, a page at most."""

    async def recent(self, channel: str, count: int = PAGE) -> list[Item]:
        """The newest `count` items, oldest first."""


class SQLiteStore:
    """In a file that other processes write as well."""

    poll = 0.1

    def __init__(self, path: Path) -> None:
        import sqlite3

        if not path.exists():
            self._create(path)
        self._database = sqlite3.connect(path, timeout=10, check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()

    @staticmethod
    def _create(path: Path) -> None:
        """Makes the file beside its place and links it there: no other environment meets half of it."""
        import sqlite3

        draft = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        with contextlib.closing(sqlite3.connect(draft)) as database:
            database.executescript("""
                PRAGMA journal_mode = WAL;
                CREATE TABLE items (
                    id INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, at REAL NOT NULL, data TEXT NOT NULL
                );
                CREATE INDEX items_of_a_channel ON items (channel, id);
                CREATE INDEX items_by_time ON items (at);
            """)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()

    async def append(self, channel: str, data: Mapping[str, Any]) -> int:
        return await asyncio.to_thread(self._append, channel, json.dumps(data))

    def _append(self, channel: str, data: str) -> int:
        now = time.time()
        with self._lock:
            cursor = self._database.execute(
                "INSERT INTO items (channel, at, data) VALUES (?, ?, ?)", (channel, now, data)
            )
            # AUTOINCREMENT uses no number again, also when all have been deleted.
            self._database.execute("DELETE FROM items WHERE at < ?", (now - KEPT,))
        return int(cursor.lastrowid or 0)

    async def read(self, channel: str, after: int) -> list[Item]:
        return await asyncio.to_thread(
            self._select, "channel = ? AND id > ? ORDER BY id LIMIT ?", (channel, after, PAGE)
        )

    async def recent(self, channel: str, count: int = PAGE) -> list[Item]:
        newest = await asyncio.to_thread(self._select, "channel = ? ORDER BY id DESC LIMIT ?", (channel, count))
        return newest[::-1]

    def _select(self, condition: str, values: tuple[Any, ...]) -> list[Item]:
        with self._lock:
            rows = self._database.execute(
                f"SELECT id, at, data FROM items WHERE {condition}",  # noqa: S608 - of the two texts above
                values,
            ).fetchall()
        return [Item(number, at, json.loads(data)) for number, at, data in rows]

    def close(self) -> None:
        self._database.close()


class DynamoStore:
    """In a DynamoDB table with the keys `channel` (string) and `id` (number), and `expires` as its time to live.

    Item 0 of a channel holds its last number. An item and the new last number are written in one transaction, on
    condition that no other writer was faster: numbers have no gaps, and none is used twice.
    """

    poll = 0.4

    def __init__(self, table: str) -> None:
        import boto3

        self._table = table
        self._client = boto3.client("dynamodb")

    async def append(self, channel: str, data: Mapping[str, Any]) -> int:
        return await asyncio.to_thread(self._append, channel, json.dumps(data))

    def _append(self, channel: str, data: str) -> int:
        for attempt in range(10):
            last = self._last(channel)
            try:
                self._write(channel, last, data)
            except self._client.exceptions.TransactionCanceledException as error:
                reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
                if not reasons <= {"None", "ConditionalCheckFailed", "TransactionConflict"}:
                    raise
                # Another writer took the number.
                time.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - no secret
            else:
                return last + 1
        raise TimeoutError(f"too many write to the channel {channel} at once: nothing was appended")

    def _last(self, channel: str) -> int:
        head = self._client.get_item(
            TableName=self._table, Key={"channel": {"S": channel}, "id": {"N": "0"}}, ConsistentRead=True
        ).get("Item")
        return int(head["last"]["N"]) if head else 0

    def _write(self, channel: str, last: int, data: str) -> None:
        now = time.time()
        self._client.transact_write_items(
            TransactItems=[
                {
                    "Update": {
                        "TableName": self._table,
                        "Key": {"channel": {"S": channel}, "id": {"N": "0"}},
                        "UpdateExpression": "SET #last = :new",
                        "ConditionExpression": "attribute_not_exists(#last) OR #last = :last",
                        "ExpressionAttributeNames": {"#last": "last"},
                        "ExpressionAttributeValues": {":last": {"N": str(last)}, ":new": {"N": str(last + 1)}},
                    }
                },
                {
                    "Put": {
                        "TableName": self._table,
                        "Item": {
                            "channel": {"S": channel},
                            "id": {"N": str(last + 1)},
                            "at": {"N": f"{now:.3f}"},
                            "data": {"S": data},
                            "expires": {"N": str(int(now) + KEPT)},
                        },
                    }
                },
            ]
        )

    async def read(self, channel: str, after: int) -> list[Item]:
        items = await asyncio.to_thread(self._query, channel, after, PAGE)
        expected = after or (items[0].id - 1 if items else 0)
        if any(item.id != number for number, item in enumerate(items, expected + 1)):
            # A query reads item by item: one that is written meanwhile may be missed and the next one found. What is
            # still not there a moment later has expired.
            await asyncio.sleep(0.1)
            items = await asyncio.to_thread(self._query, channel, after, PAGE)
        return items

    async def recent(self, channel: str, count: int = PAGE) -> list[Item]:
        newest = await asyncio.to_thread(self._query, channel, 0, count, newest_first=True)
        return newest[::-1]

    def _query(self, channel: str, after: int, limit: int, *, newest_first: bool = False) -> list[Item]:
        query: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": "channel = :channel AND id > :after",
            "ExpressionAttributeValues": {":channel": {"S": channel}, ":after": {"N": str(after)}},
            "ConsistentRead": True,
            "ScanIndexForward": not newest_first,
            "Limit": limit,
        }
        return [
            Item(int(item["id"]["N"]), float(item["at"]["N"]), json.loads(item["data"]["S"]))
            for item in self._client.query(**query)["Items"]
        ]

    def close(self) -> None:
        self._client.close()


@functools.cache
def get_store() -> Store:
    """DynamoDB if `EXAMPLE_TABLE` names a table, else the SQLite file `EXAMPLE_DATABASE`, by default a temporary one.

    On AWS the latter would be a file of each environment: nobody would hear anybody.
    """
    if table := os.environ.get("EXAMPLE_TABLE"):
        return DynamoStore(table)
    path = os.environ.get("EXAMPLE_DATABASE") or Path(tempfile.gettempdir()) / "asgi-stream-example.sqlite3"
    return SQLiteStore(Path(path))


StoreDependency = Annotated[Store, Depends(get_store)]
