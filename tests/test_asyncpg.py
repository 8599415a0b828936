"""A query of asyncpg that is still waiting at the deadline. Its coroutines are compiled by Cython, with odd frames."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.test_hostile import adapter, default_mode, managed_instances, part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio


def message(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack(">I", len(payload) + 4) + payload


# PostgreSQL's protocol, version 3: authenticated, what asyncpg has to know of the server, ready.
WELCOME = b"".join(
    (
        message(b"R", struct.pack(">I", 0)),
        *(message(b"S", name + b"\0" + value + b"\0") for name, value in (
            (b"server_version", b"16.1"), (b"client_encoding", b"UTF8"), (b"TimeZone", b"UTC"),
        )),
        message(b"K", struct.pack(">II", 1, 2)),
        message(b"Z", b"I"),
    )
)  # fmt: skip


@contextlib.asynccontextmanager
async def slow_database() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A server that takes connections and answers no query: its port, and what is set when one has come."""
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack(">I", await reader.readexactly(4))
        await reader.readexactly(size - 4)
        writer.write(WELCOME)
        await reader.read(1)
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("run", [default_mode, managed_instances])
async def test_a_query_at_the_deadline(
    run: Any, time_runs_out: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    async with slow_database() as (port, asked):

        async def bad(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send(part(b"some"))
            connection = await asyncpg.connect(host="127.0.0.1", port=port, user="u", database="d", ssl=False)

            async def run_out() -> None:
                await asked.wait()
                time_runs_out()

            running_out = asyncio.create_task(run_out())
            try:
                await connection.fetch("select pg_sleep(3600)")
            finally:
                connection.terminate()
                await running_out

        outcome = await run(adapter(bad))
    assert outcome[:2] == (b"some", "DeadlineExceeded")
    record = capsys.readouterr().err
    places = [record.index(f", in {name}\n") for name in ("bad", "fetch", "_get_statement", "prepare")]
    assert places == sorted(places)
    assert "protocol.pyx" in record
