"""A stream in memory that records every write and can stall, fragment, close and reset."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_stream.runtime.connection import Connection
    from asgi_stream.runtime.requests import Request
    from asgi_stream.runtime.streams import Connect, Stream
    from asgi_stream.sinks import Buffer


class MemoryStream:
    """The client's end of a connection, which one task at a time may wait for. The test is the server.

    ``capacity`` is how many bytes the peer takes before a write stalls (None: any number); raise it with
    :meth:`take`. ``writes`` holds one entry for each call of ``write`` that took something.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.writes: list[bytes] = []
        self.closed = False
        self.stalled = asyncio.Event()
        self._written = asyncio.Event()
        self._capacity = capacity
        self._incoming: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._write_error: OSError | None = None
        self._waits = False  # a task waits: there must not be two

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    # What the server does

    async def has_written(self, count: int) -> None:
        """Waits until there are that many writes."""
        while len(self.writes) < count:
            self._written.clear()
            await self._written.wait()

    def say(self, *pieces: bytes) -> None:
        """The server sends; each piece is one read. ``b""`` closes."""
        self._incoming.extend(pieces)
        self._changed.set()

    def take(self, count: int) -> None:
        """The server reads ``count`` more bytes."""
        assert self._capacity is not None
        self._capacity += count
        self.stalled.clear()
        self._changed.set()

    def break_writes(self, error: OSError) -> None:
        """From now on every write fails."""
        self._write_error = error
        self._changed.set()

    # What the connection calls

    def write(self, buffers: Sequence[Buffer]) -> int:
        assert not self.closed
        if self._write_error is not None:
            raise self._write_error
        data = b"".join(buffers)
        if self._capacity is not None:
            data = data[: self._capacity]
            self._capacity -= len(data)
        if data:
            self.writes.append(data)
            self._written.set()
        return len(data)

    def send(self, data: bytes) -> int:
        return self.write((data,))

    async def wait_writable(self) -> bool:
        while True:
            if self._incoming or self.closed:
                return False
            if self._capacity or self._write_error is not None:
                return True
            self.stalled.set()
            await self._change()

    async def read(self) -> bytes:
        while not self._incoming:
            if self._write_error is not None:
                raise self._write_error
            if self.closed:
                raise ConnectionAbortedError("the connection has been closed")
            await self._change()
        return self._incoming.popleft()

    async def _change(self) -> None:
        assert not self._waits, "two tasks wait for one stream"
        self._waits = True
        self._changed.clear()
        try:
            await self._changed.wait()
        finally:
            self._waits = False

    def is_stale(self) -> bool:
        return bool(self._incoming) or self._write_error is not None

    def close(self) -> None:
        self.closed = True
        self._changed.set()


def connects_to(*streams: MemoryStream) -> Connect:
    """A connector that hands out the streams one after another, then refuses."""
    left = deque(streams)

    async def connect() -> Stream:
        if not left:
            raise ConnectionRefusedError("no server is listening")
        return left.popleft()

    return connect


async def begin(connection: Connection, request: Request, *more: Buffer) -> None:
    """Sends a request's head, and ``more`` in the same write. Raises ConnectionLost."""
    if left := connection.try_begin(request, *more):
        await connection.send(left)
