"""Comments that keep an idle event stream open: the setting ``event_stream_keep_alive``. Imported where it is on.

API Gateway ends a stream that sends nothing for 5 minutes, or for 30 seconds with an edge-optimized endpoint. A comment
line is part of the format and means nothing to a client. It is sent between two events only, as a chunk of its own, and
never into a body that is compressed.

Source: HTML, "Server-sent events", 9.2.5 and 9.2.6.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asgi_stream.errors import StreamClosed
from asgi_stream.sinks import SinkState

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from asgi_stream.responders import StreamingResponder
    from asgi_stream.sinks import Buffer, Prelude, Sink

__all__ = ["COMMENT", "KeepAlive"]

COMMENT = b": keep-alive\n\n"
# An event ends in an empty line. A carriage return alone may be half of a line end, so it ends nothing here.
EVENT_ENDS = (b"\n\n", b"\n\r\n")
MAX_END = 3


class KeepAlive:
    """Sends a comment whenever an event stream has been idle for ``seconds``, until :meth:`stop`."""

    def __init__(self, seconds: float, responder: StreamingResponder, sink: Sink, method: str) -> None:
        self._seconds = seconds
        self._responder = responder
        self._sink = sink
        self._method = method
        self._put = responder.put
        self._loop = asyncio.get_running_loop()
        self._tail = b"\n\n"  # the last bytes of the body; before the first event too there is room
        self._last = 0.0  # when the last piece was sent, by the event loop's clock
        self._blocked = 0  # messages that wait for a slow reader
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        responder.call_at_start(self._start)

    def _start(self, prelude: Prelude) -> None:
        if self._method != "HEAD" and prelude.status == 200 and _is_event_stream(prelude):
            self._responder.put = self._watched_put  # type: ignore[method-assign]
            self._last = self._loop.time()
            self._timer = self._loop.call_at(self._last + self._seconds, self._wake)

    def stop(self) -> None:
        """The response has ended."""
        self._responder.put = self._put  # type: ignore[method-assign]  # a reference cycle otherwise
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watched_put(self, data: Buffer) -> Awaitable[None] | None:
        if data:  # an empty message sends nothing
            self._tail = (self._tail + bytes(data[-MAX_END:]))[-MAX_END:]
            self._last = self._loop.time()
        sending = self._put(data)
        return None if sending is None else self._wait(sending)

    async def _wait(self, sending: Awaitable[None]) -> None:
        self._blocked += 1
        try:
            await sending
        finally:
            self._blocked -= 1
            self._last = self._loop.time()

    def _wake(self) -> None:
        idle = self._loop.time() - self._last
        if self._sink.state is not SinkState.STREAMING:
            return
        if idle >= self._seconds and not self._blocked and self._tail.endswith(EVENT_ENDS):
            self._last = self._loop.time()
            if (sending := self._put(COMMENT)) is not None:
                # Not by the loop: the app may have set a task factory.
                self._task = asyncio.Task(self._finish(sending), loop=self._loop)
        # Inside an event nothing may be sent: the next look is one interval later.
        left = self._last + self._seconds - self._loop.time()
        self._timer = self._loop.call_later(left if left > 0 else self._seconds, self._wake)

    async def _finish(self, sending: Awaitable[None]) -> None:
        """Waits for a slow reader; the app's own messages wait behind the comment."""
        self._blocked += 1
        try:
            await sending
        except StreamClosed:
            pass  # the app's next message raises it too
        finally:
            self._blocked -= 1


def _is_event_stream(prelude: Prelude) -> bool:
    headers = {name: [value] for name, value in prelude.headers.items()} | dict(prelude.multi_value_headers or {})
    types = {value.partition(";")[0].strip(" \t").lower() for value in headers.get("content-type", [])}
    return types == {"text/event-stream"} and not {"content-encoding", "content-length"} & set(headers)
