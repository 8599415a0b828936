"""The response of a streaming handler, as its function sees it.

Metadata is kept until the first write, so that it can be set, and set again, until then; the write that begins the
stream sends it as a prelude, or opens a raw stream with a content type. Writers at once are served one after another.

A call of ``write`` returns a coroutine, and one that nobody awaits would be a hole in the response that nothing shows:
calls and begun calls are counted, and the response ends in an error if they differ.

Source: "Writing response streaming-enabled Lambda functions" in AWS's Lambda Developer Guide.
"""

from __future__ import annotations

import asyncio
import re
import threading
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from asgi_stream.errors import HandlerError
from asgi_stream.foreign import of_type, plain_bytearray, plain_bytes, plain_int, plain_str, shown, text, type_name
from asgi_stream.sinks import Prelude, SinkState

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from concurrent.futures import Future

    from asgi_stream.sinks import Buffer, Sink

    Chunk: TypeAlias = str | bytes | bytearray | memoryview
    V = TypeVar("V")

__all__ = ["BlockingResponseStream", "ResponseStream", "check_header", "to_bytes"]

OCTET_STREAM = "application/octet-stream"
NEVER_AWAITED = (
    "{} of the handler's calls of write() or end() were never awaited, and what they should have sent is lost: "
    "write `await response.write(…)`"
)
CANCELLED = "a write was cancelled before its data were taken: the response is not whole"

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class ResponseStream:
    """The response that an ``async`` streaming handler writes to."""

    __slots__ = ("_begun", "_calls", "_content_type", "_failure", "_lock", "_prelude", "_sink")

    def __init__(self, sink: Sink, content_type: str = OCTET_STREAM) -> None:
        self._sink = sink
        self._prelude: Prelude | None = None
        self._content_type = content_type
        self._lock = asyncio.Lock()
        self._calls = 0
        self._begun = 0
        self._failure: BaseException | None = None

    @property
    def content_type(self) -> str:
        """The content type of a raw stream, one without HTTP metadata; ``application/octet-stream`` unless set.

        Setting it raises HandlerError once the first byte has been sent, and where there is HTTP metadata.
        """
        return self._content_type

    @content_type.setter
    def content_type(self, value: str) -> None:
        self._check_unsent("the content type")
        if self._prelude is not None:
            raise HandlerError("a response with HTTP metadata has its content type there: http(headers=…)")
        self._content_type = check_header("content-type", value)[1]

    def http(
        self,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        cookies: Sequence[str] = (),
        multi_value_headers: Mapping[str, Sequence[str]] | None = None,
    ) -> Self:
        """Makes this an HTTP response with these metadata; returns the response itself.

        ``headers`` maps names to values; ``cookies`` holds one ``set-cookie`` value each; ``multi_value_headers``, a
        list of values for each name, is for API Gateway REST APIs alone, where it wins over ``headers``. They are sent
        with the first write. Raises HandlerError once that has happened, TypeError and ValueError for what cannot
        stand in a response.
        """
        self._check_unsent("HTTP metadata")
        number = _check_status(status)
        # Copies, so that what was checked is what is sent.
        single = dict(check_header(name, value) for name, value in _dict(headers, "headers").items())
        lines = [check_header("set-cookie", cookie)[1] for cookie in _list(cookies, "cookies")]
        several: dict[str, list[str]] | None = None
        if multi_value_headers is not None:
            several = {}
            for name, values in _dict(multi_value_headers, "multi_value_headers").items():
                pairs = [check_header(name, value) for value in _list(values, f"the values of header {text(name)}")]
                several[check_header(name, "")[0]] = [value for _, value in pairs]
        self._prelude = Prelude(number, single, lines, several)
        return self

    def write(self, data: Chunk) -> Coroutine[Any, Any, None]:
        """Sends ``data`` at once, text as UTF-8, as a chunk of its own; waits for a slow reader. To be awaited.

        Raises TypeError for other data, HandlerError after the end, StreamClosed if Lambda has closed the stream.
        """
        buffer = to_bytes(data)
        self._calls += 1
        return self._write(buffer)

    def end(self, data: Chunk = b"") -> Coroutine[Any, Any, None]:
        """Ends the response, after a last piece if there is one. To be awaited; leaving the function does the same.

        Raises as :meth:`write` does.
        """
        buffer = to_bytes(data)
        self._calls += 1
        return self._end(buffer)

    async def _write(self, data: Buffer) -> None:
        await self._turn(data)
        try:
            await self._begin(data)
            await self._sink.write(data)
        finally:
            self._lock.release()

    async def _end(self, data: Buffer) -> None:
        await self._turn(data)
        try:
            self._check_whole()
            await self._begin(data)
            await self._sink.end(data)
        finally:
            self._lock.release()

    async def _turn(self, data: Buffer) -> None:
        """Waits for those that were called before."""
        self._begun += 1
        try:
            await self._lock.acquire()
        except asyncio.CancelledError:
            # Once the data have been handed over, the connection sees to it that nothing is torn or left out.
            if data:
                self.fail(HandlerError(CANCELLED))
            raise

    async def _begin(self, data: Buffer) -> None:
        if self._failure is not None:
            raise self._failure
        if self._sink.done:
            raise HandlerError("a write after the end of the response")
        if self._sink.state is not SinkState.READY:
            return
        try:
            if self._prelude is not None:
                await self._sink.start(self._prelude)
            else:
                await self._sink.open(self._content_type)
        except asyncio.CancelledError:
            if data:
                self.fail(HandlerError(CANCELLED))
            raise

    def _check_unsent(self, what: str) -> None:
        if self._sink.state is not SinkState.READY:
            raise HandlerError(f"{what} after the first byte: it has to be set before the first write")

    @property
    def begun(self) -> bool:
        """True once the first byte is on its way."""
        return self._sink.state is not SinkState.READY

    # What is not complete at its deadline is an error.
    may_be_left_open = left_open = False

    async def leave_open(self) -> None:
        """Is not called."""

    def expire(self) -> None:
        """Little time is left. A handler has nothing that could tell it; its context knows the time that remains."""

    def fail(self, error: BaseException) -> None:
        """Whatever the function does from now on, the response ends in ``error``."""
        if self._failure is None:
            self._failure = error

    def abandon(self) -> None:
        """The invocation ends without the function."""

    async def finish(self) -> None:
        """The function has returned: ends the response if that has not been done.

        Raises what the response has failed with, and HandlerError for calls that were never awaited.
        """
        self._check_whole()
        if not self._sink.done:
            await self.end()

    def _check_whole(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._calls > self._begun:
            raise HandlerError(NEVER_AWAITED.format(self._calls - self._begun))


class BlockingResponseStream:
    """The response that a plain, blocking streaming handler writes to, in its thread: each call waits."""

    __slots__ = ("_futures", "_lock", "_loop", "_stream")

    def __init__(self, stream: ResponseStream) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._futures: set[Future[None]] = set()

    @property
    def content_type(self) -> str:
        """As for :class:`ResponseStream`."""
        return self._stream.content_type

    @content_type.setter
    def content_type(self, value: str) -> None:
        self._stream.content_type = value

    def http(
        self,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        cookies: Sequence[str] = (),
        multi_value_headers: Mapping[str, Sequence[str]] | None = None,
    ) -> Self:
        """As for :class:`ResponseStream`."""
        self._stream.http(status, headers, cookies, multi_value_headers)
        return self

    def write(self, data: Chunk) -> None:
        """As for :class:`ResponseStream`; returns once the data is on its way."""
        self._wait(self._stream.write(data))

    def end(self, data: Chunk = b"") -> None:
        """As for :class:`ResponseStream`."""
        self._wait(self._stream.end(data))

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        from concurrent.futures import CancelledError

        with self._lock:  # or the invocation could be over between the two, and nobody would let this thread go
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
            self._futures.add(future)
        try:
            future.result()
        except CancelledError:
            raise HandlerError("the invocation is over; its response takes nothing more") from None
        finally:
            self._futures.discard(future)

    def release(self) -> None:
        """The invocation is over: a thread that goes on is not left waiting for its write."""
        with self._lock:
            futures = list(self._futures)
        for future in futures:
            future.cancel()


def to_bytes(data: Chunk) -> Buffer:
    """Returns a piece of a body as single bytes, text as UTF-8. Raises TypeError for what is neither."""
    if type(data) is bytes:
        return data
    if of_type(data, str):
        return str.encode(data)
    if of_type(data, bytes):
        return plain_bytes(data)
    if of_type(data, bytearray):
        return plain_bytearray(data)
    if of_type(data, memoryview):
        return data.cast("B") if data.c_contiguous else data.tobytes()
    raise TypeError(
        f"a response is written in text or bytes, not {type_name(data)}: for an object, write json.dumps(…)"
    )


def _dict(values: Mapping[str, V] | None, what: str) -> dict[str, V]:
    if values is not None and not hasattr(values, "items"):
        raise TypeError(f"{what} must be a dict, not {type_name(values)}")
    return dict(values or {})


def _list(values: Sequence[str], what: str) -> list[str]:
    # A lone string is a sequence too, of letters.
    if not isinstance(values, (list, tuple)):
        raise TypeError(f"{what} must be a list of strings, not {type_name(values)}")
    return list(values)


def _check_status(status: object) -> int:
    if not of_type(status, int) or type(status) is bool or not 200 <= (number := plain_int(status)) <= 599:
        raise ValueError(f"status must be a number from 200 to 599, not {shown(status)}")
    return number


def check_header(name: object, value: object) -> tuple[str, str]:
    """Returns a header as plain text. Raises ValueError or TypeError for one that is not legal in a response."""
    name = plain_str(name) if of_type(name, str) else name
    if type(name) is not str or not _NAME.fullmatch(name):
        raise ValueError(f"{shown(name)} is not the name of a header")
    if not of_type(value, str):
        raise TypeError(f"the value of header {name} must be a string, not {type_name(value)}")
    value = plain_str(value)
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of header {name} holds a character that is not allowed in a header")
    return name, value
