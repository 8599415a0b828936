"""Whatever a streaming handler does, its response ends in exactly one way, and the next invocation works.

Each function runs through the runtime's own loop twice, the second time asked to behave, over a Runtime API in memory;
one of each kind does so in a real process against our server and AWS's emulator (tests/conformance/test_handlers.py).
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

from asgi_stream import (
    AsgiStreamError,
    BlockingResponseStream,
    HandlerError,
    LambdaContext,
    Prelude,
    ResponseStream,
    StreamClosed,
    StreamingHandler,
    pipeline,
    streaming_handler,
)
from tests.support.wire import FakeRuntimeApi, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = [
    pytest.mark.anyio,
    # What forgets to await is warned of by Python too.
    pytest.mark.filterwarnings("ignore:coroutine 'ResponseStream:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*never awaited:pytest.PytestUnraisableExceptionWarning"),
]

F = TypeVar("F", bound="Callable[..., Any]")

GOOD = {"good": True}
BAD = {"good": False}
HTTP = "application/vnd.awslambda.http-integration-response"


class Ending(NamedTuple):
    """What Lambda gets: where (``response`` or ``error``), the body, and the error's type and text."""

    kind: str
    body: bytes = b""
    error_type: str | None = None
    message: str = ""
    content_type: str = "application/octet-stream"


ENDINGS: dict[str, tuple[Any, Ending]] = {}


def ends_in(ending: Ending) -> Callable[[F], F]:
    def keep(function: F) -> F:
        async def writer(event: Any, response: ResponseStream, context: LambdaContext) -> None:
            await (response.write("good") if event["good"] else function(response))

        ENDINGS[function.__name__] = (streaming_handler(writer), ending)
        return function

    return keep


def threaded(ending: Ending) -> Callable[[F], F]:
    def keep(function: F) -> F:
        def writer(event: Any, response: BlockingResponseStream, context: LambdaContext) -> None:
            if event["good"]:
                response.write("good")
            else:
                function(response)

        ENDINGS[function.__name__] = (streaming_handler(writer), ending)
        return function

    return keep


def generated(ending: Ending) -> Callable[[F], F]:
    def keep(function: F) -> F:
        async def generator(event: Any, context: LambdaContext) -> AsyncIterator[Any]:
            if event["good"]:
                yield "good"
            else:
                async for item in function():
                    yield item

        ENDINGS[function.__name__] = (streaming_handler(generator), ending)
        return function

    return keep


def generated_in_a_thread(ending: Ending) -> Callable[[F], F]:
    def keep(function: F) -> F:
        def generator(event: Any, context: LambdaContext) -> Iterator[Any]:
            if event["good"]:
                yield "good"
            else:
                yield from function()

        ENDINGS[function.__name__] = (streaming_handler(generator), ending)
        return function

    return keep


@ends_in(Ending("response", b"one two"))
async def writes(response: ResponseStream) -> None:
    await response.write("one ")
    await response.write(b"two")


@ends_in(Ending("response", b"abcdef"))
async def all_kinds_of_data(response: ResponseStream) -> None:
    buffer = bytearray(b"b")
    await response.write(b"a")
    await response.write(buffer)
    await response.write(memoryview(b"c"))
    await response.write(memoryview(b"d.e.")[::2])
    await response.write("")
    await response.end(memoryview(b"f\0\0\0").cast("I")[:1].cast("B")[:1])


@ends_in(Ending("response", "grüße ☃".encode()))
async def text_is_utf8(response: ResponseStream) -> None:
    await response.write("grüße ")
    await response.end("☃")


@ends_in(Ending("response"))
async def nothing_at_all(response: ResponseStream) -> None:
    pass


@ends_in(Ending("response", b"done"))
async def ends_by_itself(response: ResponseStream) -> None:
    await response.write("done")
    await response.end()


@ends_in(Ending("response", b"x", content_type="text/plain; charset=utf-8"))
async def a_content_type(response: ResponseStream) -> None:
    response.content_type = "text/plain; charset=utf-8"
    assert response.content_type == "text/plain; charset=utf-8"
    await response.write("x")


@ends_in(Ending("response", b"{...}" + bytes(8) + b"page", content_type=HTTP))
async def http_metadata(response: ResponseStream) -> None:
    await response.http(201, {"X-One": "1"}, ["a=b"]).write("page")


@ends_in(Ending("response", b"{...}" + bytes(8), content_type=HTTP))
async def http_metadata_alone(response: ResponseStream) -> None:
    response.http(204)


@ends_in(Ending("error", b"", "Function.ValueError", "before"))
async def raises_before_the_first_byte(response: ResponseStream) -> None:
    raise ValueError("before")


@ends_in(Ending("error", b"", "Function.ValueError", "before"))
async def raises_between_metadata_and_the_first_byte(response: ResponseStream) -> None:
    response.http(200)
    raise ValueError("before")


@ends_in(Ending("response", b"part", "Function.ValueError", "after"))
async def raises_after_the_first_byte(response: ResponseStream) -> None:
    await response.write("part")
    raise ValueError("after")


@ends_in(Ending("response", b"whole"))
async def raises_after_the_end(response: ResponseStream) -> None:
    await response.end("whole")
    raise ValueError("too late")


@ends_in(Ending("response", b"part", "Function.SystemExit", "3"))
async def exits(response: ResponseStream) -> None:
    await response.write("part")
    raise SystemExit(3)


@ends_in(Ending("response", b"part", "Function.CancelledError"))
async def cancels_itself(response: ResponseStream) -> None:
    await response.write("part")
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.Event().wait()


@ends_in(Ending("error", b"", "Function.TypeError", "headers must be a dict, not list"))
async def headers_as_pairs(response: ResponseStream) -> None:
    response.http(200, [("a", "b")])  # type: ignore[arg-type]


@ends_in(Ending("error", b"", "Function.TypeError", "the values of header a must be a list of strings, not str"))
async def several_values_as_text(response: ResponseStream) -> None:
    response.http(200, multi_value_headers={"a": "b"})


@ends_in(Ending("response", b"{...}" + bytes(8) + b"page", content_type=HTTP))
async def metadata_that_change_after_they_were_checked(response: ResponseStream) -> None:
    headers, cookies = {"X-One": "1"}, ["a=b"]
    response.http(201, headers, cookies)
    headers["X-Two"] = "not\nchecked"
    cookies.clear()
    await response.write("page")


@ends_in(Ending("response", b"part", "Function.HandlerError", "HTTP metadata after the first byte"))
async def metadata_too_late(response: ResponseStream) -> None:
    await response.write("part")
    response.http(200)


@ends_in(Ending("response", b"part", "Function.HandlerError", "content type after the first byte"))
async def content_type_too_late(response: ResponseStream) -> None:
    await response.write("part")
    response.content_type = "text/plain"


@ends_in(Ending("error", b"", "Function.HandlerError", "has its content type there"))
async def content_type_beside_metadata(response: ResponseStream) -> None:
    response.http(200)
    response.content_type = "text/plain"


@ends_in(Ending("response", b"whole"))
async def writes_after_the_end(response: ResponseStream) -> None:
    await response.end("whole")
    with pytest.raises(HandlerError, match="a write after the end"):
        await response.write("more")
    with pytest.raises(HandlerError, match="a write after the end"):
        await response.end()


@ends_in(Ending("response", b"part", "Function.TypeError", "text or bytes, not dict"))
async def writes_an_object(response: ResponseStream) -> None:
    await response.write("part")
    await response.write({"a": 1})  # type: ignore[arg-type]


@ends_in(
    Ending("error", b"", "Function.HandlerError", "2 of the handler's calls of write() or end() were never awaited")
)
async def forgets_every_await(response: ResponseStream) -> None:
    response.write("lost")  # type: ignore[unused-coroutine]
    response.end()  # type: ignore[unused-coroutine]


@ends_in(Ending("response", b"part", "Function.HandlerError", "never awaited"))
async def forgets_one_await(response: ResponseStream) -> None:
    await response.write("part")
    response.write("lost")  # type: ignore[unused-coroutine]


@ends_in(
    Ending("response", b"part", "Function.HandlerError", "1 of the handler's calls of write() or end() were never")
)
async def forgets_an_await_before_the_end(response: ResponseStream) -> None:
    await response.write("part")
    response.write("lost")  # type: ignore[unused-coroutine]
    await response.end("end")


@ends_in(
    Ending("response", b"piped", "Function.HandlerError", "1 of the handler's calls of write() or end() were never")
)
async def forgets_an_await_before_a_pipeline(response: ResponseStream) -> None:
    response.write("lost")  # type: ignore[unused-coroutine]
    await pipeline("piped", response)


@ends_in(Ending("response", b"abc" * 3))
async def a_task_group_of_writers(response: ResponseStream) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(response.write("abc"))


@ends_in(Ending("error", b"", "Function.ValueError", "status must be a number"))
async def a_bad_status(response: ResponseStream) -> None:
    response.http(1000)


@ends_in(Ending("error", b"", "Function.ValueError", "not the name of a header"))
async def a_bad_header_name(response: ResponseStream) -> None:
    response.http(200, {"a b": "c"})


@ends_in(Ending("error", b"", "Function.ValueError", "not allowed in a header"))
async def a_bad_header_value(response: ResponseStream) -> None:
    response.http(200, {"a": "b\r\nc: d"})


@ends_in(Ending("error", b"", "Function.TypeError", "header a must be a string, not int"))
async def a_number_as_header_value(response: ResponseStream) -> None:
    response.http(200, {"a": 1})  # type: ignore[dict-item]


@ends_in(Ending("error", b"", "Function.TypeError", "cookies must be a list"))
async def one_cookie_as_text(response: ResponseStream) -> None:
    response.http(200, cookies="a=b")


@ends_in(Ending("response", b"1", "Function.LookupError", "in the source"))
async def a_source_that_fails(response: ResponseStream) -> None:
    async def source() -> AsyncIterator[str]:
        yield "1"
        raise LookupError("in the source")

    await pipeline(source(), response)


@ends_in(Ending("response", b"1", "Function.LookupError", "in the source"))
async def a_pipeline_whose_failure_is_swallowed(response: ResponseStream) -> None:
    async def source() -> AsyncIterator[str]:
        yield "1"
        raise LookupError("in the source")

    with pytest.raises(LookupError):
        await pipeline(source(), response)
    with pytest.raises(LookupError):
        await response.write("2")


@ends_in(Ending("response", b"1", "Function.HandlerError", "a pipeline was cancelled before its end"))
async def a_pipeline_that_takes_too_long(response: ResponseStream) -> None:
    async def source() -> AsyncIterator[str]:
        yield "1"
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await pipeline(source(), response)
    await response.write("2")


@ends_in(Ending("response", b"instead"))
async def a_pipeline_that_fails_before_the_first_byte(response: ResponseStream) -> None:
    async def source() -> AsyncIterator[str]:
        if response.begun is False:
            raise LookupError
        yield ""

    with pytest.raises(LookupError):
        await pipeline(source(), response)
    await response.write("instead")


@threaded(Ending("response", b"{...}" + bytes(8) + b"one two", content_type=HTTP))
def blocking_writes(response: BlockingResponseStream) -> None:
    response.http(200, {"a": "b"})
    response.write("one ")
    response.end("two")


@threaded(Ending("response", b"x", content_type="text/css"))
def a_blocking_content_type(response: BlockingResponseStream) -> None:
    response.content_type = "text/css"
    response.write("x" if response.content_type == "text/css" else "y")


@threaded(Ending("error", b"", "Function.ValueError", "before"))
def blocking_raises_before(response: BlockingResponseStream) -> None:
    raise ValueError("before")


@threaded(Ending("response", b"part", "Function.ValueError", "after"))
def blocking_raises_after(response: BlockingResponseStream) -> None:
    response.write("part")
    raise ValueError("after")


@threaded(Ending("response", b"part", "Function.RuntimeError", "raised StopIteration"))
def a_stop_iteration_out_of_a_thread(response: BlockingResponseStream) -> None:
    response.write("part")
    raise StopIteration


@threaded(Ending("response", b"part", "Function.SystemExit", "2"))
def a_blocking_exit(response: BlockingResponseStream) -> None:
    response.write("part")
    raise SystemExit(2)


@generated(Ending("response", b"one two"))
async def a_generator() -> AsyncIterator[str]:
    yield "one "
    yield "two"


@generated(Ending("response", b"{...}" + bytes(8) + b"page", content_type=HTTP))
async def a_generator_with_metadata() -> AsyncIterator[Any]:
    yield Prelude(201, {"X-One": "1"}, ["a=b"])
    yield b"page"


@generated(Ending("response", b"page", "Function.HandlerError", "after the first byte"))
async def a_generator_with_late_metadata() -> AsyncIterator[Any]:
    yield b"page"
    yield Prelude(200, {})


@generated(Ending("error", b"", "Function.ValueError", "before"))
async def a_generator_that_raises_before() -> AsyncIterator[str]:
    for number in range(1):
        raise ValueError(f"before {number}")
    yield ""


@generated(Ending("response", b"part", "Function.ValueError", "after"))
async def a_generator_that_raises_after() -> AsyncIterator[str]:
    yield "part"
    raise ValueError("after")


@generated(Ending("response", b"1", "Function.TypeError", "text or bytes, not int"))
async def a_generator_of_numbers() -> AsyncIterator[Any]:
    yield "1"
    yield 2


@generated_in_a_thread(Ending("response", b"one two"))
def a_blocking_generator() -> Iterator[str]:
    yield "one "
    time.sleep(0)
    yield "two"


@generated_in_a_thread(Ending("response", b"part", "Function.ValueError", "after"))
def a_blocking_generator_that_raises() -> Iterator[str]:
    yield "part"
    raise ValueError("after")


@pytest.mark.parametrize("name", ENDINGS)
async def test_one_end_and_the_next_invocation(name: str) -> None:
    handler, expected = ENDINGS[name]
    api = await serve(handler, BAD, GOOD)
    assert [answer.target.split("/")[4] for answer in api.answers] == ["id-1", "id-2"]
    assert all(answer.complete for answer in api.answers)
    answer, following = api.answers
    assert following.body == b"good"
    assert following.trailers == {}
    assert answer.kind == expected.kind
    if expected.kind == "error":
        error = json.loads(answer.body)
        error_type = answer.headers["lambda-runtime-function-error-type"]
    else:
        assert answer.headers["lambda-runtime-function-response-mode"] == "streaming"
        assert answer.headers["content-type"] == expected.content_type
        body = answer.body
        if expected.content_type == HTTP:
            assert answer.prelude["statusCode"] in (200, 201, 204)
            if answer.prelude["statusCode"] == 201:
                assert answer.prelude == {"statusCode": 201, "headers": {"X-One": "1"}, "cookies": ["a=b"]}
            body = b"{...}" + bytes(8) + answer.content
        assert body == expected.body
        if expected.error_type is None:
            assert answer.trailers == {}
            return
        error = json.loads(base64.b64decode(answer.trailers["lambda-runtime-function-error-body"]))
        error_type = answer.trailers["lambda-runtime-function-error-type"]
    assert error_type == expected.error_type
    assert error["errorType"] == (expected.error_type or "").partition(".")[2]
    assert expected.message in error["errorMessage"]


async def test_every_write_is_a_chunk_of_its_own_and_on_the_wire_before_it_returns() -> None:
    api = FakeRuntimeApi({})

    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        response.http(200, {"content-type": "text/plain"})
        for number in range(3):
            await response.write(f"{number};")
            assert api.written.endswith(b"2\r\n%d;\r\n" % number)

    await serve(handler, api=api)
    assert api.answers[0].chunks[1:] == [b"0;", b"1;", b"2;"]


async def test_writers_at_once_are_served_one_after_another_each_write_whole() -> None:
    """The peer takes a byte or two at a time, so that each write has many chances to be torn."""
    api = FakeRuntimeApi({})
    words = [letter * 50 for letter in "abcdefgh"]

    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        api._capacity = 0
        async with asyncio.TaskGroup() as group:
            for word in words:
                group.create_task(response.write(word))
            for _ in range(2000):
                await asyncio.sleep(0)
                api.take(7)
        api.take(1000)

    await serve(handler, api=api)
    assert api.answers[0].chunks == [word.encode() for word in words]


@pytest.mark.parametrize("call", ["write", "end with data", "end"])
async def test_what_is_cancelled_while_it_waits_for_its_turn_lets_no_clean_end_follow(call: str) -> None:
    """Its data would be a hole in the response. An end without data has none to lose: it comes a little later."""
    api = FakeRuntimeApi({})

    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        await response.write("first ")
        api._capacity = 3
        async with asyncio.TaskGroup() as group:
            group.create_task(response.write("second"))
            await api.stalled.wait()
            lost = {"write": response.write, "end with data": response.end}.get(call, lambda _: response.end())
            cancelled = group.create_task(lost("lost"))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait((cancelled,))
            api.take(100_000)

    await serve(handler, api=api)
    answer = api.answers[0]
    assert (answer.body, answer.complete) == (b"first second", True)
    if call == "end":
        assert answer.trailers == {}
    else:
        error = json.loads(base64.b64decode(answer.trailers["lambda-runtime-function-error-body"]))
        assert "a write was cancelled before its data were taken" in error["errorMessage"]


@pytest.mark.parametrize("metadata", [True, False])
async def test_a_first_write_that_is_cancelled_before_its_data_were_taken_lets_no_clean_end_follow(
    metadata: bool,
) -> None:
    """Nothing but a part of what precedes its data is with a reader that has stalled."""
    api = FakeRuntimeApi({})

    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        if metadata:
            response.http(200)
        api._capacity = 10
        writing = asyncio.ensure_future(response.write("lost"))
        await api.stalled.wait()
        writing.cancel()
        await asyncio.wait((writing,))
        api.take(100_000)
        with pytest.raises(HandlerError):
            await response.write("more")

    await serve(handler, api=api)
    answer = api.answers[0]
    assert answer.complete
    assert (answer.content if metadata else answer.body) == b""
    error = json.loads(base64.b64decode(answer.trailers["lambda-runtime-function-error-body"]))
    assert "a write was cancelled before its data were taken" in error["errorMessage"]


async def test_a_decorator_that_hides_an_async_function_is_named(recwarn: pytest.WarningsRecorder) -> None:
    async def function(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        await response.write("lost")

    @functools.wraps(function)
    def hidden(*arguments: Any) -> Any:
        return function(*arguments)

    api = await serve(streaming_handler(hidden), {})
    assert "a decorator hides that it is async" in json.loads(api.answers[0].body)["errorMessage"]
    assert recwarn.list == []


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_is_returned_is_ignored_and_the_log_says_so(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As Node.js's runtime does it."""

    async def coroutine(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        return {"statusCode": 200}  # type: ignore[return-value]

    def function(event: Any, response: BlockingResponseStream, context: LambdaContext) -> None:
        return {"statusCode": 200}  # type: ignore[return-value]

    api = await serve(streaming_handler(coroutine) if is_async else streaming_handler(function), {})
    assert (api.answers[0].kind, api.answers[0].body, api.answers[0].trailers) == ("response", b"", {})
    assert caplog.messages == ["A streaming handler returned dict, which is sent to nobody"]


async def test_objects_that_can_be_called_are_handlers_too() -> None:
    class Writer:
        async def __call__(self, event: Any, response: ResponseStream, context: LambdaContext) -> None:
            await response.write("written")

    class Generator:
        async def __call__(self, event: Any, context: LambdaContext) -> AsyncIterator[str]:
            yield "yielded"

    for function, body in ((Writer(), b"written"), (Generator(), b"yielded")):
        api = await serve(StreamingHandler(function), {})
        assert api.answers[0].body == body


async def test_a_write_waits_for_a_slow_reader() -> None:
    api = FakeRuntimeApi({})
    order = []

    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        await response.write("first")
        api._capacity = 5
        writing = asyncio.ensure_future(response.write("second"))
        await api.stalled.wait()
        order.append(writing.done())
        api.take(1000)
        await writing
        order.append(writing.done())

    await serve(handler, api=api)
    assert order == [False, True]
    assert api.answers[0].chunks == [b"first", b"second"]


async def test_a_stream_that_lambda_has_closed() -> None:
    """``write`` says so as an OSError, and it is no error of the function's to let that through."""
    api = FakeRuntimeApi({})

    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        await response.write("first")
        api.break_writes(BrokenPipeError("gone"))
        with pytest.raises(StreamClosed):
            await response.write("second")
        await response.write("third")

    await serve(handler, api=api)
    assert api.received[1].body == b"first"
    assert not api.received[1].complete


DEADLINE = {"Lambda_Runtime_Deadline_Ms": str(int((time.time() + 3600) * 1000))}


async def test_a_handler_is_cancelled_before_its_deadline(time_runs_out: Callable[[], None]) -> None:
    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        await response.write("part")
        asyncio.get_running_loop().call_soon(time_runs_out)
        await asyncio.Event().wait()

    api = await serve(handler, api=FakeRuntimeApi({}, headers=DEADLINE))
    assert api.answers[0].trailers["lambda-runtime-function-error-type"] == "Function.DeadlineExceeded"


async def test_a_thread_that_outlives_its_invocation_can_write_no_more(time_runs_out: Callable[[], None]) -> None:
    """The thread goes on, for no thread can be cancelled; its response, and the next one, are safe from it."""
    go_on = asyncio.Event()
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[str] = loop.create_future()

    @streaming_handler
    def handler(event: Any, response: BlockingResponseStream, context: LambdaContext) -> None:
        if event == GOOD:
            response.write("good")
            return
        response.write("part")
        loop.call_soon_threadsafe(time_runs_out)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        try:
            response.write("from the dead")
        except AsgiStreamError as error:
            loop.call_soon_threadsafe(outcome.set_result, type(error).__name__)

    api = await serve(handler, api=FakeRuntimeApi(BAD, headers=DEADLINE))
    go_on.set()
    assert await outcome == "DeadlineExceeded"
    assert api.answers[0].body == b"part"
    assert api.answers[0].trailers["lambda-runtime-function-error-type"] == "Function.DeadlineExceeded"
    assert (await serve(handler, GOOD)).answers[0].body == b"good"


@pytest.mark.parametrize("late", [False, True])
async def test_a_thread_that_waits_for_a_slow_reader_is_let_go_at_the_deadline(
    late: bool, time_runs_out: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that has not come to wait when the time runs out: its write has, in the event loop's thread."""
    begin, release = asyncio.run_coroutine_threadsafe, BlockingResponseStream.release
    releasing = threading.Event()

    def begin_and_be_late(work: Any, loop: asyncio.AbstractEventLoop) -> Any:
        begun = begin(work, loop)
        releasing.wait()
        return begun

    def release_and_say_so(response: BlockingResponseStream) -> None:
        releasing.set()
        release(response)

    monkeypatch.setattr(BlockingResponseStream, "release", release_and_say_so)
    api = FakeRuntimeApi({}, headers=DEADLINE)
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[str] = loop.create_future()

    @streaming_handler
    def handler(event: Any, response: BlockingResponseStream, context: LambdaContext) -> None:
        response.write("part")
        api._capacity = 0
        if late:
            monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", begin_and_be_late)
        try:
            response.write("stuck")
        except HandlerError as error:
            loop.call_soon_threadsafe(outcome.set_result, str(error))
            raise

    serving = asyncio.ensure_future(serve(handler, api=api))
    await api.stalled.wait()
    time_runs_out()
    assert "the invocation is over" in await outcome
    api.take(100_000)
    await serving
    assert api.answers[0].trailers["lambda-runtime-function-error-type"] == "Function.DeadlineExceeded"
