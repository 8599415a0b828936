"""Called as AWS's own Python runtime calls: one dict for each event, one loop, one lifespan; and buffered answers."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream import EventError, LifespanError, StreamingAdapter, UnknownEventError
from tests.support.events import function_url_event
from tests.support.wire import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENT = function_url_event()


class App:
    """Says hello, and what it has seen of its process."""

    def __init__(self) -> None:
        self.lives: list[str] = []
        self.loops: set[int] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self.lives.append("startup")
            scope["state"]["shared"] = self.lives
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.lives.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert scope["state"]["shared"] is self.lives
        self.loops.add(id(asyncio.get_running_loop()))
        if scope["path"] == "/fails":
            raise ValueError("boom")
        if scope["path"] == "/surrogate":
            raise ValueError("\udc80")
        if scope["path"] == "/exits":
            raise SystemExit(3)
        if scope["path"] == "/half":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise ValueError("boom")
        if scope["path"] == "/large":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"x" * 7_000_000})
            return
        headers = [(b"content-type", b"text/plain"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-out", b"1")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b"hel", "more_body": True})
        await send({"type": "http.response.body", "body": "lö".encode() if scope["path"] == "/" else b"\xff"})
        if scope["path"] == "/late":
            raise ValueError("too late")


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def handler(app: App) -> Iterator[StreamingAdapter]:
    handler = StreamingAdapter(app, exclude_headers=["X-Out"])
    yield handler
    handler.close()


ANSWER = {
    "statusCode": 201,
    "headers": {"content-type": "text/plain"},
    "cookies": ["a=1", "b=2"],
    "body": "hellö",
    "isBase64Encoded": False,
}


def test_an_answer(handler: StreamingAdapter) -> None:
    assert handler(EVENT, None) == ANSWER


def test_a_body_that_is_no_text(handler: StreamingAdapter) -> None:
    answer = handler(function_url_event(path="/binary"), None)
    assert (answer["body"], answer["isBase64Encoded"]) == ("aGVs/w==", True)


def test_one_loop_and_one_lifespan(handler: StreamingAdapter, app: App) -> None:
    for _ in range(3):
        handler(EVENT, None)
    assert app.lives == ["startup"]
    assert len(app.loops) == 1
    handler.close()
    handler.close()
    assert app.lives == ["startup", "shutdown"]
    assert handler(EVENT, None) == ANSWER
    assert app.lives == ["startup", "shutdown", "startup"]


def test_what_an_app_left_behind_ends_with_the_loop() -> None:
    left: list[asyncio.Task[None]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def for_ever() -> None:
            await asyncio.Event().wait()

        left.append(asyncio.create_task(for_ever()))
        await asyncio.to_thread(int)
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    handler = StreamingAdapter(app, lifespan="off")
    assert handler(EVENT, None)["statusCode"] == 204
    assert not left[0].done()
    handler.close()
    assert left[0].cancelled()


def test_threads_take_turns(handler: StreamingAdapter) -> None:
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: handler(EVENT, None), range(20))) == [ANSWER] * 20


def test_context_variables_do_not_leak() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(variable.get())
        variable.set(1)
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    handler = StreamingAdapter(app, lifespan="off")
    handler(EVENT, None)
    handler(EVENT, None)
    handler.close()
    assert seen == [0, 0]


def test_a_startup_that_fails_and_then_works() -> None:
    attempts = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            attempts.append(1)
            if len(attempts) == 1:
                raise ConnectionError("not yet")
            assert await receive() == {"type": "lifespan.startup"}
            await send({"type": "lifespan.startup.complete"})
            assert await receive() == {"type": "lifespan.shutdown"}
            attempts.append(2)
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    handler = StreamingAdapter(app, lifespan="on")
    with pytest.raises(LifespanError):
        handler(EVENT, None)
    assert handler(EVENT, None)["statusCode"] == 204
    handler.close()
    assert attempts == [1, 1, 2]


def test_a_body_without_end_is_refused_before_the_memory_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})
        while True:
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
            sent += 100_000

    handler = StreamingAdapter(app, lifespan="off", invoke_mode="buffered")
    assert handler(EVENT, None)["statusCode"] == 500
    handler.close()
    assert sent <= 6_291_456
    assert "AnswerTooLarge" in caplog.text


def test_a_handler_that_was_never_called_closes(app: App) -> None:
    StreamingAdapter(app).close()
    assert app.lives == []


@pytest.mark.anyio
async def test_where_a_loop_runs_already(handler: StreamingAdapter, app: App) -> None:
    """As in a notebook."""
    assert handler(EVENT, None) == ANSWER
    assert handler(EVENT, None) == ANSWER
    assert id(asyncio.get_running_loop()) not in app.loops
    with pytest.raises(UnknownEventError):
        handler({}, None)


@pytest.mark.parametrize("path", ["/fails", "/half", "/exits", "/large"])
def test_an_app_that_fails(path: str, handler: StreamingAdapter, caplog: pytest.LogCaptureFixture) -> None:
    answer = handler(function_url_event(path=path), None)
    assert answer["statusCode"] == 500
    assert answer["body"] == "Internal Server Error"
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    if path == "/large":
        assert "longer than the 6291456 bytes that function_url takes in one answer" in str(record.exc_info[1])
    assert handler(EVENT, None) == ANSWER


def test_a_text_that_the_log_cannot_write(handler: StreamingAdapter, caplog: pytest.LogCaptureFixture) -> None:
    """AWS's own log handler encodes as UTF-8, and a lone surrogate is none."""

    class Strict(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logging.Formatter().format(record).encode()

    strict = Strict()
    logging.getLogger("asgi_stream").addHandler(strict)
    try:
        assert handler(function_url_event(path="/surrogate"), None)["statusCode"] == 500
    finally:
        logging.getLogger("asgi_stream").removeHandler(strict)
    assert "ValueError('\\udc80')" in caplog.text


def test_a_page_for_head_has_no_body(handler: StreamingAdapter) -> None:
    assert handler(function_url_event("HEAD", "/fails"), None)["body"] == ""


def test_a_failure_after_the_end_is_logged(handler: StreamingAdapter, caplog: pytest.LogCaptureFixture) -> None:
    assert handler(function_url_event(path="/late"), None)["statusCode"] == 201
    assert "failed after its response had ended" in caplog.text
    assert "ValueError: too late" in caplog.text


def test_the_lost_stream_is_told_once(handler: StreamingAdapter, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        handler(EVENT, None)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "AWS_LAMBDA_EXEC_WRAPPER to /var/task/asgi_stream/bootstrap" in record.getMessage()


def test_where_the_mode_is_buffered_nothing_is_lost(app: App, caplog: pytest.LogCaptureFixture) -> None:
    handler = StreamingAdapter(app, invoke_mode="buffered", exclude_headers=["x-out"])
    assert handler(EVENT, None) == ANSWER
    handler.close()
    assert not caplog.records


def test_a_startup_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    handler = StreamingAdapter(app)
    with pytest.raises(LifespanError, match="no database"):
        handler(EVENT, None)
    handler.close()


def test_an_event_that_is_no_request(handler: StreamingAdapter) -> None:
    with pytest.raises(UnknownEventError, match="no HTTP request that is understood"):
        handler({"Records": []}, None)
    with pytest.raises(EventError, match="base64"):
        handler(function_url_event(body="%", isBase64Encoded=True), None)


class TestOnEvent:
    @pytest.mark.parametrize("event", [{"Records": [1]}, [1], None, "ping"])
    def test_a_function(self, app: App, event: object) -> None:
        handler = StreamingAdapter(app, on_event=lambda event, context: {"event": event, "context": context})
        assert handler(event, "context") == {"event": event, "context": "context"}
        assert handler(EVENT, None)["statusCode"] == 201
        handler.close()

    @pytest.mark.anyio
    async def test_an_async_function_on_our_runtime(self, app: App) -> None:
        async def on_event(event: Any, context: Any) -> Any:
            await asyncio.sleep(0)
            return {"seen": event, "by": context.aws_request_id}

        api = await serve(StreamingAdapter(app, on_event=on_event), {"Records": [1]}, EVENT)
        answer, page = api.answers
        assert answer.headers["content-type"] == "application/json"
        assert "lambda-runtime-function-response-mode" not in answer.headers
        assert json.loads(answer.body) == {"seen": {"Records": [1]}, "by": "id-1"}
        assert page.prelude["statusCode"] == 201

    @pytest.mark.anyio
    @pytest.mark.parametrize("result", [object(), float, {1: {2}}, float("nan")])
    async def test_what_json_cannot_say(self, app: App, result: object) -> None:
        api = await serve(StreamingAdapter(app, on_event=lambda *_: result), {}, EVENT)
        assert [request.kind for request in api.answers] == ["error", "response"]
        assert "on_event returned what cannot be said in JSON" in json.loads(api.answers[0].body)["errorMessage"]

    @pytest.mark.anyio
    async def test_a_function_that_fails(self, app: App) -> None:
        def on_event(event: Any, context: Any) -> None:
            raise ValueError("boom")

        api = await serve(StreamingAdapter(app, on_event=on_event), {}, EVENT)
        assert json.loads(api.answers[0].body)["errorMessage"] == "boom"
        assert api.answers[1].prelude["statusCode"] == 201


@pytest.mark.anyio
class TestBufferedModeOnOurRuntime:
    async def test_an_answer(self, app: App) -> None:
        handler = StreamingAdapter(app, invoke_mode={"function_url": "buffered"}, exclude_headers=["x-out"])
        api = await serve(handler, EVENT, function_url_event(path="/fails"), EVENT)
        assert [json.loads(request.body)["statusCode"] for request in api.answers] == [201, 500, 201]
        assert json.loads(api.answers[0].body) == ANSWER
        assert api.answers[0].headers["content-type"] == "application/json"

    async def test_a_users_own_source(self, app: App) -> None:
        class Mine:
            name = "mine"
            streams = False
            limit = 1_000

            def matches(self, event: Any) -> bool:
                return "mine" in event

            def to_request(self, event: Any) -> Any:
                from asgi_stream.sources import HttpRequest

                return HttpRequest("GET", event["mine"], b"/", b"", [], b"", None, None, "https", "1.1")

            def to_answer(self, event: Any, status: int, headers: Any, body: bytes, is_text: bool) -> Any:
                return {"mine": status, "text": is_text, "of": event["mine"]}

        api = await serve(StreamingAdapter(app, event_sources=[Mine()]), {"mine": "/"}, EVENT)
        assert json.loads(api.answers[0].body) == {"mine": 201, "text": True, "of": "/"}
        assert api.answers[1].prelude["statusCode"] == 201
