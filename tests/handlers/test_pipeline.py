"""From every kind of source, through transforms, into a response; and everything is closed, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gzip
import io
import threading
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from botocore.response import StreamingBody

from asgi_stream import LambdaContext, ResponseStream, gzip_chunks, pipeline, streaming_handler
from asgi_stream.sinks import Sink
from tests.support.wire import FakeRuntimeApi, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.anyio

LARGE = bytes(range(256)) * 2500  # 640,000 bytes: three reads


async def answer(*steps: Any) -> list[bytes]:
    """Runs a pipeline of a source and transforms over the runtime's own loop; returns the chunks that came."""

    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        await pipeline(*steps, response)

    api = await serve(handler, {})
    assert api.answers[0].trailers == {}
    assert api.answers[0].kind == "response"
    return api.answers[0].chunks


class AsyncReader:
    """What aiohttp, aiofiles and aiobotocore have in common."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.closed = False

    async def read(self, size: int) -> bytes:
        await asyncio.sleep(0)
        return self._file.read(size)

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("read line by line, though it can be read by size")

    async def aclose(self) -> None:
        self.closed = True


class HiddenReader:
    """Its ``read`` is a plain function that returns something to await."""

    def __init__(self, data: bytes) -> None:
        self._reader = AsyncReader(data)

    def read(self, size: int) -> Any:
        return self._reader.read(size)


class File:
    """A file of the old kind: ``read`` alone, and it remembers the threads that called."""

    def __init__(self, *pieces: bytes | str | BaseException) -> None:
        self._pieces = list(pieces)
        self.threads: set[int] = set()
        self.closed = 0

    def read(self, size: int) -> bytes | str:
        self.threads.add(threading.get_ident())
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1


async def async_generator(*pieces: Any) -> AsyncIterator[Any]:
    for piece in pieces:
        yield piece


def generator(*pieces: Any) -> Iterator[Any]:
    yield from pieces


class Iterable:
    """Its iterator is another object, a generator."""

    async def __aiter__(self) -> AsyncIterator[str]:
        yield "a"
        yield "b"


async def upper(chunks: AsyncIterable[str]) -> AsyncIterator[str]:
    async for chunk in chunks:
        yield chunk.upper()


async def twice(chunks: AsyncIterable[str]) -> AsyncIterator[str]:
    async for chunk in chunks:
        yield chunk
        yield chunk


@pytest.mark.parametrize(
    ("source", "chunks"),
    [
        (lambda: "text ☃", ["text ☃".encode()]),
        (lambda: b"bytes", [b"bytes"]),
        (lambda: bytearray(b"bytes"), [b"bytes"]),
        (lambda: "", []),
        (lambda: ["a", b"b"], [b"a", b"b"]),
        (lambda: ("a", "b"), [b"a", b"b"]),
        (lambda: {"a": 1, "b": 2}.keys(), [b"a", b"b"]),
        (lambda: generator("a", "b"), [b"a", b"b"]),
        (lambda: async_generator("a", b"b"), [b"a", b"b"]),
        (Iterable, [b"a", b"b"]),
        (lambda: io.StringIO("line\nline\n"), [b"line\nline\n"]),
        (lambda: File("a", b"b"), [b"a", b"b"]),
        (lambda: HiddenReader(b"ab"), [b"ab"]),
    ],
)
async def test_sources(source: Callable[[], Any], chunks: list[bytes]) -> None:
    assert await answer(source()) == chunks


@pytest.mark.parametrize(
    "source",
    [
        lambda: LARGE,
        lambda: memoryview(LARGE),
        lambda: io.BytesIO(LARGE),
        lambda: AsyncReader(LARGE),
        lambda: StreamingBody(io.BytesIO(LARGE), len(LARGE)),
    ],
)
async def test_large_sources_are_read_in_pieces(source: Callable[[], Any]) -> None:
    chunks = await answer(source())
    assert [len(chunk) for chunk in chunks] == [262_144, 262_144, 115_712]
    assert b"".join(chunks) == LARGE


async def test_what_blocks_is_read_and_closed_in_one_thread_beside_the_event_loop() -> None:
    file = File(b"a", b"b")
    await answer(file)
    assert file.closed == 1
    assert len(file.threads) == 1
    assert threading.get_ident() not in file.threads


async def test_an_iterator_is_closed_in_the_thread_and_the_context_of_its_source() -> None:
    """The generator that an ``__iter__`` makes: nobody but the pipeline has it."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    seen: list[int] = []

    class Items:
        def __iter__(self) -> Iterator[str]:
            token = variable.set(1)
            seen.append(threading.get_ident())
            try:
                yield "a"
                yield "b"
            finally:
                seen.append(threading.get_ident())
                variable.reset(token)

    with pytest.raises(LookupError):
        await pipeline(Items(), Stage(fails_at=0), ResponseStream(Sink()))
    assert len(seen) == 2
    assert seen[0] == seen[1] != threading.get_ident()


async def test_a_source_that_has_something_now_is_not_asked_for_more() -> None:
    """``BufferedReader.read(n)`` waits for n bytes; a live source must show what it has."""
    read, write = (io.FileIO(descriptor, mode) for descriptor, mode in zip(__import__("os").pipe(), "rw", strict=True))
    api = FakeRuntimeApi({})

    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        await pipeline(io.BufferedReader(read), response)

    serving = asyncio.ensure_future(serve(handler, api=api))
    for number in range(3):
        write.write(b"piece %d" % number)
        while len(api.received) < 2 or len(api.received[1].chunks) <= number:
            api._written.clear()
            await api._written.wait()
    write.close()
    await serving
    assert api.answers[0].chunks == [b"piece 0", b"piece 1", b"piece 2"]


async def test_transforms_in_their_order() -> None:
    assert await answer(["a", "b"], upper, twice) == [b"A", b"A", b"B", b"B"]


@pytest.mark.parametrize("source", ["text", b"text", bytearray(b"text")])
async def test_transforms_get_the_type_that_the_source_has(source: Any) -> None:
    async def change(chunks: AsyncIterable[Any]) -> AsyncIterator[Any]:
        async for chunk in chunks:
            yield chunk.upper()

    assert await answer(source, change) == [b"TEXT"]


async def test_gzip_can_be_read_chunk_by_chunk() -> None:
    chunks = await answer(["first", b"", b"second" * 20_000], gzip_chunks)
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert reader.decompress(chunks[0]) == b"first"
    assert reader.decompress(chunks[1]) == b"second" * 20_000
    assert len(chunks) == 3
    assert gzip.decompress(b"".join(chunks)) == b"first" + b"second" * 20_000


@pytest.mark.parametrize(
    ("source", "transform", "message"),
    [
        (5, None, "not int"),
        (None, None, "not NoneType"),
        ([1], None, "text or bytes, not int"),
        ([{}], gzip_chunks, "text or bytes, not dict"),
        (["a"], "upper", "a transform is an async generator function or the like, not str"),
        (["a"], lambda chunks: list(chunks.__class__.__name__), "returned no async iterator but list"),
    ],
)
async def test_wrong_arguments_are_named(source: Any, transform: Any, message: str) -> None:
    response = ResponseStream(Sink())
    with pytest.raises(TypeError, match=message):
        await pipeline(source, *([] if transform is None else [transform]), response)


async def test_a_pipeline_without_a_response_says_so_and_closes_its_source() -> None:
    file = File(b"a")
    with pytest.raises(
        TypeError, match=r"the last argument of pipeline.. is the ResponseStream of an async handler, not function"
    ):
        await pipeline(file, upper)  # type: ignore[call-overload]
    assert file.closed == 1
    with pytest.raises(TypeError, match="not NoneType"):
        await pipeline(["a"])  # type: ignore[call-overload]


class Stage:
    """A transform that records whether it was closed, and may fail."""

    def __init__(self, fails_at: int = -1, fails_in_close: bool = False) -> None:
        self.fails_at = fails_at
        self.fails_in_close = fails_in_close
        self.closed = False

    async def __call__(self, chunks: AsyncIterable[Any]) -> AsyncIterator[Any]:
        number = 0
        try:
            async for chunk in chunks:
                if number == self.fails_at:
                    raise LookupError("in a transform")
                number += 1
                yield chunk
        finally:
            self.closed = True
            if self.fails_in_close:
                raise LookupError("in a close")


SOURCES: dict[str, Callable[[], tuple[Any, Callable[[], bool]]]] = {
    "file": lambda: (file := File(b"a", b"b", b"c"), lambda: file.closed == 1),
    "reader": lambda: (reader := AsyncReader(b"abc"), lambda: reader.closed),
    "generator": lambda: (items := generator("a", "b", "c"), lambda: items.gi_frame is None),  # type: ignore[attr-defined]
    "async generator": lambda: (items := async_generator("a", "b"), lambda: items.ag_frame is None),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("trouble", ["none", "first transform", "last transform", "close", "write"])
async def test_everything_is_closed(source: str, trouble: str) -> None:
    opened, is_closed = SOURCES[source]()
    first = Stage(fails_at=0 if trouble == "first transform" else -1)
    last = Stage(fails_at=0 if trouble == "last transform" else -1, fails_in_close=trouble == "close")
    seen: list[BaseException | None] = []

    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        if trouble == "write":
            await response.end()
        try:
            await pipeline(opened, first, last, response)
        except BaseException as error:
            seen.append(error)
            raise
        finally:
            assert is_closed()
            assert first.closed
            assert last.closed

    api = await serve(handler, {})
    assert [str(error) for error in seen] == {
        "none": [],
        "close": ["in a close"],
        "write": ["a write after the end of the response"],
    }.get(trouble, ["in a transform"])
    assert (api.answers[0].kind == "error") is (trouble.endswith("transform"))
    assert bool(api.answers[0].trailers) is (trouble == "close")


async def test_a_close_that_fails_can_be_swallowed_no_more_than_another_failure() -> None:
    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        with contextlib.suppress(LookupError):
            await pipeline(["a"], Stage(fails_in_close=True), response)

    api = await serve(handler, {})
    assert api.answers[0].body == b"a"
    assert api.answers[0].trailers["lambda-runtime-function-error-type"] == "Function.LookupError"


async def test_a_file_that_does_not_block_is_no_end() -> None:
    class Empty:
        def read(self, size: int) -> None:
            return None

    with pytest.raises(BlockingIOError, match="the source has nothing to read now"):
        await pipeline(Empty(), ResponseStream(Sink()))


async def test_a_failing_read_reaches_the_trailers_and_closes_the_file() -> None:
    file = File(b"a", OSError("the disk is gone"))

    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        await pipeline(file, response)

    api = await serve(handler, {})
    assert api.answers[0].body == b"a"
    assert api.answers[0].trailers["lambda-runtime-function-error-type"] == "Function.OSError"
    assert file.closed == 1


async def test_cancelled_in_a_read_that_blocks_it_does_not_wait_and_the_file_is_closed_behind_the_read() -> None:
    reading, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    class Blocked:
        def read(self, size: int) -> bytes:
            reading.set()
            go_on.wait()
            return b""

        def close(self) -> None:
            assert go_on.is_set()
            closed.set()

    running = asyncio.ensure_future(pipeline(Blocked(), ResponseStream(Sink())))
    await asyncio.to_thread(reading.wait)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not closed.is_set()
    go_on.set()
    await asyncio.to_thread(closed.wait)


async def test_threads_end_with_their_pipeline() -> None:
    before = set(threading.enumerate())
    for _ in range(5):
        await answer(File(b"a"))
    left = {thread for thread in threading.enumerate() if thread not in before}
    for thread in left:
        await asyncio.to_thread(thread.join)
    assert not any(thread.is_alive() for thread in left)


async def test_errors_whose_contexts_lead_back_to_them() -> None:
    """All stages are closed; what the last of them raises is the error."""
    closed = []

    class Source:
        def __aiter__(self) -> Source:
            return self

        async def __anext__(self) -> bytes:
            raise LookupError("while it is read")

        async def aclose(self) -> None:
            closed.append("source")
            one, other = ValueError("one"), KeyError("other")
            try:
                raise one
            except ValueError:
                one.__context__, other.__context__ = other, one
                raise ValueError("while it is closed")  # noqa: B904

    class Transform:
        def __init__(self, chunks: Any) -> None:
            self._chunks = chunks

        def __aiter__(self) -> Any:
            return self._chunks

        async def aclose(self) -> None:
            closed.append("transform")
            raise KeyError("first")

    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        await pipeline(Source(), Transform, response)

    api = await serve(handler, {}, {})
    for answer in api.answers:
        assert answer.kind == "error"
        assert b"while it is closed" in answer.body
    # The transform's iterator is the source: it is closed as what it iterates over, and as itself.
    assert closed == ["source", "transform", "source"] * 2
