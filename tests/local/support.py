"""For the tests: a runtime that speaks raw bytes, gates that a function waits at, and what a pool holds."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asgi_stream.local.environment import Environment
    from asgi_stream.local.pool import Pool

# How long the other end of a FIFO may take, in seconds. Only a test that fails waits for so long.
OTHER_END_LIMIT = 60.0

BASE = "/2018-06-01/runtime"
STREAMING = (
    "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
    "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n"
    "Transfer-Encoding: chunked\r\n"
)


class RawRuntime:
    """One connection of a runtime; `async with RawRuntime(address) as runtime:`."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.rpartition(":")

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, int(self._port))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    def end_of_writing(self) -> None:
        self._writer.write_eof()

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def begin(self, request_line: str, headers: str = "") -> None:
        await self.write(f"{request_line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())

    async def reply(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), fields, await self._reader.readexactly(int(fields["content-length"]))

    async def next(self) -> tuple[int, dict[str, str], bytes]:
        await self.begin(f"GET {BASE}/invocation/next")
        return await self.reply()

    async def post(self, path: str, body: bytes = b"", headers: str = "") -> tuple[int, dict[str, Any]]:
        await self.begin(f"POST {BASE}/{path}", f"Content-Length: {len(body)}\r\n{headers}")
        await self.write(body)
        status, _, reply = await self.reply()
        return status, json.loads(reply)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def make_gate(folder: Path, name: str = "gate") -> Path:
    """A FIFO: a function that reads it waits until `open_gate`."""
    gate = folder / name
    os.mkfifo(gate)
    return gate


def open_gate(gate: Path) -> None:
    """Lets the reader through; waits until there is one."""
    opened(gate, "wb").close()


def opened(gate: Path, mode: str, alive: Callable[[], bool] = lambda: True) -> IO[bytes]:
    """Opens one end of a FIFO, which waits for the other; ``alive`` tells whether that may still come.

    Raises AssertionError if it does not come. A plain `open` would wait for ever, and in a thread of a pool the process
    could not end either.
    """
    found: list[IO[bytes]] = []
    opening = threading.Thread(target=lambda: found.append(gate.open(mode)), daemon=True)
    opening.start()
    limit = time.monotonic() + OTHER_END_LIMIT
    while opening.is_alive() and alive() and time.monotonic() < limit:
        opening.join(0.1)
    if found:
        return found[0]
    both = os.open(gate, os.O_RDWR | os.O_NONBLOCK)
    opening.join()
    os.close(both)
    found[0].close()
    raise AssertionError(f"the other end of {gate} was not opened")


def environments(pool: Pool) -> frozenset[Environment]:
    """Returns all environments of a pool that are alive, free or busy."""
    return frozenset(pool._all)


async def settled(pool: Pool) -> None:
    """Waits until no environment of a pool is busy."""
    while tasks := pool._watches | pool._closings:
        await asyncio.wait(tasks)
