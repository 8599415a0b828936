"""Both stores keep one promise: numbers grow, and whoever asks for what is behind the last one misses nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from example_app import store as stores
from example_app.store import DynamoStore, SQLiteStore
from tests.example.conftest import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from example_app.store import Item

    AnyStore = SQLiteStore | DynamoStore

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", "dynamodb"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], AnyStore]]:
    """Opens the same store again and again, as environments do."""
    if request.param == "dynamodb":
        for name, value in request.getfixturevalue("cloud").items():
            monkeypatch.setenv(name, value)
    with contextlib.ExitStack() as stack:

        def another() -> AnyStore:
            store = SQLiteStore(tmp_path / "store") if request.param == "sqlite" else DynamoStore(TABLE)
            stack.callback(store.close)
            return store

        yield another


def numbers(items: list[Item]) -> list[int]:
    return [item.data["number"] for item in items]


async def test_items_come_in_their_order_to_another_environment(opened: Callable[[], AnyStore]) -> None:
    writer, reader = opened(), opened()
    ids = [await writer.append("order", {"number": number, "text": "ü"}) for number in range(3)]
    items = await reader.read("order", 0)
    assert [item.id for item in items] == ids == sorted(set(ids))
    assert items[1].data == {"number": 1, "text": "ü"}
    assert numbers(await reader.read("order", ids[0])) == [1, 2]
    assert await reader.read("order", ids[-1]) == []


async def test_channels_are_separate(opened: Callable[[], AnyStore]) -> None:
    store = opened()
    await store.append("one", {"number": 1})
    await store.append("two", {"number": 2})
    assert numbers(await store.read("one", 0)) == numbers(await store.recent("one")) == [1]
    assert await store.read("none", 0) == await store.recent("none") == []


async def test_the_newest_and_a_page(opened: Callable[[], AnyStore], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "PAGE", 4)
    store = opened()
    for number in range(6):
        await store.append("page", {"number": number})
    assert numbers(await store.recent("page", 2)) == [4, 5]
    first = await store.read("page", 0)
    assert numbers(first) == [0, 1, 2, 3]
    assert numbers(await store.read("page", first[-1].id)) == [4, 5]


async def test_writers_at_once_lose_nothing_and_a_reader_sees_no_number_late(opened: Callable[[], AnyStore]) -> None:
    writers, reader = [opened() for _ in range(4)], opened()

    async def write(name: int, store: AnyStore) -> list[int]:
        return [await store.append("busy", {"number": 10 * name + turn}) for turn in range(5)]

    writing = asyncio.gather(*(write(name, store) for name, store in enumerate(writers)))
    seen: list[Item] = []
    while len(seen) < 20:
        seen += await reader.read("busy", seen[-1].id if seen else 0)
    ids = sorted(number for one in await writing for number in one)
    assert [item.id for item in seen] == ids
    assert len(set(ids)) == 20
    assert sorted(numbers(seen)) == sorted(10 * name + turn for name in range(4) for turn in range(5))


async def test_a_write_that_fails_for_another_reason_is_not_tried_again(
    cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cloud.items():
        monkeypatch.setenv(name, value)
    with contextlib.closing(DynamoStore("no-such-table")) as store, pytest.raises(ClientError, match="NotFound"):
        await store.append("channel", {})


async def test_what_a_query_missed_is_looked_for_once_more(
    cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query sees number 3 and, from before it was written, no number 2; the next query sees both."""
    for name, value in cloud.items():
        monkeypatch.setenv(name, value)
    with contextlib.closing(DynamoStore(TABLE)) as store:
        ids = [await store.append("gap", {"number": number}) for number in range(3)]
        query, answers = store._query, []

        def torn(channel: str, after: int, limit: int) -> list[Item]:
            answers.append(query(channel, after, limit))
            return [answers[0][0], answers[0][2]] if len(answers) == 1 else answers[-1]

        monkeypatch.setattr(store, "_query", torn)
        assert [item.id for item in await store.read("gap", 0)] == ids
        assert len(answers) == 2
        assert numbers(await store.read("gap", ids[0])) == [1, 2]
        assert len(answers) == 3


async def test_old_items_are_forgotten_and_their_numbers_are_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(SQLiteStore(tmp_path / "store")) as store:
        first = await store.append("channel", {"number": 1})
        monkeypatch.setattr(stores, "KEPT", -1)
        second = await store.append("channel", {"number": 2})
        assert await store.read("channel", 0) == []
        assert await store.append("channel", {"number": 3}) > second > first


def test_who_makes_the_file_a_moment_later_leaves_the_first_one_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with contextlib.closing(SQLiteStore(path)) as first:
        asyncio.run(first.append("all", {"number": 1}))
        SQLiteStore._create(path)
        with contextlib.closing(SQLiteStore(path)) as second:
            asyncio.run(second.append("all", {"number": 2}))
        assert numbers(asyncio.run(first.read("all", 0))) == [1, 2]
    assert {file.name for file in tmp_path.iterdir()} == {"store"}
