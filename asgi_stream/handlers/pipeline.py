"""From a source, through transforms, into a response: Node.js's ``pipeline``.

Each stage asks the one before it for the next piece, so a slow reader slows the source and nothing is kept. Whatever
happens, the transforms and the source are closed, last one first; sources that block are read in a thread of their own,
and closed there after their last read.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, TypeVar, overload

from asgi_stream.errors import HandlerError
from asgi_stream.foreign import of_type, plain_bytearray, plain_bytes, plain_str, shown, type_name
from asgi_stream.handlers.stream import ResponseStream, to_bytes
from asgi_stream.sinks import Prelude

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable

    from asgi_stream.handlers.stream import Chunk
    from asgi_stream.handlers.threads import Threads

    class Reader(Protocol):
        """A file object, boto3's ``StreamingBody``, or an async reader."""

        def read(self, size: int, /) -> Any: ...

    A = TypeVar("A")
    B = TypeVar("B")
    C = TypeVar("C")
    Source: TypeAlias = "Chunk | Reader | AsyncIterable[A] | Iterable[A]"
    Transform: TypeAlias = Callable[[AsyncIterator[A]], AsyncIterable[B]]

__all__ = ["gzip_chunks", "pipeline"]

# What is read at a time, in bytes.
READ_SIZE = 256 * 1024
CANCELLED = "a pipeline was cancelled before its end: the response is not whole"
# Larger pieces are compressed in a thread; a smaller one takes the event loop less than a millisecond.
LARGE = 32 * 1024

if TYPE_CHECKING:

    @overload
    async def pipeline(source: Source[Chunk], response: ResponseStream, /) -> None: ...
    @overload
    async def pipeline(source: Source[A], first: Transform[A, Chunk], response: ResponseStream, /) -> None: ...
    @overload
    async def pipeline(
        source: Source[A], first: Transform[A, B], second: Transform[B, Chunk], response: ResponseStream, /
    ) -> None: ...
    @overload
    async def pipeline(
        source: Source[A],
        first: Transform[A, B],
        second: Transform[B, C],
        third: Transform[C, Chunk],
        response: ResponseStream,
        /,
    ) -> None: ...
    @overload
    async def pipeline(
        source: Source[Any],
        first: Transform[Any, Any],
        second: Transform[Any, Any],
        third: Transform[Any, Any],
        fourth: Transform[Any, Any],
        /,
        *steps: Transform[Any, Any] | ResponseStream,
    ) -> None: ...


async def pipeline(source: Any, /, *steps: Any) -> None:
    """Sends all that ``source`` gives through the transforms into a response, and ends it.

    ``source`` is text or bytes; a file object or another reader with ``read(size)``, sync (read in a thread) or async;
    or an iterable of pieces, async or sync (in a thread, unless it is a list or tuple). A transform is called with an
    async iterator and returns another, as async generator functions do. The last argument is the ResponseStream.

    Raises what a stage raises, and what ``response.write`` does; TypeError for arguments that are none of these.
    Once something has been sent, such a response can only end in an error.
    """
    response = steps[-1] if steps else None
    try:
        async with _Stages() as stages:
            chunks = _iterator(_open(source, stages), stages)
            if not isinstance(response, ResponseStream):
                raise TypeError(
                    "the last argument of pipeline() is the ResponseStream of an async handler, "
                    f"not {type_name(response)}"
                )
            for transform in steps[:-1]:
                if not callable(transform):
                    raise TypeError(
                        f"a transform is an async generator function or the like, not {type_name(transform)}"
                    )
                chunks = _iterator(_checked(transform(chunks), transform), stages)
            async for chunk in chunks:
                if isinstance(chunk, Prelude):
                    response.http(*chunk)  # what a generator yields first
                else:
                    await response.write(chunk)
    except BaseException as error:
        if isinstance(response, ResponseStream) and response.begun:
            # Later calls, which nobody has cancelled, raise it again.
            response.fail(HandlerError(CANCELLED) if of_type(error, asyncio.CancelledError) else error)
        raise
    await response.end()


class _Stages:
    """What a pipeline closes at its end, the last one first. All are closed, also where one of them raises.

    Not an ``AsyncExitStack``, which never ends where the context of an exception leads back to it.
    """

    def __init__(self) -> None:
        self._closers: list[tuple[Callable[..., Awaitable[None]], tuple[Any, ...]]] = []

    def push(self, close: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        self._closers.append((close, arguments))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._closers:
            close, arguments = self._closers.pop()
            try:
                await close(*arguments)
            finally:
                await self.__aexit__()


def _iterator(stage: AsyncIterable[Any], stages: _Stages) -> AsyncIterator[Any]:
    stages.push(_close, stage)
    iterator = aiter(stage)
    if iterator is not stage:
        stages.push(_close, iterator)
    return iterator


def _checked(stage: Any, transform: Any) -> AsyncIterable[Any]:
    if not hasattr(stage, "__aiter__"):
        raise TypeError(f"the transform {shown(transform)} returned no async iterator but {type_name(stage)}")
    return stage  # type: ignore[no-any-return]


def _open(source: Any, stages: _Stages) -> AsyncIterable[Any]:
    """Returns what iterates over a source; what else has to be closed after it goes on the stack."""
    if isinstance(source, (str, bytes, bytearray, memoryview)):
        return _pieces(_plain(source))
    if isinstance(source, (list, tuple)):
        return _items(source)
    if callable(read := getattr(source, "read", None)):
        if inspect.iscoroutinefunction(read):
            stages.push(_close, source)
            return _read(read)
        # read1 gives what there is; read would wait until there is as much as it was asked for.
        return _read_in_thread(getattr(source, "read1", read), _thread(source, stages))
    if hasattr(source, "__aiter__"):
        return source  # type: ignore[no-any-return]
    if hasattr(source, "__iter__"):
        return _iterate_in_thread(source, _thread(source, stages))
    raise TypeError(
        "pipeline() reads text, bytes, an iterable (async or sync) or an object with read(size), "
        f"not {type_name(source)}"
    )


def _thread(source: Any, stages: _Stages) -> Threads:
    from asgi_stream.handlers.threads import Threads

    thread = Threads(1, "asgi-stream-source")
    stages.push(_end, thread)
    if callable(close := getattr(source, "close", None)):
        stages.push(_close_in_thread, thread, close)
    return thread


async def _close(stage: Any) -> None:
    close = getattr(stage, "aclose", None) or getattr(stage, "close", None)
    if callable(close) and inspect.isawaitable(closing := close()):
        await closing


async def _end(thread: Threads) -> None:
    thread.close()


async def _close_in_thread(thread: Threads, close: Callable[[], object]) -> None:
    if thread.busy:
        # Cancelled in a read that may block for ever: closed behind it, and not waited for.
        thread.later(close)
    elif inspect.isawaitable(closing := await thread.run(close)):
        await closing


def _plain(data: Any) -> Any:
    """Text and bytes of a subclass as plain ones: its length may be anything. Other values as they are."""
    if of_type(data, str):
        return plain_str(data)
    if of_type(data, bytes):
        return plain_bytes(data)
    return plain_bytearray(data) if of_type(data, bytearray) else data


async def _pieces(data: Any) -> AsyncIterator[Any]:
    # Of the same type: a transform may want to decode bytes, or to change the letters of a text.
    for start in range(0, len(data), READ_SIZE):
        yield data[start : start + READ_SIZE]


async def _items(items: list[Any] | tuple[Any, ...]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def _read(read: Callable[[int], Any]) -> AsyncIterator[Any]:
    while data := _plain(await read(READ_SIZE)):
        yield data


async def _read_in_thread(read: Callable[[int], Any], thread: Threads) -> AsyncIterator[Any]:
    while True:
        data = await thread.run(read, READ_SIZE)
        if inspect.isawaitable(data):  # an async reader that does not look like one
            data = await data
        if data is None:
            raise BlockingIOError(
                "the source has nothing to read now: pipeline() reads files that block until they have"
            )
        if not (data := _plain(data)):
            return
        yield data


async def _iterate_in_thread(items: Iterable[Any], thread: Threads) -> AsyncIterator[Any]:
    end = object()
    iterator = await thread.run(iter, items)
    try:
        while (item := await thread.run(next, iterator, end)) is not end:
            yield item
    finally:
        # Of a class whose __iter__ is a generator function, say.
        if iterator is not items and callable(close := getattr(iterator, "close", None)):
            await _close_in_thread(thread, close)


async def gzip_chunks(chunks: AsyncIterable[Chunk], level: int = 6) -> AsyncIterator[bytes]:
    """A transform that compresses each piece and flushes it, so that the client can read it at once.

    The response needs the header ``content-encoding: gzip``. ``level`` is from 1 (fast) to 9 (small).
    """
    import zlib

    compressor = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def compress(data: Any) -> bytes:
        return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)

    async for chunk in chunks:
        data = to_bytes(chunk)
        if data:
            yield await asyncio.to_thread(compress, data) if len(data) > LARGE else compress(data)
    yield compressor.flush()
