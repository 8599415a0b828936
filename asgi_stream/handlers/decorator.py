"""``streaming_handler``: what makes a Lambda handler of a function that streams its response.

Four kinds of function: ``async`` or plain (run in a thread) with the arguments ``(event, response, context)``, and
generators, async or plain, with ``(event, context)``, whose pieces are the response.
"""

from __future__ import annotations

import functools
import inspect
from logging import WARNING
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, overload

from asgi_stream.calls import Calls
from asgi_stream.errors import ConfigurationError, HandlerError
from asgi_stream.foreign import get, log, shown, text, type_name
from asgi_stream.handlers.base import BaseHandler, is_a
from asgi_stream.handlers.pipeline import pipeline
from asgi_stream.handlers.signatures import signature
from asgi_stream.handlers.stream import OCTET_STREAM, BlockingResponseStream, ResponseStream, check_header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from asgi_stream.handlers.stream import Chunk
    from asgi_stream.sinks import Prelude, Sink

    Event: TypeAlias = Any
    Context: TypeAlias = Any
    AsyncWriter: TypeAlias = Callable[[Event, ResponseStream, Context], Awaitable[None]]
    BlockingWriter: TypeAlias = Callable[[Event, BlockingResponseStream, Context], None]
    AsyncGenerator: TypeAlias = Callable[[Event, Context], AsyncIterator[Chunk | Prelude]]
    Generator: TypeAlias = Callable[[Event, Context], Iterator[Chunk | Prelude]]

    class Decorator(Protocol):
        @overload
        def __call__(self, function: AsyncWriter, /) -> StreamingHandler: ...
        @overload
        def __call__(self, function: BlockingWriter, /) -> StreamingHandler: ...
        @overload
        def __call__(self, function: AsyncGenerator, /) -> StreamingHandler: ...
        @overload
        def __call__(self, function: Generator, /) -> StreamingHandler: ...


__all__ = ["StreamingHandler", "streaming_handler"]

NOT_STREAMED = (
    "a streaming handler runs under the asgi-stream runtime alone, and this is a plain call: on Lambda, set the "
    "environment variable AWS_LAMBDA_EXEC_WRAPPER to /var/task/asgi_stream/bootstrap; the function itself is "
    "handler.__wrapped__"
)
HIDDEN = (
    "the function returned something to be awaited: a decorator hides that it is async; put @streaming_handler "
    "directly above the function, or make that decorator's own function async"
)


class StreamingHandler(BaseHandler):
    """A Lambda handler made by :func:`streaming_handler`; ``__wrapped__`` is the function itself."""

    def __init__(self, function: Callable[..., Any], content_type: str = OCTET_STREAM) -> None:
        if inspect.isclass(function) or not callable(function):
            raise ConfigurationError(f"streaming_handler decorates a function, not {shown(function)}")
        content_type = check_header("content-type", content_type)[1]
        functools.update_wrapper(self, function)
        super().__init__()
        self._function = function
        self._content_type = content_type
        self._call, arguments = _KINDS[_kind(function)]
        try:
            signature(function).bind(*arguments)
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"{text(get(function, '__name__', function))[:100]} cannot be called as a streaming handler, with "
                f"({', '.join(arguments)})"
            ) from None

    async def invoke(self, event: Any, context: Any, sink: Sink) -> None:
        """Answers one event through ``sink``. Raises what the function raises, and HandlerError."""
        response = ResponseStream(sink, self._content_type)
        sink.watcher = response
        calls = Calls(self._environment, None, context)  # a call of an adapter cannot have the response
        try:
            await self._call(self, event, response, context)
            await response.finish()
        finally:
            calls.close()
            response.fail(HandlerError("the invocation is over; its response takes nothing more"))

    async def _await(self, event: Any, response: ResponseStream, context: Any) -> None:
        self._check_result(await self._function(event, response, context))

    async def _block(self, event: Any, response: ResponseStream, context: Any) -> None:
        blocking = BlockingResponseStream(response)
        try:
            self._check_result(await self.in_thread(self._function, event, blocking, context))
        finally:
            blocking.release()

    async def _iterate(self, event: Any, response: ResponseStream, context: Any) -> None:
        await pipeline(self._function(event, context), response)

    def _check_result(self, result: object) -> None:
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise HandlerError(HIDDEN)
        if result is not None:
            log(WARNING, f"A streaming handler returned {type_name(result)}, which is sent to nobody")

    def __call__(self, event: Any, context: Any) -> Any:
        """Raises HandlerError: it is AWS's own runtime, which cannot stream, that calls a handler."""
        raise HandlerError(NOT_STREAMED)


_WRITER = ("event", "response", "context")
_GENERATOR = ("event", "context")
_KINDS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "async": (StreamingHandler._await, _WRITER),  # noqa: SLF001 - a table of its own methods
    "sync": (StreamingHandler._block, _WRITER),  # noqa: SLF001
    "generator": (StreamingHandler._iterate, _GENERATOR),  # noqa: SLF001
}


def _kind(function: Callable[..., Any]) -> str:
    if is_a(function, inspect.isasyncgenfunction, inspect.isgeneratorfunction):
        return "generator"
    return "async" if is_a(function, inspect.iscoroutinefunction) else "sync"


if TYPE_CHECKING:

    @overload
    def streaming_handler(function: AsyncWriter, /) -> StreamingHandler: ...
    @overload
    def streaming_handler(function: BlockingWriter, /) -> StreamingHandler: ...
    @overload
    def streaming_handler(function: AsyncGenerator, /) -> StreamingHandler: ...
    @overload
    def streaming_handler(function: Generator, /) -> StreamingHandler: ...
    @overload
    def streaming_handler(*, content_type: str = ...) -> Decorator: ...


def streaming_handler(
    function: Callable[..., Any] | None = None, /, *, content_type: str = OCTET_STREAM
) -> StreamingHandler | Callable[[Callable[..., Any]], StreamingHandler]:
    """Makes a Lambda handler of a function that streams: ``@streaming_handler``.

    - ``async def handler(event, response, context)`` writes to a :class:`ResponseStream`.
    - ``def handler(event, response, context)`` does so in a thread, to a :class:`BlockingResponseStream`.
    - ``async def handler(event, context)`` or ``def handler(event, context)`` with ``yield`` streams what it yields;
      a :class:`~asgi_stream.Prelude` yielded first is the HTTP metadata.

    ``content_type`` is that of a raw stream, for responses without HTTP metadata (default:
    ``application/octet-stream``); it may also be set on the response. Leaving the function ends the response. An
    exception before the first byte is reported instead of a response, a later one by error trailers behind what was
    sent. Raises ConfigurationError for what is no such function, ValueError or TypeError for no content type.
    """
    if function is None:
        return functools.partial(StreamingHandler, content_type=content_type)
    return StreamingHandler(function, content_type)
