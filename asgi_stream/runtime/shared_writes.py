"""Later messages of a burst share one write: what the setting ``share_writes`` adds, and all of it.

A message costs a system call, and in a burst of small messages that is nearly all they cost. So the first messages of a
burst leave at once, as without the setting. The later ones are kept and leave together, by the first of: 16 KiB; a
message that comes 0.5 ms after the last write; the end or an error; the next turn of the event loop. Each message stays
its own HTTP chunk. While an app computes and awaits nothing, the event loop has no turn, and the last messages of
its burst wait.

What is kept goes out before anything else: every method that writes takes it first. Messages are kept only while the
last write went whole and no task has the connection's turn. What a full socket does not take at the event loop's turn
becomes the connection's, and a task waits for the reader. The next message joins it and waits too: if it is cancelled
there, it still goes out, as it would without this setting.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from asgi_stream.runtime.connection import SMALL
from asgi_stream.runtime.http11 import CHUNK, chunk
from asgi_stream.runtime.response import ResponseStream
from asgi_stream.sinks import SinkState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from asgi_stream.runtime.connection import Connection
    from asgi_stream.runtime.requests import Invocation
    from asgi_stream.sinks import Buffer

__all__ = ["SharingStream"]

# Messages further apart than this are no burst, in seconds; and so many of a burst leave at once.
PAUSE = 0.0005
FIRST = 4
# The most that is kept, in bytes. What does not fit is written at once, and is not copied.
MOST = 16_384


class SharingStream(ResponseStream):
    """The response to one invocation, whose later messages share writes."""

    __slots__ = ("_kept", "_loop", "_quick", "_room", "_scheduled", "_waits", "_wrote_at")

    def __init__(self, connection: Connection, invocation: Invocation) -> None:
        super().__init__(connection, invocation)
        self._loop = asyncio.get_running_loop()
        self._kept: list[int | Buffer] = []  # the size of each message and the message; made into chunks all at once
        self._room = MOST
        self._quick = 0  # messages of this burst that have left at once, and whole
        self._wrote_at = 0.0  # when the last write was
        self._scheduled = False  # the event loop will push
        self._waits: asyncio.Task[None] | None = None  # for the reader, while no message has joined it

    def put(self, data: Buffer) -> Awaitable[None] | None:
        # `direct` is there while the connection owes nothing; it is gone in a process that the app has forked.
        if (
            self._quick >= FIRST
            and self._connection.direct is not None
            and 0 < (size := len(data)) < self._room
            and monotonic() - self._wrote_at < PAUSE
        ):
            self._room -= size
            self._kept += (size, data if type(data) is bytes else bytes(data))  # the app may use its buffer again
            if not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._push)
            return None
        if not data or self.state is not SinkState.STREAMING or self.lost is not None:
            return super().put(data)
        if (waiting := self._waits) is not None:
            self._waits = None
            if not waiting.done():
                self._connection.promise(_chunks([len(data), data]))
                return self._guard(self._connection.send(()))
        kept = self._take()
        is_first = monotonic() - self._wrote_at >= PAUSE
        size = len(data)
        if size <= SMALL:
            # As a burst's first messages are, and its later ones mostly: to be copied costs less than to be gathered.
            left = self._connection.try_send_small(b"".join((*kept, *chunk(data))))
        else:
            left = self._connection.try_send((*kept, *chunk(data)))
        self._wrote_at = monotonic()
        self._quick = 0 if left else 1 if is_first else self._quick + 1
        return self._guard(self._connection.send(left)) if left else None

    def _send(self, buffers: Sequence[Buffer], *, last: bool = False) -> Awaitable[None]:
        self._quick = 0
        return super()._send((*self._take(), *buffers), last=last)

    def _take(self) -> tuple[bytes, ...]:
        """Takes what is kept, to be written by the caller, before anything else."""
        kept = self._kept
        if not kept:
            return ()
        chunks = _chunks(kept)
        kept.clear()
        self._room = MOST
        return (chunks,)

    def _push(self) -> None:
        """Writes what is kept, at the event loop's turn."""
        self._scheduled = False
        for chunks in self._take():
            if not self._connection.promise(chunks):
                self._quick = 0
                # The next message may never come.
                # Not by the loop: the app may have set a task factory.
                self._waits = asyncio.Task(self._guard(self._connection.send(())), loop=self._loop)
                self._waits.add_done_callback(_let_be)
            self._wrote_at = monotonic()


def _chunks(kept: list[int | Buffer]) -> bytes:
    """One HTTP chunk for each message: in one go, which takes half of what it takes one by one."""
    return CHUNK * (len(kept) // 2) % tuple(kept)


def _let_be(task: asyncio.Task[None]) -> None:
    """The next `send` raises the error. asyncio is not to log it as one that was never retrieved."""
    if not task.cancelled():
        task.exception()
