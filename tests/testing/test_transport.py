"""``LambdaTransport``: what a client gets, and that it gets it as it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Literal

import httpx
import httpx2
import pytest

from asgi_stream import (
    AnswerTooLarge,
    AppError,
    ConfigurationError,
    EventError,
    LifespanError,
    StreamClosed,
    StreamingAdapter,
)
from asgi_stream.sinks import Prelude
from asgi_stream.sources import function_url
from asgi_stream.testing import (
    Exchange,
    LambdaRefused,
    LambdaTransport,
    delivery,
    exchange,
    function_url_event,
    rest_api_event,
)
from tests.testing.apps import URL, Steps, WithLifespan, answers, body, echo, start

if TYPE_CHECKING:
    from asgi_stream.testing.transport import Source

pytestmark = pytest.mark.anyio

STREAMING: list[Source] = ["function_url", "rest_api"]
BUFFERED: list[Source] = ["http_api", "alb", "lambda_edge", "vpc_lattice"]


def client(app: Any, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=LambdaTransport(app, **options), base_url=URL)


# Streaming


@pytest.mark.parametrize("source", STREAMING)
@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
async def test_each_piece_is_read_before_the_app_sends_the_next(library: Any, source: Source) -> None:
    app = Steps(b"one", b"two", b"three")
    async with (
        library.AsyncClient(transport=LambdaTransport(app, source=source), base_url=URL) as user,
        user.stream("GET", "/") as response,
    ):
        assert isinstance(response, library.Response)
        pieces = response.aiter_raw()
        for expected in (b"one", b"two", b"three"):
            assert await anext(pieces) == expected
            assert not app.ended.is_set()
            app.go.release()
        assert [piece async for piece in pieces] == []
        assert [chunk.size for chunk in exchange(response).chunks] == [3, 3, 5]


async def test_status_and_headers_are_there_before_the_app_sends_a_body() -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await start(send, 201, [(b"x-a", b"1")])
        await go.wait()
        await body(send, b"late")

    async with client(app) as user, user.stream("GET", "/") as response:
        assert (response.status_code, response.headers["x-a"]) == (201, "1")
        assert exchange(response).chunks == ()
        go.set()
        assert await response.aread() == b"late"


async def test_one_piece_may_wait_and_the_next_blocks_send() -> None:
    sent: list[int] = []
    third = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await start(send)
        for number in range(4):
            if number == 1:
                third.set()
            await body(send, b"x", more=True)
            sent.append(number)
        await body(send)

    async with client(app) as user, user.stream("GET", "/") as response:
        await third.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert sent == [0]
        pieces = response.aiter_raw()
        await anext(pieces)
        for _ in range(20):
            await asyncio.sleep(0)
        assert sent == [0, 1]
        assert len([piece async for piece in pieces]) == 3


async def test_a_piece_is_what_it_was_when_it_was_sent() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        buffer = bytearray(b"aaaa")
        await start(send)
        await send({"type": "http.response.body", "body": memoryview(buffer), "more_body": True})
        buffer[:] = b"bbbb"
        await send({"type": "http.response.body", "body": buffer})
        buffer[:] = b"cccc"

    async with client(app) as user:
        assert (await user.get("/")).content == b"aaaabbbb"


async def test_an_app_does_not_notice_that_its_client_has_left() -> None:
    left = asyncio.Event()
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await receive()
        watching = asyncio.ensure_future(receive())
        await start(send)
        await body(send, b"first", more=True)
        await left.wait()
        for _ in range(5):
            await body(send, b"more", more=True)
        seen.append("disconnect" if watching.done() else "nothing")
        await body(send, b"last")
        seen.append((await watching)["type"])

    async with client(app) as user:
        async with user.stream("GET", "/") as response:
            assert await anext(response.aiter_raw()) == b"first"
        assert not exchange(response).ended
        left.set()
        await exchange(response).finished()
        assert seen == ["nothing", "http.disconnect"]
        assert [chunk.size for chunk in exchange(response).chunks] == [5, 4, 4, 4, 4, 4, 4]
        assert exchange(response).error is None


async def test_a_client_that_leaves_unblocks_send() -> None:
    sending = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await start(send)
        await body(send, b"a", more=True)
        sending.set()
        await body(send, b"b", more=True)
        await body(send, b"c")

    async with client(app) as user:
        async with user.stream("GET", "/") as response:
            await sending.wait()
        await exchange(response).finished()
        assert len(exchange(response).chunks) == 3


async def test_a_request_that_is_cancelled_leaves_the_app_alone() -> None:
    entered, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        entered.set()
        await go.wait()
        await start(send)
        for _ in range(3):
            await body(send, b"x", more=True)
        await body(send)
        ended.set()

    async with client(app) as user:
        request = asyncio.ensure_future(user.get("/"))
        await entered.wait()
        request.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await request
        go.set()
        await ended.wait()


async def test_requests_run_at_once() -> None:
    both = asyncio.Barrier(2)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await both.wait()
        await answers(data=scope["path"].encode())(scope, receive, send)

    async with client(app) as user:
        first, second = await asyncio.gather(user.get("/1"), user.get("/2"))
    assert (first.text, second.text) == ("/1", "/2")


# Requests and responses


@pytest.mark.parametrize("source", [*STREAMING, *BUFFERED])
async def test_every_source_carries_the_request_and_the_response(source: Source) -> None:
    async with client(echo, source=source) as user:
        response = await user.post("/a%20b?x=1&y=%2B", content=b"f\xfc", headers={"x-own": "value"})
    seen = response.json()
    assert (seen["method"], seen["query"], seen["body"]) == ("POST", "x=1&y=%2B", "f\xfc")
    assert seen["path"].endswith("/a b")
    assert seen["headers"]["x-own"] == "value"
    assert seen["headers"]["host"] == "testserver"
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    if source in STREAMING:
        assert exchange(response).answer is None
        assert exchange(response).prelude is not None
    else:
        assert exchange(response).prelude is None
        assert exchange(response).answer is not None
        assert len(exchange(response).chunks) == 1


@pytest.mark.parametrize("source", [*STREAMING, *BUFFERED])
async def test_every_source_carries_cookies_and_bytes(source: Source) -> None:
    headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2; Path=/"), (b"content-type", b"image/png")]
    async with client(answers(200, headers, bytes(range(256))), source=source) as user:
        response = await user.get("/")
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2; Path=/"]
        assert response.content == bytes(range(256))
        assert dict(user.cookies) == {"a": "1", "b": "2"}


async def test_cookies_come_back() -> None:
    async with client(echo) as user:
        user.cookies.set("a", "1")
        user.cookies.set("b", "2")
        assert (await user.get("/")).json()["headers"]["cookie"] == "a=1; b=2"


async def test_a_streamed_content_length_is_remapped_as_on_aws() -> None:
    async with client(answers(headers=[(b"content-length", b"5")])) as user:
        response = await user.get("/")
    assert response.headers["x-amzn-remapped-content-length"] == "5"
    assert "content-length" not in response.headers


async def test_repeated_headers_of_a_rest_api_come_one_by_one() -> None:
    app = answers(headers=[(b"x-a", b"1"), (b"x-a", b"2"), (b"x-b", b"3")])
    async with client(app, source="rest_api") as user:
        response = await user.get("/")
    assert exchange(response).prelude == {
        "statusCode": 200,
        "headers": {"x-b": "3"},
        "multiValueHeaders": {"x-a": ["1", "2"]},
    }
    assert response.headers.get_list("x-a") == ["1", "2"]
    assert response.headers["x-b"] == "3"


REMAPPED = ["authorization", "content-md5", "date", "max-forwards", "server", "user-agent", "www-authenticate"]
AS_SENT = ["age", "content-encoding", "content-type", "pragma", "referer", "x-amzn-trace-id"]


@pytest.mark.parametrize("invoke_mode", ["stream", "buffered"])
@pytest.mark.parametrize("source", ["rest_api", functools.partial(rest_api_event, stage="v1")])
async def test_a_rest_api_renames_headers_and_drops_others(
    source: Any, invoke_mode: Literal["stream", "buffered"]
) -> None:
    headers = [(name.encode(), b"1") for name in [*REMAPPED, *AS_SENT, "expect", "host", "via"]]
    app = StreamingAdapter(
        answers(401, [*headers, (b"WWW-Authenticate", b"2"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")], b""),
        invoke_mode=invoke_mode,
    )
    async with client(app, source=source) as user:
        response = await user.get("/")
    assert response.headers.get_list("x-amzn-remapped-www-authenticate") == ["1", "2"]
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert set(response.headers) == {f"x-amzn-remapped-{name}" for name in REMAPPED} | {*AS_SENT, "set-cookie"}
    # What the app's own answer holds is the app's.
    said = exchange(response).prelude or exchange(response).answer
    assert said["multiValueHeaders"]["www-authenticate"] == ["1", "2"]
    assert said["headers"]["host"] == "1"


@pytest.mark.parametrize("source", ["function_url", "http_api", "alb", "lambda_edge", "vpc_lattice"])
async def test_other_sources_rename_nothing(source: Source) -> None:
    app = answers(401, headers=[(b"www-authenticate", b"Basic"), (b"date", b"1"), (b"server", b"2")])
    async with client(app, source=source) as user:
        response = await user.get("/")
    assert [response.headers[name] for name in ("www-authenticate", "date", "server")] == ["Basic", "1", "2"]


async def test_a_rest_api_drops_headers_of_the_request() -> None:
    dropped = {"content-md5": "1", "expect": "1", "max-forwards": "1", "server": "1", "www-authenticate": "1"}
    async with client(echo, source="rest_api") as user:
        seen = (await user.get("/", headers=dropped | {"via": "1", "authorization": "1"})).json()["headers"]
    assert dropped.keys() & seen == set()
    assert {"via", "authorization", "host"} <= seen.keys()


@pytest.mark.parametrize("status", [204, 304])
async def test_responses_without_a_body(status: int) -> None:
    async with client(answers(status, data=b"")) as user:
        response = await user.get("/")
    assert (response.status_code, response.content) == (status, b"")


async def test_head() -> None:
    async with client(answers()) as user:
        response = await user.head("/")
    assert (response.status_code, response.content) == (200, b"")


async def test_redirects_are_followed() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/old":
            await answers(307, [(b"location", b"/new")], b"")(scope, receive, send)
        else:
            await echo(scope, receive, send)

    async with client(app) as user:
        response = await user.post("/old", content=b"data", follow_redirects=True)
    assert (response.json()["path"], response.json()["body"]) == ("/new", "data")
    assert exchange(response.history[0]).event["rawPath"] == "/old"


async def test_a_streamed_request_body_arrives_whole() -> None:
    async def pieces() -> Any:
        yield b"a"
        yield b"b"

    async with client(echo) as user:
        seen = (await user.post("/", content=pieces())).json()
    assert seen["body"] == "ab"
    assert seen["headers"]["content-length"] == "2"
    assert "transfer-encoding" not in seen["headers"]


async def test_the_scheme_is_that_of_the_url() -> None:
    async with client(echo) as user:
        assert (await user.get("https://a.example/")).json()["scheme"] == "https"
        assert (await user.get("http://a.example/")).json()["scheme"] == "http"


async def test_an_adapter_keeps_its_settings() -> None:
    adapter = StreamingAdapter(echo, root_path="/v1", exclude_headers=["content-type"])
    async with client(adapter) as user:
        response = await user.get("/a")
    assert (response.json()["root_path"], response.json()["path"]) == ("/v1", "/v1/a")
    assert "content-type" not in response.headers
    assert adapter.app is echo


async def test_a_buffered_function_url() -> None:
    async with client(StreamingAdapter(answers(), invoke_mode="buffered")) as user:
        response = await user.get("/")
    assert response.text == "hello"
    assert exchange(response).answer == {"statusCode": 200, "headers": {}, "body": "aGVsbG8=", "isBase64Encoded": True}


@pytest.mark.parametrize(("settings", "expected"), [({}, ("/a", "")), ({"stage": "root_path"}, ("/v1/a", "/v1"))])
async def test_a_function_may_build_the_event(settings: Any, expected: tuple[str, str]) -> None:
    adapter = StreamingAdapter(echo, lifespan="off", **settings)
    async with client(adapter, source=functools.partial(rest_api_event, stage="v1")) as user:
        response = await user.get("/a")
    assert exchange(response).event["requestContext"]["stage"] == "v1"
    assert (response.json()["path"], response.json()["root_path"]) == expected


async def test_the_context() -> None:
    contexts: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        contexts.append(scope["aws.context"])
        await answers()(scope, receive, send)

    async with client(StreamingAdapter(app, lifespan="off"), timeout=60) as user:
        response = await user.get("/")
    (context,) = contexts
    assert context.aws_request_id == exchange(response).request_id
    assert context.function_name == "test"
    assert context.invoked_function_arn.endswith(":function:test")
    assert 0 < context.get_remaining_time_in_millis() <= 60_000


# The exchange


async def test_what_an_exchange_shows() -> None:
    app = Steps(b"one", b"four")
    async with client(app) as user, user.stream("GET", "/path") as response:
        shown = exchange(response)
        assert isinstance(shown, Exchange)
        assert shown.event["rawPath"] == "/path"
        assert shown.prelude == {"statusCode": 200, "headers": {}}
        pieces = response.aiter_raw()
        await anext(pieces)
        for name in ("error", "error_type", "reported_by"):
            with pytest.raises(RuntimeError, match="the response has not ended"):
                getattr(shown, name)
        app.go.release()
        app.go.release()
        assert [piece async for piece in pieces] == [b"four"]
        assert shown.ended
        assert (shown.error, shown.error_type, shown.reported_by) == (None, None, None)
        assert [chunk.size for chunk in shown.chunks] == [3, 4]
        assert 0 < shown.chunks[0].seconds < shown.chunks[1].seconds
        assert re.fullmatch(r"<Exchange \S+ status=200 chunks=2 ended=True>", repr(shown))


async def test_an_exchange_cannot_be_changed() -> None:
    async with client(answers()) as user:
        shown = exchange(await user.get("/"))
    with pytest.raises(AttributeError):
        shown.prelude = {}  # type: ignore[misc]
    with pytest.raises(AttributeError):
        shown.other = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("thing", [httpx.Response(200), httpx.Response(200, extensions={"lambda": 1}), None])
def test_other_responses_have_no_exchange(thing: object) -> None:
    with pytest.raises(TypeError, match="not a response that came through a LambdaTransport"):
        exchange(thing)


# Errors


async def boom(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    raise ValueError("boom")


async def boom_in_mid_stream(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await start(send)
    await body(send, b"part", more=True)
    raise ValueError("boom")


async def boom_after_the_end(scope: Any, receive: Any, send: Any) -> None:
    await answers()(scope, receive, send)
    raise ValueError("boom")


@pytest.mark.parametrize("app", [boom, boom_in_mid_stream, boom_after_the_end])
@pytest.mark.parametrize("source", [*STREAMING, *BUFFERED])
async def test_what_an_app_raises_is_raised_to_the_test(app: Any, source: Source) -> None:
    async with client(app, source=source) as user:
        with pytest.raises(ValueError, match=r"^boom$"):
            await user.get("/")


async def test_it_is_raised_at_the_end_of_what_was_sent() -> None:
    async with client(boom_in_mid_stream) as user, user.stream("GET", "/") as response:
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"part"
        with pytest.raises(ValueError, match="boom"):
            await anext(pieces)
        assert exchange(response).reported_by == "trailers"


@pytest.mark.parametrize(
    ("app", "status", "content"),
    [
        (boom, 500, b"Internal Server Error"),
        (boom_in_mid_stream, 200, b"part"),
    ],
)
async def test_or_the_client_sees_what_aws_shows_and_the_exchange_what_lambda_was_told(
    app: Any, status: int, content: bytes
) -> None:
    async with client(app, raise_app_exceptions=False) as user:
        response = await user.get("/")
    assert (response.status_code, response.content) == (status, content)
    shown = exchange(response)
    assert shown.error is not None
    assert (shown.error["errorType"], shown.error["errorMessage"]) == ("ValueError", "boom")
    assert any("raise ValueError" in frame for frame in shown.error["stackTrace"])
    assert (shown.error_type, shown.reported_by) == ("Function.ValueError", "trailers")


async def test_what_fails_after_the_end_is_only_logged(capsys: pytest.CaptureFixture[str]) -> None:
    async with client(boom_after_the_end, raise_app_exceptions=False) as user:
        response = await user.get("/")
    assert response.text == "hello"
    assert exchange(response).error is None
    log = capsys.readouterr().err
    assert "Failed after the response had ended" in log
    assert exchange(response).request_id in log


async def test_an_event_that_is_no_request() -> None:
    def a_queue(*_: object) -> dict[str, Any]:
        return {"Records": [{"eventSource": "aws:sqs"}]}

    async with client(answers(), source=a_queue) as user:
        with pytest.raises(EventError, match="no HTTP request"):
            await user.get("/")
    async with client(answers(), source=a_queue, raise_app_exceptions=False) as user:
        response = await user.get("/")
    assert (response.status_code, response.text) == (502, "Internal Server Error")
    shown = exchange(response)
    assert shown.error is not None
    assert shown.error["errorType"] == "UnknownEventError"
    assert (shown.prelude, shown.chunks, shown.reported_by) == (None, (), "error")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
async def test_no_exception_ends_the_event_loop(error: BaseException) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        if scope["path"] == "/bad":
            raise error
        await answers()(scope, receive, send)

    async with client(app, raise_app_exceptions=False) as user:
        response = await user.get("/bad")
        assert response.status_code == 500
        assert exchange(response).error_type == f"Function.{type(error).__name__}"
        assert (await user.get("/good")).text == "hello"


async def test_a_cancelled_app_does_not_look_like_a_cancelled_test() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        raise asyncio.CancelledError

    async with client(app) as user:
        with pytest.raises(RuntimeError, match="the app was cancelled"):
            await user.get("/")


async def test_an_illegal_header_is_the_apps_error() -> None:
    async with client(answers(headers=[(b"x-a", b"1\r\nx-b: 2")])) as user:
        with pytest.raises(AppError, match="illegal value"):
            await user.get("/")


# The end of a response and the end of its app


async def test_the_end_of_a_body_waits_for_the_app() -> None:
    sent, go = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answers()(scope, receive, send)
        sent.set()
        await go.wait()

    async with client(app) as user:
        request = asyncio.ensure_future(user.get("/"))
        await sent.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert not request.done()
        go.set()
        assert (await request).text == "hello"


async def test_or_is_there_at_once() -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answers()(scope, receive, send)
        await go.wait()
        raise ValueError("boom")

    async with client(app, wait_for_app=False) as user:
        response = await user.get("/")
        assert response.text == "hello"
        go.set()
        await exchange(response).finished()
        assert exchange(response).error is None


# What Lambda refuses


async def test_an_event_of_more_than_6_mb() -> None:
    async with client(echo) as user:
        with pytest.raises(LambdaRefused, match=r"6291456 bytes of JSON \(6 MB\)"):
            await user.post("/", content=bytes(5_000_000))  # base64 makes more of it
        fits = await user.post("/", content=b"a" * 5_000_000, headers={"content-type": "text/plain"})
    assert len(fits.json()["body"]) == 5_000_000


async def test_a_load_balancers_request_of_more_than_1_mb() -> None:
    async with client(echo, source="alb") as user:
        with pytest.raises(LambdaRefused, match=r"1048576 bytes \(1 MB\)"):
            await user.post("/", content=b"a" * 1_048_577)


async def test_a_response_of_more_than_200_mb() -> None:
    piece = bytes(1024 * 1024)
    errors: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await start(send)
        try:
            while True:
                await body(send, piece, more=True)
        except OSError as error:
            errors.append(error)
            raise

    async with client(app, raise_app_exceptions=False) as user, user.stream("GET", "/") as response:
        pieces = response.aiter_raw()
        for _ in range(199):
            assert len(await anext(pieces)) == len(piece)
        # The prelude counts, so that the 200th does not fit.
        with pytest.raises(LambdaRefused, match=r"209715200 bytes \(200 MB\)"):
            await anext(pieces)
        await exchange(response).finished()
    assert [type(error) for error in errors] == [StreamClosed]
    assert delivery.STREAM_LIMIT == 200 * 1024 * 1024


async def test_an_app_that_goes_on_after_the_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "STREAM_LIMIT", 1000)
    errors: list[OSError] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await start(send)
        for _ in range(3):
            try:
                await body(send, bytes(2000), more=True)
            except OSError as error:
                errors.append(error)

    async with client(app) as user, user.stream("GET", "/") as response:
        with pytest.raises(LambdaRefused, match="1000 bytes"):
            await response.aread()
        await exchange(response).finished()
    assert [type(error) for error in errors] == [StreamClosed] * 3


@pytest.mark.parametrize("source", ["http_api", "alb", "lambda_edge", "vpc_lattice"])
async def test_an_answer_beyond_its_sources_limit(source: Source) -> None:
    async with client(answers(data=bytes(6_000_000)), source=source) as user:
        with pytest.raises(AnswerTooLarge):
            await user.get("/")
    async with client(answers(data=bytes(6_000_000)), source=source, raise_app_exceptions=False) as user:
        response = await user.get("/")
    assert (response.status_code, response.text) == (500, "Internal Server Error")


async def test_an_adapter_that_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def invoke(*_: object) -> None:
        return

    monkeypatch.setattr(StreamingAdapter, "invoke", invoke)
    async with client(answers()) as user:
        with pytest.raises(RuntimeError, match="without ending its response"):
            await user.get("/")


async def test_a_prelude_of_more_than_16_kb_for_a_rest_api() -> None:
    app = answers(headers=[(b"x-long", b"a" * 16_400)])
    async with client(app) as user:
        assert (await user.get("/")).text == "hello"  # a Function URL has no such limit
    async with client(app, source="rest_api") as user:
        with pytest.raises(AppError, match="16384 at most"):
            await user.get("/")


async def test_a_prelude_that_lambda_would_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_url, "to_prelude", lambda *_: Prelude(200, {"x": "\N{SNOWMAN}"}))
    errors: list[OSError] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        for message in ({"type": "http.response.start", "status": 200}, {"type": "http.response.body", "body": b"x"}):
            try:
                await send(message)
            except OSError as error:
                errors.append(error)

    async with client(app, raise_app_exceptions=False) as user:
        with pytest.raises(LambdaRefused, match="not a string of header characters"):
            await user.get("/")
    assert [type(error) for error in errors] == [StreamClosed] * 2


@pytest.mark.parametrize("value", [b"bytes", float("nan"), {1, 2}])
async def test_what_json_cannot_say_is_in_no_event(value: object) -> None:
    async with client(echo, source=lambda *_: {"value": value}) as user:
        with pytest.raises((TypeError, ValueError), match="JSON"):
            await user.get("/")


# Lifespan


async def test_a_client_starts_the_app_once_and_shuts_it_down() -> None:
    app = WithLifespan(answers())
    async with client(app) as user:
        assert app.diary == ["startup"]
        await asyncio.gather(user.get("/"), user.get("/"))
        assert app.diary == ["startup", "request", "request"]
    assert app.diary[3:] == ["shutdown"]


async def test_without_a_context_manager_the_first_request_starts_it() -> None:
    app = WithLifespan(answers())
    user = client(app)
    assert app.diary == []
    await asyncio.gather(user.get("/"), user.get("/"))
    assert app.diary == ["startup", "request", "request"]
    await user.aclose()
    await user.aclose()
    assert app.diary[3:] == ["shutdown"]


async def test_a_transport_may_outlive_its_clients() -> None:
    app = WithLifespan(answers())
    async with LambdaTransport(app) as transport:
        for _ in range(2):
            async with httpx.AsyncClient(transport=transport, base_url=URL) as user:
                await user.get("/")
        assert app.diary == ["startup", "request", "request"]
    assert app.diary[3:] == ["shutdown"]


async def test_state_and_context_variables_of_startup_reach_requests() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[tuple[str, int]] = []

    async def request(scope: Any, receive: Any, send: Any) -> None:
        seen.append((variable.get(), scope["state"]["number"]))
        variable.set("left over")
        scope["state"]["number"] = 0
        await answers()(scope, receive, send)

    inner = WithLifespan(request)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            variable.set("startup")
        await inner(scope, receive, send)

    async with client(app) as user:
        variable.set("of the test")
        await user.get("/")
        await user.get("/")
    assert seen == [("startup", 7), ("startup", 7)]


async def test_an_app_that_cannot_start() -> None:
    app = WithLifespan(answers(), failure="no database")
    with pytest.raises(LifespanError, match="no database"):
        async with client(app):
            pass
    user = client(app)
    with pytest.raises(LifespanError, match="no database"):
        await user.get("/")
    await user.aclose()
    async with client(app, raise_app_exceptions=False) as user:
        for _ in range(2):
            response = await user.get("/")
            assert response.status_code == 502
            shown = exchange(response)
            assert shown.error is not None
            assert "no database" in shown.error["errorMessage"]
            assert shown.reported_by == "error"
    assert app.diary == ["startup"] * 3


async def test_the_end_of_the_transport_cancels_what_still_runs() -> None:
    cancelled = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        try:
            while True:
                await body(send, b"tick", more=True)
                await asyncio.sleep(0)
        finally:
            app.diary.append("cancelled")
            cancelled.set()

    app = WithLifespan(endless)
    async with client(app) as user, user.stream("GET", "/") as response:
        assert await anext(response.aiter_raw()) == b"tick"
    assert cancelled.is_set()
    assert app.diary == ["startup", "request", "cancelled", "shutdown"]


async def test_a_closed_transport_says_so() -> None:
    user = client(answers())
    await user.get("/")
    await user._transport.aclose()
    with pytest.raises(RuntimeError, match="this transport is closed"):
        await user.get("/")


def test_one_event_loop_for_each_transport() -> None:
    transport = LambdaTransport(answers())

    async def get() -> None:
        await httpx.AsyncClient(transport=transport, base_url=URL).get("/")

    asyncio.run(get())
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(get())


# Arguments; what must be installed


@pytest.mark.parametrize("source", ["functionurl", "", None, 7])
def test_an_unknown_source(source: Any) -> None:
    with pytest.raises(ConfigurationError, match="source must be one of function_url, rest_api"):
        LambdaTransport(answers(), source=source)


async def test_a_request_of_neither_library() -> None:
    class Request:
        method = "GET"
        url = httpx.URL(URL)
        headers = httpx.Headers()

        async def aread(self) -> bytes:
            return b""

    async with LambdaTransport(answers()) as transport:
        with pytest.raises(TypeError, match="must be one of httpx or httpx2"):
            await transport.handle_async_request(Request())


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def without(*names: str) -> str:
    return f"import sys; sys.modules.update(dict.fromkeys({names!r}));"


def test_without_httpx_one_line_says_what_to_do() -> None:
    process = run(without("httpx", "httpx2") + "import asgi_stream.testing")
    assert process.returncode == 1
    last = process.stderr.splitlines()[-1]
    # Python 3.15 goes on with a module of a similar name.
    assert "asgi_stream.testing needs httpx: pip install 'asgi-stream[testing]'" in last


@pytest.mark.parametrize(("there", "missing"), [("httpx", "httpx2"), ("httpx2", "httpx")])
def test_one_of_the_libraries_is_enough(there: str, missing: str) -> None:
    code = f"""
import asyncio, {there} as library
from asgi_stream.testing import LambdaTransport
async def app(scope, receive, send):
    await send({{"type": "http.response.start", "status": 200}})
    await send({{"type": "http.response.body", "body": b"hello"}})
async def main():
    async with library.AsyncClient(transport=LambdaTransport(app), base_url="https://testserver") as client:
        print((await client.get("/")).text)
asyncio.run(main())
"""
    process = run(without(missing) + code)
    assert process.stdout == "hello\n", process.stderr


def test_nothing_but_httpx_is_needed() -> None:
    own = "import httpx, json; before = set(sys.modules); import asgi_stream.testing;"
    process = run(f"import sys; {own} print(json.dumps(sorted(set(sys.modules) - before)))")
    outside = {name.partition(".")[0] for name in json.loads(process.stdout)} - set(sys.stdlib_module_names)
    assert outside == {"asgi_stream"}


@pytest.mark.parametrize("source", [*STREAMING, *BUFFERED])
@pytest.mark.parametrize("swallows", [True, False])
async def test_what_an_app_does_wrong_is_raised_from_every_source(source: Source, swallows: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await start(send)
        if swallows:
            with contextlib.suppress(AppError):
                await send({"type": "http.response.body", "body": "text"})
            await body(send, b"all is well")

    async with client(app, source=source) as user:
        with pytest.raises(AppError, match="must be bytes" if swallows else "before its response was complete"):
            await user.get("/")
    async with client(app, source=source, raise_app_exceptions=False) as user:
        response = await user.get("/")
    assert response.status_code == (200 if source in STREAMING else 500)


async def test_one_adapter_in_two_transports() -> None:
    """Each has a lifespan of its own; the adapter itself is left as it was."""
    app = WithLifespan(echo)
    handler = StreamingAdapter(app, lifespan="on")
    async with client(handler) as one, client(handler) as two:
        assert (await one.get("/")).status_code == (await two.get("/")).status_code == 200
        assert app.diary.count("startup") == 2
    assert app.diary.count("shutdown") == 2


def test_one_adapter_on_two_event_loops_and_then_under_the_managed_runtime() -> None:
    app = WithLifespan(echo)
    handler = StreamingAdapter(app, lifespan="on")

    async def request() -> int:
        async with client(handler) as user:
            return (await user.get("/")).status_code

    assert [asyncio.run(request()) for _ in range(2)] == [200, 200]
    assert handler(function_url_event(), None)["statusCode"] == 200
    handler.close()
    assert app.diary.count("startup") == app.diary.count("shutdown") == 3


async def test_an_app_that_sends_without_end_after_its_client_has_left_keeps_nobody_waiting() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await start(send)
        while True:
            await body(send, b"x", more=True)

    async with client(app) as user:
        async with user.stream("GET", "/") as response:
            assert await anext(response.aiter_raw()) == b"x"
        for _ in range(100):
            await asyncio.sleep(0)
