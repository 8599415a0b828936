"""Streaming handlers of every kind and plain ones, each with the ways in which it may end, and how that should look.

It imports nothing but the standard library and asgi_stream: on one platform it runs as another user, without the
virtual environment of the tests. One function serves all kinds, so that one process has them all: ``every``.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from asgi_stream import (
    BlockingResponseStream,
    Prelude,
    ResponseStream,
    gzip_chunks,
    pipeline,
    streaming_handler,
)
from asgi_stream.recognise import as_handler

if TYPE_CHECKING:
    import contextvars
    from collections.abc import AsyncIterator, Callable, Iterator

F = TypeVar("F", bound="Callable[..., Any]")

OCTET_STREAM = "application/octet-stream"


class Ending(NamedTuple):
    """What Lambda gets. ``by`` is how it hears of the error: ``"response"`` means trailers, ``"error"`` /error.

    ``prelude`` is None for a raw stream; ``answer`` stands for the JSON of an answer in one piece; ``logged`` is an
    error that Lambda is not told of.
    """

    body: bytes = b""
    prelude: dict[str, Any] | None = None
    content_type: str = OCTET_STREAM
    error: tuple[str, str] | None = None
    by: str = "response"
    answer: Any = None
    logged: tuple[str, str] | None = None


def told(name: str, message: str) -> Ending:
    """An error before the first byte."""
    return Ending(error=(name, message), by="error")


class Case(NamedTuple):
    function: Callable[..., Any]
    ending: Ending


KINDS = ("async", "blocking", "generator", "blocking_generator", "plain", "async_plain")
CASES: dict[str, dict[str, Case]] = {kind: {} for kind in KINDS}


def case(kind: str, ending: Ending) -> Callable[[F], F]:
    def keep(function: F) -> F:
        CASES[kind][function.__name__] = Case(function, ending)
        return function

    return keep


# Async


@case("async", Ending(b"one two"))
async def writes(response: ResponseStream) -> None:
    await response.write("one ")
    await response.write(b"two")


@case("async", Ending())
async def sends_nothing(response: ResponseStream) -> None:
    pass


@case("async", Ending(b"page", {"statusCode": 201, "headers": {"X-One": "1"}, "cookies": ["a=b", "c=d"]}))
async def sends_metadata(response: ResponseStream) -> None:
    response.http(201, {"X-One": "1"}, ["a=b", "c=d"])
    await response.end("page")


@case("async", Ending(b"", {"statusCode": 204, "headers": {}}))
async def sends_metadata_alone(response: ResponseStream) -> None:
    response.http(204)


@case("async", Ending(b"x", content_type="text/css"))
async def sends_a_content_type(response: ResponseStream) -> None:
    response.content_type = "text/css"
    await response.write("x")


@case("async", told("ValueError", "before"))
async def raises_before(response: ResponseStream) -> None:
    response.http(200)
    raise ValueError("before")


@case("async", Ending(b"part", error=("ValueError", "after")))
async def raises_after(response: ResponseStream) -> None:
    await response.write("part")
    raise ValueError("after")


@case("async", Ending(b"part", {"statusCode": 200, "headers": {}}, error=("ValueError", "after")))
async def raises_after_metadata(response: ResponseStream) -> None:
    await response.http().write("part")
    raise ValueError("after")


@case("async", Ending(b"whole", logged=("ValueError", "too late")))
async def raises_after_the_end(response: ResponseStream) -> None:
    await response.end("whole")
    raise ValueError("too late")


@case("async", Ending(b"part", error=("SystemExit", "3")))
async def exits(response: ResponseStream) -> None:
    await response.write("part")
    raise SystemExit(3)


@case("async", Ending(b"part", error=("HandlerError", "1 of the handler's calls of write() or end() were never")))
async def forgets_an_await(response: ResponseStream) -> None:
    await response.write("part")
    response.write("lost")  # type: ignore[unused-coroutine]


@case("async", Ending(b"part", error=("TypeError", "text or bytes, not dict")))
async def writes_an_object(response: ResponseStream) -> None:
    await response.write("part")
    await response.write({})  # type: ignore[arg-type]


@case("async", Ending(b"part", error=("HandlerError", "HTTP metadata after the first byte")))
async def metadata_too_late(response: ResponseStream) -> None:
    await response.write("part")
    response.http(200)


@case("async", Ending(b"whole", logged=("HandlerError", "a write after the end")))
async def writes_after_the_end(response: ResponseStream) -> None:
    await response.end("whole")
    await response.write("more")


@case("async", Ending(b"piece " * 20))
async def writes_from_many_tasks(response: ResponseStream) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(response.write("piece "))


@case("async", Ending(b"part", error=("TimeoutError", "")))
async def times_out(response: ResponseStream) -> None:
    await response.write("part")
    async with asyncio.timeout(0):
        await asyncio.Event().wait()


@case("async", Ending(bytes(3_000_000)))
async def pipes_a_large_source(response: ResponseStream) -> None:
    await pipeline(bytes(3_000_000), response)


@case("async", Ending(b"1", error=("LookupError", "in the source")))
async def pipes_a_source_that_fails(response: ResponseStream) -> None:
    async def source() -> AsyncIterator[str]:
        yield "1"
        raise LookupError("in the source")

    await pipeline(source(), response)


@case("async", Ending(b"1", error=("LookupError", "in the source")))
async def swallows_what_is_wrong_with_a_source(response: ResponseStream) -> None:
    async def source() -> AsyncIterator[str]:
        yield "1"
        raise LookupError("in the source")

    try:
        await pipeline(source(), response)
    except LookupError:
        await response.end("all is well")


@case("async", told("TypeError", "pipeline() reads text, bytes"))
async def pipes_a_number(response: ResponseStream) -> None:
    await pipeline(5, gzip_chunks, response)  # type: ignore[call-overload]


# In threads


@case("blocking", Ending(b"one two", {"statusCode": 200, "headers": {"a": "b"}}))
def writes_blocking(response: BlockingResponseStream) -> None:
    response.http(200, {"a": "b"})
    response.write("one ")
    response.end("two")


@case("blocking", Ending())
def sends_nothing_blocking(response: BlockingResponseStream) -> None:
    pass


@case("blocking", told("ValueError", "before"))
def raises_before_blocking(response: BlockingResponseStream) -> None:
    raise ValueError("before")


@case("blocking", Ending(b"part", error=("ValueError", "after")))
def raises_after_blocking(response: BlockingResponseStream) -> None:
    response.write("part")
    raise ValueError("after")


@case("blocking", Ending(b"part", error=("SystemExit", "2")))
def exits_blocking(response: BlockingResponseStream) -> None:
    response.write("part")
    raise SystemExit(2)


@case("blocking", Ending(b"whole", logged=("HandlerError", "a write after the end")))
def writes_after_the_end_blocking(response: BlockingResponseStream) -> None:
    response.end("whole")
    response.write("more")


@case("blocking", Ending(b"piece " * 20))
def writes_from_many_threads(response: BlockingResponseStream) -> None:
    threads = [threading.Thread(target=response.write, args=("piece ",)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Generators


@case("generator", Ending(b"one two", {"statusCode": 200, "headers": {"a": "b"}}))
async def yields() -> AsyncIterator[Any]:
    yield Prelude(200, {"a": "b"})
    yield "one "
    yield b"two"


@case("generator", Ending())
async def yields_nothing() -> AsyncIterator[Any]:
    for _ in range(0):
        yield ""


@case("generator", told("ValueError", "before"))
async def yields_after_raising() -> AsyncIterator[Any]:
    if CASES:
        raise ValueError("before")
    yield ""


@case("generator", Ending(b"part", error=("ValueError", "after")))
async def raises_after_yielding() -> AsyncIterator[Any]:
    yield "part"
    raise ValueError("after")


@case("generator", Ending(b"part", error=("TypeError", "text or bytes, not int")))
async def yields_a_number() -> AsyncIterator[Any]:
    yield "part"
    yield 5


@case("blocking_generator", Ending(b"one two"))
def yields_blocking() -> Iterator[Any]:
    yield "one "
    time.sleep(0)
    yield b"two"


@case("blocking_generator", told("ValueError", "before"))
def yields_after_raising_blocking() -> Iterator[Any]:
    if CASES:
        raise ValueError("before")
    yield ""


@case("blocking_generator", Ending(b"part", error=("ValueError", "after")))
def raises_after_yielding_blocking() -> Iterator[Any]:
    yield "part"
    raise ValueError("after")


# Plain


def plain_cases(kind: str) -> None:
    def keep(ending: Ending) -> Callable[[F], F]:
        return case(kind, ending)

    @keep(Ending(answer={"statusCode": 200, "body": "ü"}))
    def returns() -> Any:
        return {"statusCode": 200, "body": "ü"}

    @keep(Ending(answer=None))
    def returns_nothing() -> None:
        pass

    @keep(told("ValueError", "no"))
    def raises() -> None:
        raise ValueError("no")

    @keep(told("SystemExit", "3"))
    def exits() -> None:
        raise SystemExit(3)

    @keep(told("TypeError", "the handler returned what cannot be said in JSON"))
    def returns_an_object() -> object:
        return object()


plain_cases("plain")
plain_cases("async_plain")


# The handlers

MEETING = 4
meeting = asyncio.Barrier(MEETING)
meeting_of_threads = threading.Barrier(MEETING)


def facts() -> str:
    return f"{os.getpid()}"


@streaming_handler
async def async_writer(event: Any, response: ResponseStream, context: Any) -> None:
    if event["case"] == "facts":
        await response.write(facts())
    elif event["case"] == "meet":
        await response.write("first ")
        await meeting.wait()
        await response.write(facts())
    else:
        await CASES["async"][event["case"]].function(response)


@streaming_handler
def blocking_writer(event: Any, response: BlockingResponseStream, context: Any) -> None:
    if event["case"] == "meet":
        response.write("first ")
        meeting_of_threads.wait()
        response.write(facts())
    else:
        CASES["blocking"][event["case"]].function(response)


async def generator(event: Any, context: Any) -> AsyncIterator[Any]:
    if event["case"] == "meet":
        yield "first "
        await meeting.wait()
        yield facts()
    else:
        async for item in CASES["generator"][event["case"]].function():
            yield item


def blocking_generator(event: Any, context: Any) -> Iterator[Any]:
    if event["case"] == "meet":
        yield "first "
        meeting_of_threads.wait()
        yield facts()
    else:
        yield from CASES["blocking_generator"][event["case"]].function()


def plain(event: Any, context: Any) -> Any:
    if event["case"] == "meet":
        meeting_of_threads.wait()
        return "first " + facts()
    return CASES["plain"][event["case"]].function()


async def async_plain(event: Any, context: Any) -> Any:
    if event["case"] == "meet":
        await meeting.wait()
        return "first " + facts()
    return CASES["async_plain"][event["case"]].function()


class Every:
    """All of them behind one name, told apart by the event's ``kind``: what the runtime drives, made by hand."""

    wants_shutdown = False

    def __init__(self) -> None:
        functions = (async_writer, blocking_writer, generator, blocking_generator, plain, async_plain)
        self.handlers = {kind: as_handler(function) for kind, function in zip(KINDS, functions, strict=True)}

    async def startup(self) -> contextvars.Context:
        variables: list[contextvars.Context] = [await handler.startup() for handler in self.handlers.values()]
        return variables[0]

    async def invoke(self, event: Any, context: Any, sink: Any) -> None:
        await self.handlers[event["kind"]].invoke(event, context, sink)

    async def shutdown(self) -> None:
        for handler in self.handlers.values():
            await handler.shutdown()


every = Every()


# For tests/test_end_to_end.py's way of measuring: far more than anything on the way can hold.

LARGE_PIECES = 763
LARGE_PIECE = 262_144


def large_piece() -> bytes:
    """Not zeros: those take no memory before somebody looks at them."""
    return b"x" * LARGE_PIECE


class Large:
    """A file of 200 MB, without the disk."""

    def __init__(self) -> None:
        self._left = LARGE_PIECES

    def read(self, size: int) -> bytes:
        self._left -= 1
        return large_piece() if self._left >= 0 else b""


async def pieces() -> AsyncIterator[bytes]:
    for _ in range(LARGE_PIECES):
        yield large_piece()


def large_headers() -> dict[str, str]:
    """What the process is, and the most memory that it has held before there was a source."""
    with open("/proc/self/status") as status:
        (peak,) = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    return {"x-pid": str(os.getpid()), "x-peak-kb": peak}


def _is_head(event: Any) -> bool:
    return bool(event["requestContext"]["http"]["method"] == "HEAD")


@streaming_handler
async def large_file(event: Any, response: ResponseStream, context: Any) -> None:
    response.http(200, large_headers())
    if not _is_head(event):
        await pipeline(Large(), response)


@streaming_handler
async def large_generator(event: Any, response: ResponseStream, context: Any) -> None:
    response.http(200, large_headers())
    if not _is_head(event):
        await pipeline(pieces(), response)
