"""One invocation as its caller sees it: a head, pieces of the body as they arrive, and one end.

The Runtime API server is the only producer, one caller the only consumer. Between them stands a small buffer
counted in bytes: when it is full the producer waits, so the function's socket is not read, so the function's
write blocks.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from asgi_stream.local.function_error import FunctionError, ReportedBy

Mode = Literal["streaming", "buffered"]

# Bytes held for a slow consumer. Small: the sockets on both sides buffer as well.
HIGH_WATER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """How the answer begins. `error` is set if there is none; then `mode` and `content_type` are None."""

    mode: Mode | None = None
    content_type: str | None = None
    error: FunctionError | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the body as read from the socket; a large HTTP chunk may come in several pieces.

    `arrived` is `time.monotonic()`, in seconds.
    """

    data: bytes
    chunk_start: bool
    chunk_end: bool
    arrived: float


class Ending(Enum):
    """How an invocation ended."""

    CLEAN = "a whole response"
    TRAILERS = "a response with error trailers"
    TRUNCATED = "a response that broke off"
    ERROR = "no response"


@dataclass(frozen=True, slots=True)
class End:
    """The end of an invocation; `error` is None if and only if it is CLEAN."""

    ending: Ending
    error: FunctionError | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """A finished invocation. `chunks` has one entry for each HTTP chunk; one in all without chunking."""

    mode: Mode | None
    content_type: str | None
    chunks: list[bytes]
    ending: Ending
    error_type: str | None
    error: Mapping[str, Any] | None
    reported_by: ReportedBy | None

    @property
    def body(self) -> bytes:
        """The chunks, joined."""
        return b"".join(self.chunks)


class Invocation:
    """The caller's side: `await head()`, then `async for piece in invocation`, then `end` is set.

    `event` is the payload as bytes, `headers` are those of the reply to `/next`, `timeout` is in seconds.
    """

    def __init__(
        self,
        event: bytes,
        headers: dict[str, str],
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self.request_id = request_id or str(uuid.uuid4())
        self.event = event
        self.headers = headers
        self.timeout = timeout
        self.end: End | None = None
        self._head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._pieces: deque[Piece] = deque()
        self._held = 0
        self._abandoned = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._finished = asyncio.Event()

    async def head(self) -> Head:
        """Waits for the start of the answer, or for the error in its place."""
        return await asyncio.shield(self._head)

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Yields the pieces as they arrive, each once. Afterwards `end` is set."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._held -= len(piece.data)
                self._room.set()
                yield piece
            if self.end is not None:
                return
            self._news.clear()
            await self._news.wait()

    async def collect(self) -> Collected:
        """Reads to the end and returns it all."""
        head = await self.head()
        chunks: list[bytearray] = []
        async for piece in self:
            if piece.chunk_start or not chunks:
                chunks.append(bytearray())
            chunks[-1] += piece.data
        end = self.end
        assert end is not None  # noqa: S101 - what the iterator promises
        error = end.error
        return Collected(
            mode=head.mode,
            content_type=head.content_type,
            chunks=[bytes(chunk) for chunk in chunks],
            ending=end.ending,
            error_type=error.error_type if error else None,
            error=error.details if error else None,
            reported_by=error.reported_by if error else "response",
        )

    def abandon(self) -> None:
        """The consumer reads no further: what still comes is dropped, and the producer waits for nothing."""
        self._abandoned = True
        self._pieces.clear()
        self._held = 0
        self._room.set()

    async def finished(self) -> None:
        """Waits until the producer has ended, whether or not the pieces have been taken."""
        await self._finished.wait()

    # The producer's side.

    def begin(self, head: Head) -> None:
        """The answer starts."""
        self._head.set_result(head)

    async def put(self, data: bytes, *, chunk_start: bool, chunk_end: bool) -> None:
        """Hands a piece over; waits while too many bytes are unread. Drops it if the consumer reads no further."""
        while self._held >= HIGH_WATER:
            self._room.clear()
            await self._room.wait()
        if self._abandoned:
            return
        self._pieces.append(Piece(data, chunk_start, chunk_end, time.monotonic()))
        self._held += len(data)
        self._news.set()

    def finish(self, end: End) -> None:
        """Ends it; the first end counts."""
        if self.end is not None:
            return
        if not self._head.done():
            self._head.set_result(Head(error=end.error))
        self.end = end
        self._news.set()
        self._finished.set()
