"""An adapter that a function calls, ``return adapter(event, context)``: it streams as ``handler = adapter`` does."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import functools
import json
import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from asgi_stream import HandlerError, StreamingAdapter, UnknownEventError, streaming_handler
from asgi_stream.asgi.lifespan import MAX_LATE_APPS
from asgi_stream.handlers.plain import PlainHandler
from asgi_stream.local.runtime_api import EnvironmentFailed
from asgi_stream.recognise import as_handler
from asgi_stream.testing import LambdaTransport
from tests.handlers.slots import Slot, serve_slots
from tests.support.events import function_url_event
from tests.support.process import process
from tests.support.wire import FakeRuntimeApi, Received, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.anyio

EVENT = function_url_event()
START: dict[str, Any] = {"type": "http.response.start", "status": 200}
span: contextvars.ContextVar[str] = contextvars.ContextVar("span", default="none")
started: contextvars.ContextVar[str] = contextvars.ContextVar("started", default="no")


class App:
    """Streams two chunks; ``log`` is what happens, in order. ``wire`` gives the chunks that have left."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.loops: set[asyncio.AbstractEventLoop] = set()
        self.wire: Callable[[], list[bytes]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self.log.append("startup")
            started.set("yes")
            scope["state"]["shared"] = self
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.log.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert scope["state"]["shared"] is self
        self.loops.add(asyncio.get_running_loop())
        self.log.append(f"app {scope['path']}, span {span.get()}, started {started.get()}")
        headers = [(b"content-type", b"text/plain"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await send({**START, "headers": headers})
        for part in (b"one", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
            if self.wire is not None:
                assert self.wire()[-1] == part, "the chunk has not left"
        if scope["path"] == "/fails":
            raise ValueError("boom")
        if scope["path"] == "/exits":
            raise SystemExit(3)
        await send({"type": "http.response.body"})
        self.log.append("sent")
        if scope["path"] == "/late":
            raise ValueError("too late")


PRELUDE = {"statusCode": 200, "headers": {"content-type": "text/plain"}, "cookies": ["a=1", "b=2"]}


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def adapter(app: App) -> Iterator[StreamingAdapter]:
    adapter = StreamingAdapter(app)
    yield adapter
    adapter.close()


def error_of(answer: Received) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(base64.b64decode(answer.trailers["lambda-runtime-function-error-body"]))
    return error


def records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Those of this package."""
    return [record for record in caplog.records if record.name == "asgi_stream"]


def as_a_coroutine_function(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The same function, as people write it in ``async def``: each call of an adapter in it is awaited."""

    async def handler(event: Any, context: Any) -> Any:
        result = function(event, context)
        return await result if asyncio.iscoroutine(result) else result

    return handler


def in_this_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def in_a_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)))
    thread.start()
    thread.join()
    return results[0]


def in_a_pool(function: Callable[..., Any], *arguments: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def in_an_empty_context(function: Callable[..., Any], *arguments: Any) -> Any:
    return contextvars.Context().run(function, *arguments)


def in_a_loop(function: Callable[..., Any], *arguments: Any) -> Any:
    async def main() -> Any:
        return await function(*arguments)

    return asyncio.run(main())


KINDS: list[Any] = [
    pytest.param(lambda function: function, id="plain"),
    pytest.param(as_a_coroutine_function, id="async"),
    pytest.param(lambda function: functools.wraps(function)(lambda *a, **k: function(*a, **k)), id="decorated"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share_writes", [False, True])
async def test_the_response_is_streamed_chunk_by_chunk(
    adapter: StreamingAdapter, app: App, kind: Any, share_writes: bool
) -> None:
    def handler(event: Any, context: Any) -> Any:
        return "warm" if event.get("source") == "warmup" else adapter(event, context)

    api = FakeRuntimeApi(EVENT, {"source": "warmup"}, EVENT)
    app.wire = lambda: api.answers[-1].chunks
    function = as_handler(kind(handler))
    assert isinstance(function, PlainHandler)
    function.share_writes = share_writes
    await serve(function, api=api)
    first, warm, last = api.answers
    for answer in (first, last):
        assert answer.headers["lambda-runtime-function-response-mode"] == "streaming"
        assert answer.prelude == PRELUDE
        assert answer.chunks[1:] == [b"one", b"two"]
        assert (answer.complete, answer.trailers) == (True, {})
    assert warm.body == b'"warm"'
    assert app.log[0] == "startup"
    assert app.log.count("startup") == 1
    assert app.log[-1] == "shutdown"
    assert app.loops == {asyncio.get_running_loop()}


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_function_encloses_the_work_of_the_app(adapter: StreamingAdapter, app: App, is_async: bool) -> None:
    """As Powertools, Sentry and tracers need it: the call returns when the response has ended, in their context."""

    def before() -> Any:
        app.log.append("before")
        return span.set("outer")

    def after(answer: Any) -> None:
        app.log.append("after")
        assert answer == PRELUDE
        assert answer["headers"]["content-type"] == "text/plain"

    def handler(event: Any, context: Any) -> Any:
        token = before()
        try:
            answer = adapter(event, context)
            after(answer)
            return answer
        finally:
            span.reset(token)

    async def async_handler(event: Any, context: Any) -> Any:
        token = before()
        try:
            answer = await adapter(event, context)
            after(answer)
            return answer
        finally:
            span.reset(token)

    api = await serve(as_handler(async_handler if is_async else handler), EVENT, function_url_event(path="/x"))
    assert app.log == [
        "before", "startup", "app /, span outer, started yes", "sent", "after",
        "before", "app /x, span outer, started yes", "sent", "after", "shutdown",
    ]  # fmt: skip
    assert [answer.content for answer in api.answers] == [b"onetwo", b"onetwo"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/fails", "/exits"])
@pytest.mark.parametrize("swallows", [False, True])
async def test_an_app_that_fails_in_mid_stream(adapter: StreamingAdapter, kind: Any, path: str, swallows: bool) -> None:
    """The function's own ``try`` sees the error. Whatever it makes of it, the response has failed."""
    seen: list[BaseException] = []

    def handler(event: Any, context: Any) -> Any:
        try:
            return adapter(event, context)
        except BaseException as error:
            seen.append(error)
            if not swallows:
                raise
            return {"statusCode": 500}

    async def async_handler(event: Any, context: Any) -> Any:
        try:
            return await adapter(event, context)
        except BaseException as error:
            seen.append(error)
            if not swallows:
                raise
            return {"statusCode": 500}

    function = async_handler if kind is as_a_coroutine_function else kind(handler)
    api = await serve(as_handler(function), function_url_event(path=path), EVENT)
    error_type = "ValueError" if path == "/fails" else "SystemExit"
    assert [type(error).__name__ for error in seen] == [error_type]
    failed, good = api.answers
    assert failed.content == b"onetwo"
    assert error_of(failed)["errorType"] == error_type
    assert "in __call__" in error_of(failed)["stackTrace"][-1]
    assert (good.content, good.trailers) == (b"onetwo", {})


async def test_an_app_that_fails_after_the_end_is_only_logged(
    adapter: StreamingAdapter, capsys: pytest.CaptureFixture[str]
) -> None:
    api = await serve(as_handler(lambda event, context: adapter(event, context)), function_url_event(path="/late"))
    assert (api.answers[0].content, api.answers[0].trailers) == (b"onetwo", {})
    assert "Failed after the response had ended" in capsys.readouterr().err


async def test_a_function_that_fails_after_its_call(adapter: StreamingAdapter, capsys: Any) -> None:
    def handler(event: Any, context: Any) -> Any:
        adapter(event, context)
        raise ValueError("late")

    api = await serve(as_handler(handler), EVENT, EVENT)
    assert [answer.content for answer in api.answers] == [b"onetwo", b"onetwo"]
    assert "ValueError: late" in capsys.readouterr().err


def change(answer: Any) -> Any:
    answer["headers"]["x-more"] = "1"
    return answer


class Unequal:
    def __eq__(self, other: object) -> bool:
        raise KeyboardInterrupt

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("make", "warns"),
    [
        (lambda answer: answer, False),
        (dict, False),
        (lambda answer: json.loads(json.dumps(answer)), False),
        (change, True),
        (lambda answer: None, True),
        (lambda answer: {"statusCode": 404}, True),
        (lambda answer: Unequal(), True),
    ],
)
async def test_what_is_returned_after_streaming_changes_nothing_and_is_warned_of_once(
    adapter: StreamingAdapter, caplog: pytest.LogCaptureFixture, kind: Any, make: Any, warns: bool
) -> None:
    def handler(event: Any, context: Any) -> Any:
        return make(adapter(event, context))

    async def async_handler(event: Any, context: Any) -> Any:
        return make(await adapter(event, context))

    function = async_handler if kind is as_a_coroutine_function else kind(handler)
    api = await serve(as_handler(function), EVENT, EVENT)
    assert [(answer.prelude, answer.content) for answer in api.answers] == [(PRELUDE, b"onetwo")] * 2
    warnings = [record.getMessage() for record in records(caplog) if record.levelno >= logging.WARNING]
    assert len(warnings) == warns
    assert all("invoke_mode='buffered'" in warning for warning in warnings)


@pytest.mark.parametrize("is_async", [False, True])
async def test_in_buffered_mode_the_function_has_the_whole_answer(
    app: App, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    adapter = StreamingAdapter(app, invoke_mode="buffered")

    def handler(event: Any, context: Any) -> Any:
        return change(adapter(event, context))

    async def async_handler(event: Any, context: Any) -> Any:
        return change(await adapter(event, context))

    api = await serve(as_handler(async_handler if is_async else handler), EVENT, function_url_event(path="/fails"))
    good, failed = (json.loads(answer.body) for answer in api.answers)
    assert good == {
        "statusCode": 200,
        "headers": {"content-type": "text/plain", "x-more": "1"},
        "cookies": ["a=1", "b=2"],
        "body": "onetwo",
        "isBase64Encoded": False,
    }
    assert (failed["statusCode"], failed["headers"]["x-more"]) == (500, "1")
    assert app.log.count("startup") == 1
    assert not [record for record in records(caplog) if record.levelno == logging.WARNING]


async def test_an_event_that_is_not_a_request_is_the_functions_own_to_answer(adapter: StreamingAdapter) -> None:
    def handler(event: Any, context: Any) -> Any:
        try:
            return adapter(event, context)
        except UnknownEventError:
            if event == {"unknown": 1}:
                raise
            return {"records": len(event["Records"])}

    api = await serve(as_handler(handler), {"Records": [1, 2]}, {"unknown": 1}, EVENT)
    own, error, page = api.answers
    assert json.loads(own.body) == {"records": 2}
    assert (error.kind, json.loads(error.body)["errorType"]) == ("error", "UnknownEventError")
    assert page.content == b"onetwo"


async def test_a_request_that_cannot_be_read_leaves_the_response_to_the_function(adapter: StreamingAdapter) -> None:
    broken = function_url_event(body="%", isBase64Encoded=True)

    def handler(event: Any, context: Any) -> Any:
        try:
            return adapter(event, context)
        except ValueError:
            return adapter(EVENT, context)

    api = await serve(as_handler(handler), broken)
    assert (api.answers[0].prelude, api.answers[0].content) == (PRELUDE, b"onetwo")


async def test_the_answer_of_on_event_is_a_value_like_any_other(app: App) -> None:
    adapter = StreamingAdapter(app, on_event=lambda event, context: {"seen": event})

    def handler(event: Any, context: Any) -> Any:
        return {**adapter(event, context), "more": 1}

    api = await serve(as_handler(handler), {"Records": []})
    assert json.loads(api.answers[0].body) == {"seen": {"Records": []}, "more": 1}


async def test_two_adapters_in_one_function() -> None:
    apps = App(), App()
    adapters = [StreamingAdapter(app) for app in apps]

    def handler(event: Any, context: Any) -> Any:
        return adapters[event["rawPath"].startswith("/admin")](event, context)

    api = await serve(as_handler(handler), *(function_url_event(path=path) for path in ("/", "/admin", "/", "/admin")))
    assert [answer.content for answer in api.answers] == [b"onetwo"] * 4
    for app, path in zip(apps, ("/", "/admin"), strict=True):
        assert app.log.count("startup") == app.log.count("shutdown") == 1
        assert app.log.count(f"app {path}, span none, started yes") == 2


@pytest.mark.parametrize("kind", ["plain", "async", "at once"])
async def test_two_calls_in_one_invocation(
    adapter: StreamingAdapter, app: App, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """There is one response: the first call streams it, the second returns its whole answer."""
    second = function_url_event(path="/second")
    answers: list[Any] = []

    def handler(event: Any, context: Any) -> Any:
        answers.extend([adapter(event, context), adapter(second, context)])
        return answers[0]

    async def async_handler(event: Any, context: Any) -> Any:
        if kind == "at once":
            answers.extend(await asyncio.gather(adapter(event, context), adapter(second, context)))
        else:
            answers.extend([await adapter(event, context), await adapter(second, context)])
        return answers[0]

    api = await serve(as_handler(handler if kind == "plain" else async_handler), EVENT)
    assert (api.answers[0].prelude, api.answers[0].content) == (PRELUDE, b"onetwo")
    assert answers == [PRELUDE, {**PRELUDE, "body": "onetwo", "isBase64Encoded": False}]
    assert app.log.count("startup") == 1
    assert not records(caplog)


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_task_of_the_functions_own_is_waited_for(adapter: StreamingAdapter, has_begun: bool) -> None:
    tasks = []

    async def handler(event: Any, context: Any) -> Any:
        tasks.append(asyncio.create_task(adapter(event, context)))
        if has_begun:
            await asyncio.sleep(0)
        return PRELUDE

    api = await serve(as_handler(handler), EVENT)
    assert (api.answers[0].content, api.answers[0].trailers) == (b"onetwo", {})
    assert tasks[0].result() == PRELUDE


@pytest.mark.parametrize("call", [in_a_thread, in_a_pool, in_an_empty_context])
async def test_a_thread_of_the_functions_own_calls_too(
    adapter: StreamingAdapter, app: App, caplog: pytest.LogCaptureFixture, call: Callable[..., Any]
) -> None:
    """As functions with a time limit do: such a thread has no context variables of the invocation."""

    def spanned(event: Any, context: Any) -> Any:
        span.set("of the thread")
        return adapter(event, context)

    def handler(event: Any, context: Any) -> Any:
        result = call(spanned, event, context)
        assert result["statusCode"] == 200
        return result

    api = await serve(as_handler(handler), EVENT, EVENT)
    assert [(answer.prelude, answer.content) for answer in api.answers] == [(PRELUDE, b"onetwo")] * 2
    assert app.loops == {asyncio.get_running_loop()}
    assert app.log.count("startup") == 1
    assert app.log[1] == "app /, span of the thread, started yes"
    assert records(caplog) == []


async def test_an_executor_of_a_coroutine_function_calls_too(adapter: StreamingAdapter, app: App) -> None:
    """The app sees the invocation's context variables, by which its log lines get their request id."""
    seen: list[str] = []
    log_id: contextvars.ContextVar[str] = contextvars.ContextVar("log_id")
    log_id.set("of the invocation")

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(log_id.get("none"))
        await app(scope, receive, send)

    inner = StreamingAdapter(reads)

    async def handler(event: Any, context: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, inner, event, context)

    api = await serve(as_handler(handler), EVENT)
    assert api.answers[0].content == b"onetwo"
    assert seen == ["of the invocation"]


@pytest.mark.parametrize("awaits", [False, True])
async def test_a_coroutine_of_another_event_loop_calls_too(
    app: App, awaits: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a coroutine a call returns an awaitable, also in the loop of an ``asyncio.run`` of the function's own."""
    results: list[Any] = []
    went_on = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        if awaits and scope["type"] == "http":
            await went_on.wait()  # for ever where the call blocks the loop that it is made in
        await app(scope, receive, send)

    async def go_on() -> None:
        loop.call_soon_threadsafe(went_on.set)

    adapter = StreamingAdapter(waiting)

    async def main(event: Any, context: Any) -> Any:
        span.set("of main")
        beside = asyncio.create_task(go_on())
        if not awaits:
            return adapter(event, context)
        results.append(await adapter(event, context))
        results.append(beside.done())
        return results[0]

    api = await serve(as_handler(lambda event, context: asyncio.run(main(event, context))), EVENT)
    assert (api.answers[0].prelude, api.answers[0].content) == (PRELUDE, b"onetwo")
    assert results == ([PRELUDE, True] if awaits else [])
    assert app.loops == {asyncio.get_running_loop()}
    assert ("span of main" in app.log[1]) is awaits
    assert "[ERROR]" not in capsys.readouterr().err


async def test_a_coroutine_of_another_event_loop_may_cancel_its_call() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        loops[0].call_soon_threadsafe(begun.set)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    adapter = StreamingAdapter(app, lifespan="off")

    async def main(event: Any, context: Any) -> Any:
        loops.append(asyncio.get_running_loop())
        call = asyncio.create_task(adapter(event, context))
        await begun.wait()
        call.cancel()
        await asyncio.wait([call])
        return "mine"

    api = await serve(as_handler(lambda event, context: asyncio.run(main(event, context))), EVENT)
    assert ended.is_set()
    assert api.answers[0].content == b"part"
    assert error_of(api.answers[0])["errorType"] == "HandlerError"


async def test_a_call_that_is_never_awaited_is_an_error(adapter: StreamingAdapter, app: App) -> None:
    async def handler(event: Any, context: Any) -> Any:
        adapter(event, context)
        return {"statusCode": 200}

    api = await serve(as_handler(handler), EVENT)
    error = json.loads(api.answers[0].body)
    assert (api.answers[0].kind, error["errorType"]) == ("error", "HandlerError")
    assert "await adapter(event, context)" in error["errorMessage"]
    assert app.log == []


async def test_a_call_that_the_function_cancels_lets_no_clean_end_follow() -> None:
    runs = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        runs.set()
        await asyncio.Event().wait()

    adapter = StreamingAdapter(app, lifespan="off")

    async def handler(event: Any, context: Any) -> Any:
        call = asyncio.create_task(adapter(event, context))
        await runs.wait()
        call.cancel()
        try:
            return await call
        except asyncio.CancelledError:
            return {"statusCode": 504}

    api = await serve(as_handler(handler), EVENT)
    assert error_of(api.answers[0])["errorType"] == "HandlerError"
    assert "cancelled the call" in error_of(api.answers[0])["errorMessage"]


@pytest.mark.parametrize("call", [in_this_thread, in_a_pool, in_a_loop])
async def test_the_deadline_ends_the_response_and_wakes_the_thread(
    time_runs_out: Callable[[], None], capsys: pytest.CaptureFixture[str], call: Callable[..., Any]
) -> None:
    log: list[str] = []

    async def where_the_time_goes() -> None:
        asyncio.get_running_loop().call_soon(time_runs_out)
        await asyncio.Event().wait()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        if scope["path"] == "/slow":
            try:
                await where_the_time_goes()
            finally:
                log.append("app")
        await send({"type": "http.response.body"})

    adapter = StreamingAdapter(app, lifespan="off")

    def handler(event: Any, context: Any) -> Any:
        try:
            return call(adapter, event, context)
        finally:
            log.append("function")

    due = str(int((time.time() + 3600) * 1000))
    api = await serve(as_handler(handler), function_url_event(path="/slow"), EVENT, Lambda_Runtime_Deadline_Ms=due)
    assert log == ["app", "function", "function"]
    assert error_of(api.answers[0])["errorType"] == "DeadlineExceeded"
    assert any("in where_the_time_goes" in line for line in error_of(api.answers[0])["stackTrace"])
    assert (api.answers[1].content, api.answers[1].trailers) == (b"part", {})
    assert "The invocation is cancelled; it was waiting here" in capsys.readouterr().err


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_event_stream_that_is_silent_at_the_deadline(
    is_async: bool, method: str, time_runs_out: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """As for ``handler = adapter``: closed for a GET, whose client opens it again; an error for a POST."""
    log: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        asyncio.get_running_loop().call_soon(time_runs_out)
        try:
            await asyncio.Event().wait()
        finally:
            log.append("app")

    adapter = StreamingAdapter(app, lifespan="off")

    def handler(event: Any, context: Any) -> Any:
        try:
            return adapter(event, context)
        finally:
            log.append("function")

    async def async_handler(event: Any, context: Any) -> Any:
        try:
            return await adapter(event, context)
        finally:
            log.append("function")

    due = str(int((time.time() + 3600) * 1000))
    event = function_url_event(method)
    api = await serve(as_handler(async_handler if is_async else handler), event, Lambda_Runtime_Deadline_Ms=due)
    assert log == ["app", "function"]
    assert api.answers[0].content == b"data: 1\n\n"
    logged = capsys.readouterr().err
    if method == "GET":
        assert api.answers[0].trailers == {}
        assert "[ERROR]" not in logged
    else:
        assert error_of(api.answers[0])["errorType"] == "DeadlineExceeded"


async def test_a_thread_that_outlives_its_invocation_cannot_call(
    adapter: StreamingAdapter, app: App, time_runs_out: Callable[[], None]
) -> None:
    over, called = threading.Event(), threading.Event()
    errors: list[BaseException] = []
    loop = asyncio.get_running_loop()

    def handler(event: Any, context: Any) -> Any:
        if event == EVENT:
            loop.call_soon_threadsafe(time_runs_out)
            over.wait()
            try:
                adapter(event, context)
            except HandlerError as error:
                errors.append(error)
            called.set()
        else:
            over.set()
            called.wait()
        return "done"

    due = str(int((time.time() + 3600) * 1000))
    api = await serve(as_handler(handler), EVENT, {}, Lambda_Runtime_Deadline_Ms=due)
    assert [answer.kind for answer in api.answers] == ["error", "response"]
    assert "the invocation is over" in str(errors[0])
    assert app.log == []


async def test_a_task_that_outlives_its_invocation_cannot_call(adapter: StreamingAdapter) -> None:
    tasks: list[asyncio.Task[Any]] = []
    over = asyncio.Event()

    async def later(event: Any, context: Any) -> Any:
        await over.wait()
        return await adapter(event, context)

    async def handler(event: Any, context: Any) -> Any:
        tasks.append(asyncio.create_task(later(event, context)))
        return "early"

    await serve(as_handler(handler), EVENT)
    over.set()
    with pytest.raises(HandlerError, match="the invocation is over"):
        await tasks[0]


@pytest.mark.parametrize("kind", ["plain", "async", "pool"])
async def test_managed_instances(kind: str) -> None:
    """Many invocations of the function at once, on one event loop, with one lifespan."""
    many = 20
    barrier = asyncio.Barrier(many)
    startups, loops = [], set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await asyncio.sleep(0)
            startups.append(1)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        loops.add(asyncio.get_running_loop())
        await send(START)
        await send({"type": "http.response.body", "body": scope["path"].encode(), "more_body": True})
        await barrier.wait()
        await send({"type": "http.response.body"})

    adapter = StreamingAdapter(app)

    def handler(event: Any, context: Any) -> Any:
        return adapter(event, context)

    async def async_handler(event: Any, context: Any) -> Any:
        return await adapter(event, context)

    def handler_in_a_pool(event: Any, context: Any) -> Any:
        return in_a_pool(adapter, event, context)

    slots = [Slot(*(function_url_event(path=f"/{number}/{turn}") for turn in range(2))) for number in range(many)]
    await serve_slots(as_handler({"plain": handler, "async": async_handler, "pool": handler_in_a_pool}[kind]), *slots)
    for number, slot in enumerate(slots):
        assert [answer.content for answer in slot.answers] == [f"/{number}/{turn}".encode() for turn in range(2)]
        assert not any(answer.trailers for answer in slot.answers)
    assert (len(startups), loops) == (1, {asyncio.get_running_loop()})


async def test_a_startup_that_fails_at_the_first_call_is_tried_again() -> None:
    attempts = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            attempts.append(1)
            failed = len(attempts) == 1
            await send({"type": "lifespan.startup.failed" if failed else "lifespan.startup.complete", "message": "no"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send(START)
        await send({"type": "http.response.body", "body": b"good"})

    adapter = StreamingAdapter(app)
    api = await serve(as_handler(lambda event, context: adapter(event, context)), EVENT, EVENT, EVENT)
    error, *good = api.answers
    assert (error.kind, json.loads(error.body)["errorType"]) == ("error", "LifespanError")
    assert [answer.content for answer in good] == [b"good", b"good"]
    assert len(attempts) == 2


async def test_the_variables_of_startup_give_way_to_those_of_the_function(app: App, adapter: StreamingAdapter) -> None:
    def handler(event: Any, context: Any) -> Any:
        if event["rawPath"] == "/own":
            started.set("by the function")
        return adapter(event, context)

    await serve(as_handler(handler), EVENT, function_url_event(path="/own"), EVENT)
    seen = [entry.rpartition("started ")[2] for entry in app.log if entry.startswith("app")]
    assert seen == ["yes", "by the function", "yes"]


async def test_startup_runs_before_the_first_event_and_hooks_see_its_variables(
    app: App, adapter: StreamingAdapter
) -> None:
    """SnapStart runs its hooks in these variables."""
    function = PlainHandler(lambda event, context: adapter(event, context))
    wanted = [function.wants_shutdown]
    function.adopt([adapter, StreamingAdapter(app)])
    variables = await function.startup()
    assert app.log == ["startup"]
    assert variables[started] == "yes"
    wanted.append(function.wants_shutdown)
    await function.shutdown()
    wanted.append(function.wants_shutdown)
    assert app.log == ["startup", "shutdown"]
    assert wanted == [False, True, False]


def test_settings_of_the_adapters_count_for_the_function(app: App) -> None:
    function = PlainHandler(lambda event, context: None)
    assert (function.deadline_margin, function.workers, function.share_writes) == (None, 1, False)
    function.adopt([StreamingAdapter(app, deadline_margin=2), StreamingAdapter(app, deadline_margin=3, workers=4)])
    assert (function.deadline_margin, function.workers, function.share_writes) == (3.0, 4, False)
    function.adopt([StreamingAdapter(app, share_writes=True)])
    assert (function.deadline_margin, function.workers, function.share_writes) == (3.0, 4, True)


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.mark.parametrize("own_runtime", [True, False])
def test_an_adapter_for_each_call(own_runtime: bool, app: App, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    """The lifespan is the app's: one startup, one shutdown, nothing leaks and nothing is logged twice."""
    counts: list[int] = []

    def handler(event: Any, context: Any) -> Any:
        counts.append(descriptors())
        return StreamingAdapter(app)(event, context)

    if own_runtime:
        # On the event loop: a thread for functions keeps an event loop, and how many threads there are is chance.
        api = asyncio.run(serve(as_handler(as_a_coroutine_function(handler)), *[EVENT] * 301))
        assert [answer.content for answer in api.answers] == [b"onetwo"] * 301
    else:
        assert [handler(EVENT, None)["body"] for _ in range(301)] == ["onetwo"] * 301
        StreamingAdapter(app).close()
    assert (app.log.count("startup"), app.log.count("shutdown")) == (1, 1)
    assert len(app.loops) == 1
    assert len(set(counts[1:])) == 1
    assert len(records(caplog)) == (0 if own_runtime else 1)  # that nothing is streamed
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("own_runtime", [True, False])
def test_an_app_for_each_call(own_runtime: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The oldest are shut down, so that no more of them than a few are kept; and a warning names the remedy."""
    apps: list[App] = []

    def handler(event: Any, context: Any) -> Any:
        apps.append(App())
        return StreamingAdapter(apps[-1], invoke_mode="buffered")(event, context)

    def ended() -> int:
        return sum(app.log[-1] == "shutdown" for app in apps)

    calls = MAX_LATE_APPS + 5
    if own_runtime:
        kept: list[int] = []

        def counted(event: Any, context: Any) -> Any:
            answer = handler(event, context)
            kept.append(len(apps) - ended())
            return answer

        asyncio.run(serve(as_handler(counted), *[EVENT] * calls))
        assert max(kept) <= MAX_LATE_APPS + 1
        assert ended() == calls
    else:
        for _ in range(calls):
            assert handler(EVENT, None)["body"] == "onetwo"
        assert ended() == calls - MAX_LATE_APPS
        for app in apps:
            StreamingAdapter(app).close()
        assert ended() == calls
    assert {app.log.count("startup") for app in apps} == {app.log.count("shutdown") for app in apps} == {1}
    assert any("when the module is imported" in record.getMessage() for record in records(caplog))


def test_an_app_that_calls_itself_outside_of_our_runtime() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (
            b"inner" if scope["path"] == "/inner" else adapter(function_url_event(path="/inner"), None)["body"].encode()
        )
        await send(START)
        await send({"type": "http.response.body", "body": body})

    adapter = StreamingAdapter(app, lifespan="off", invoke_mode="buffered")
    assert adapter(EVENT, None)["body"] == adapter(EVENT, None)["body"]
    adapter.close()


async def test_a_streaming_handler_that_calls_an_adapter_gets_the_whole_answer(
    adapter: StreamingAdapter, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    @streaming_handler
    async def handler(event: Any, response: Any, context: Any) -> None:
        answer = await adapter(event, context)
        await response.write(answer["body"].upper())

    api = await serve(handler, EVENT, EVENT)
    assert [answer.body for answer in api.answers] == [b"ONETWO", b"ONETWO"]
    assert app.log.count("startup") == app.log.count("shutdown") == 1
    assert not records(caplog)


async def test_through_the_transport_of_a_test(adapter: StreamingAdapter) -> None:
    """The first chunk is read before the app sends the second."""
    read = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await read.wait()
        await send({"type": "http.response.body", "body": b"two"})

    adapter = StreamingAdapter(app, lifespan="off")

    def handler(event: Any, context: Any) -> Any:
        return adapter(event, context)

    transport = LambdaTransport(handler)
    async with (
        httpx.AsyncClient(transport=transport, base_url="https://testserver") as client,
        client.stream("GET", "/") as response,
    ):
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"one"
        read.set()
        assert [piece async for piece in pieces] == [b"two"]


class InASlot:
    """As Sentry's middleware: what it takes shows on the object alone."""

    __slots__ = ("__call__",)

    def __init__(self, app: Any) -> None:
        async def call(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)

        self.__call__ = call


async def test_an_object_whose_signature_the_type_does_not_show_is_an_app(app: App) -> None:
    handler = as_handler(InASlot(app))
    assert isinstance(handler, StreamingAdapter)
    api = await serve(handler, EVENT)
    assert api.answers[0].content == b"onetwo"


class Unreadable:
    __signature__ = "none"

    def __call__(self, *arguments: Any) -> None: ...


@pytest.mark.parametrize(
    ("value", "kind"), [(Unreadable(), StreamingAdapter), (max, PlainHandler), (iter, PlainHandler)]
)
def test_what_shows_no_signature(value: Any, kind: type) -> None:
    assert isinstance(as_handler(value), kind)


class TestRealProcess:
    async def test_apps_of_the_module_start_at_init_and_end_with_the_environment(self) -> None:
        async with process("tests.apps.calls_app.handler") as running:
            (line,) = await running.lines(1)
            assert line.endswith("startup")
            for path in ("/", "/", "/admin"):
                collected = await running.invoke(path)
                assert collected.body.partition(bytes(8))[2] == path.encode()
            assert (await running.invoke("/fails")).error is not None
            running.child.terminate()
            code, output = await running.end()
        assert code == 0
        assert output.count("startup") == 0
        assert output.rstrip().endswith("shutdown")

    async def test_a_startup_that_fails_is_an_init_error(self) -> None:
        async with process("tests.apps.calls_app.handler", {"FAILS": "yes"}) as running:
            with pytest.raises(EnvironmentFailed) as failed:
                await running.api.idle()
            assert failed.value.error.error_type == "Function.LifespanError"
            code, output = await running.end()
        assert code == 1
        assert "LifespanError: the app's startup failed: no database" in output


SCRIPT = """
from asgi_stream import StreamingAdapter
from tests.support.events import function_url_event

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})

print(StreamingAdapter(app, invoke_mode="buffered")(function_url_event(), None)["body"])
"""


def test_a_script_that_closes_nothing_ends_silently() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("hello\nshutdown\n", "")


async def test_a_transport_whose_stream_is_left_early_is_silent(capfd: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while True:
            await send({"type": "http.response.body", "body": b"tick", "more_body": True})
            await asyncio.sleep(0.001)

    async with (
        httpx.AsyncClient(
            transport=LambdaTransport(StreamingAdapter(app, lifespan="off")), base_url="http://t"
        ) as client,
        client.stream("GET", "/") as response,
    ):
        assert await anext(response.aiter_raw()) == b"tick"
    assert capfd.readouterr() == ("", "")
    assert not records(caplog)
