"""Whole invocations in memory: event in, app, bytes on the wire. The matrix of endings, exactly one each."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import contextvars
import json
import os
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import pytest

from asgi_stream import AppError, StreamClosed, StreamingAdapter
from asgi_stream.runtime.requests import Invocation, stream_response
from asgi_stream.testing import rest_api_event
from tests.local.support import make_gate, opened
from tests.support.events import function_url_event
from tests.support.wire import FakeRuntimeApi, Received, serve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio

EVENT = function_url_event()
PAGE = b"Internal Server Error"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


def part(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def last(body: bytes = b"") -> dict[str, Any]:
    return {"type": "http.response.body", "body": body}


def http_only(app: Callable[[Any, Any, Any], Awaitable[None]]) -> StreamingAdapter:
    return StreamingAdapter(app, lifespan="off")


def error_of(request: Received) -> dict[str, Any]:
    """The error that a request of the runtime reports, by ``/error`` or by trailers."""
    if request.kind == "error":
        assert request.headers["lambda-runtime-function-error-type"]
        error = json.loads(request.body)
    else:
        assert set(request.trailers) == {"lambda-runtime-function-error-type", "lambda-runtime-function-error-body"}
        error = json.loads(base64.b64decode(request.trailers["lambda-runtime-function-error-body"], validate=True))
    assert set(error) == {"errorType", "errorMessage", "stackTrace"}
    return dict(error)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(last(b"hello"))


async def test_the_bytes_of_a_response() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(part(b"one"))
        await send(part(b""))
        await send(part(b"two"))
        await send(last(b"three"))

    api = await serve(http_only(app), EVENT)
    prelude = b'{"statusCode":200,"headers":{"content-type":"text/plain"}}' + bytes(8)
    head = stream_response(Invocation("id-1", b"")).encode("host:1")
    (response,) = api.answers
    assert response.raw == (
        head + b"%x\r\n%b\r\n" % (len(prelude), prelude) + b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"
    )
    assert response.chunks == [prelude, b"one", b"two", b"three"]


async def test_each_message_is_on_the_wire_before_send_returns() -> None:
    api = FakeRuntimeApi(EVENT)
    seen: list[list[bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in (START, part(b"one"), part(b"two"), last(b"three")):
            await send(message)
            seen.append(list(api.answers[-1].chunks[1:]))

    await serve(http_only(app), api=api)
    assert seen == [[], [b"one"], [b"one", b"two"], [b"one", b"two", b"three"]]


async def test_scope() -> None:
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        assert await receive() == {"type": "http.request", "body": b"in", "more_body": False}
        await hello(scope, receive, send)

    event = function_url_event("POST", "/a%20b", "q=1", body="in")
    await serve(http_only(app), event, Lambda_Runtime_Deadline_Ms="1")
    (scope,) = scopes
    context = scope.pop("aws.context")
    headers = scope.pop("headers")
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"q=1",
        "root_path": "",
        "client": ("192.0.2.7", 0),
        "server": ("abcdefgh.lambda-url.eu-central-1.on.aws", 443),
        "state": {},
        "extensions": {},
        "aws.event": event,
    }
    assert (b"user-agent", b"test") in headers
    assert context.aws_request_id == "id-1"
    assert context.get_remaining_time_in_millis() == 0


async def test_lifespan_state_is_copied_into_every_scope() -> None:
    shared: list[int] = []
    began = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal began
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            began += 1
            scope["state"]["shared"] = shared
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert "mine" not in scope["state"]
        scope["state"]["mine"] = True
        scope["state"]["shared"].append(1)
        await hello(scope, receive, send)

    api = await serve(StreamingAdapter(app, lifespan="on"), EVENT, EVENT)
    assert [request.content for request in api.answers] == [b"hello", b"hello"]
    assert (shared, began) == ([1, 1], 1)


async def test_context_variables_of_startup_are_seen_and_those_of_an_invocation_do_not_leak() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            variable.set("startup")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen.append(variable.get())
        variable.set("an invocation")
        await hello(scope, receive, send)

    await serve(StreamingAdapter(app), EVENT, EVENT)
    assert seen == ["startup", "startup"]


async def test_receive_waits_for_the_end_of_the_response() -> None:
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        listening = asyncio.create_task(receive())
        listening.add_done_callback(lambda task: order.append(task.result()["type"]))
        await send(START)
        await send(part(b"x"))
        await asyncio.sleep(0)
        assert not listening.done()
        order.append("end")
        await send(last())
        await listening

    await serve(http_only(app), EVENT)
    assert order == ["end", "http.disconnect"]


async def test_a_task_left_in_receive_is_woken_when_the_app_is_gone() -> None:
    tasks = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        tasks.append(asyncio.create_task(receive()))
        raise ValueError("boom")

    await serve(http_only(app), EVENT)
    assert await tasks[0] == {"type": "http.disconnect"}


async def test_the_next_invocation_waits_for_background_work_and_the_client_does_not() -> None:
    api = FakeRuntimeApi(EVENT, EVENT)
    asked = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(last(b"done"))
        assert api.answers[-1].complete
        for _ in range(10):
            await asyncio.sleep(0)
        asked.append(len(api.received) - len(api.answers))

    await serve(http_only(app), api=api)
    assert asked == [1, 2]


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 307), ("DELETE", 200)]
)
async def test_responses_without_a_body_end(method: str, status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"location", b"/x")]})
        await send(last())

    api = await serve(http_only(app), function_url_event(method), EVENT)
    response = api.answers[0]
    assert response.complete
    assert len(response.chunks) == 1
    assert response.prelude["statusCode"] == status
    assert (response.content, response.trailers) == (b"", {})


async def test_head_sends_the_headers_of_the_page_and_not_the_page() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-length", b"4")]})
        await send(part(b"pa"))
        await send(last(b"ge"))

    api = await serve(http_only(app), function_url_event("HEAD"))
    assert api.answers[0].prelude["headers"] == {"content-length": "4"}
    assert (api.answers[0].content, api.answers[0].trailers) == (b"", {})


async def test_a_last_message_that_is_cancelled_still_ends_the_response() -> None:
    """An app may put a time limit on ``send``; Lambda would wait for an end that never comes."""
    api = FakeRuntimeApi(EVENT, EVENT)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        if len(api.answers) > 1:
            api._capacity = None
            await send(last(b"next"))
            return
        api._capacity = 10
        blocked = [asyncio.create_task(send(message)) for message in (part(b"x" * 1_000), last(b"y" * 1_000))]
        await api.stalled.wait()
        for task in blocked:
            task.cancel()
        await asyncio.wait(blocked)
        assert all(task.cancelled() for task in blocked)
        api.take(1_000_000)

    await serve(http_only(app), api=api)
    assert api.answers[0].complete
    assert api.answers[0].chunks[1:] == [b"x" * 1_000, b"y" * 1_000]
    assert api.answers[1].content == b"next"


@pytest.mark.parametrize("swallows", [True, False])
async def test_a_cancelled_message_lets_no_clean_end_follow(swallows: bool) -> None:
    api = FakeRuntimeApi(EVENT, EVENT)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if api.answers:
            api._capacity = None
            await hello(scope, receive, send)
            return
        await send(START)
        api._capacity = 10
        blocked = asyncio.create_task(send(part(b"x" * 1_000)))
        await api.stalled.wait()
        lost = asyncio.create_task(send(part(b"lost")))
        await asyncio.sleep(0)
        lost.cancel()
        await asyncio.wait((lost,))
        api.take(1_000_000)
        await blocked
        if swallows:
            with contextlib.suppress(AppError):
                await send(last(b"all is well"))
        else:
            await send(last(b"all is well"))

    await serve(http_only(app), api=api)
    failed, works = api.answers
    assert failed.chunks[1:] == [b"x" * 1_000]
    assert "a send was cancelled before its message had been taken" in error_of(failed)["errorMessage"]
    assert works.content == b"hello"


async def test_a_500_response_ends_when_the_app_has_returned() -> None:
    api = FakeRuntimeApi(EVENT)
    complete = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "status": 503})
        await send(last(b"busy"))
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        assert await receive() == {"type": "http.disconnect"}
        complete.append(api.answers[0].complete)

    await serve(http_only(app), api=api)
    assert complete == [False]
    assert (api.answers[0].content, api.answers[0].complete) == (b"busy", True)


class TestRefusedHeaders:
    """A REST API looks for the end of the prelude in the first 16 KB: nothing has gone out when it is refused."""

    HEADERS: ClassVar = [(b"x-large", b"x" * 20_000)]

    @staticmethod
    async def serve(app: Any) -> FakeRuntimeApi:
        return await serve(http_only(app), rest_api_event("GET", "/"), rest_api_event("GET", "/next"))

    @pytest.mark.parametrize("swallows", [True, False])
    async def test_the_client_gets_a_page_and_lambda_the_error(self, swallows: bool) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"].endswith("/next"):
                await hello(scope, receive, send)
                return
            try:
                await send({**START, "headers": self.HEADERS})
            except AppError:
                if not swallows:
                    raise

        api = await self.serve(app)
        failed, works = api.answers
        assert (failed.prelude["statusCode"], failed.content) == (500, PAGE)
        assert "prelude" in error_of(failed)["errorMessage"]
        assert works.content == b"hello"

    async def test_an_app_may_send_a_page_of_its_own(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            try:
                await send({**START, "headers": self.HEADERS})
            except AppError:
                await send({**START, "status": 500})
                await send(last(b"sorry"))

        api = await self.serve(app)
        assert (api.answers[0].prelude["statusCode"], api.answers[0].content) == (500, b"sorry")
        assert "prelude" in error_of(api.answers[0])["errorMessage"]


async def test_a_204_says_nothing_of_a_length() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": [(b"content-length", b"0")]})
        await send(last())

    api = await serve(http_only(app), EVENT)
    assert api.answers[0].prelude == {"statusCode": 204, "headers": {}}


class TestPathSend:
    @staticmethod
    async def send_file(path: Path, method: str = "GET", headers: Any = (), status: int = 200) -> FakeRuntimeApi:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.pathsend", "path": str(path)})

        handler = StreamingAdapter(app, lifespan="off", pathsend=True)
        return await serve(handler, function_url_event(method), function_url_event(method))

    async def test_a_file_goes_out_in_pieces(self, tmp_path: Path) -> None:
        content = os.urandom(600_000)
        (tmp_path / "file").write_bytes(content)
        api = await self.send_file(tmp_path / "file", headers=[(b"content-length", b"600000")])
        assert api.answers[0].content == content
        assert [len(chunk) for chunk in api.answers[0].chunks[1:]] == [262_144, 262_144, 75_712]
        assert (api.answers[0].trailers, len(api.answers)) == ({}, 2)

    async def test_no_more_than_the_content_length(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"0123456789")
        api = await self.send_file(tmp_path / "file", headers=[(b"content-length", b"4")])
        assert (api.answers[0].content, api.answers[0].trailers) == (b"0123", {})

    async def test_a_file_shorter_than_the_content_length(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"0123456789")
        api = await self.send_file(tmp_path / "file", headers=[(b"content-length", b"11")])
        assert api.answers[0].content == b"0123456789"
        assert "1 bytes shorter than the content-length" in error_of(api.answers[0])["errorMessage"]

    async def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        api = await self.send_file(tmp_path / "file")
        assert error_of(api.answers[0])["errorType"] == "FileNotFoundError"

    async def test_a_failure_that_the_app_swallows(self, tmp_path: Path) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            with contextlib.suppress(OSError):
                await send({"type": "http.response.pathsend", "path": str(tmp_path / "not there")})

        api = await serve(StreamingAdapter(app, lifespan="off", pathsend=True), EVENT)
        assert error_of(api.answers[0])["errorType"] == "FileNotFoundError"

    async def test_a_file_that_is_slow_to_read_blocks_nothing_else(self, tmp_path: Path) -> None:
        """A FIFO is written by a task of the same event loop: read on the loop, it would wait for itself."""
        gate = make_gate(tmp_path, "file")

        async def write() -> None:
            with await asyncio.to_thread(opened, gate, "wb") as file:
                file.write(b"from the loop")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            writing = asyncio.create_task(write())
            await send(START)
            await send({"type": "http.response.pathsend", "path": str(gate)})
            await writing

        api = await serve(StreamingAdapter(app, lifespan="off", pathsend=True), EVENT)
        assert (api.answers[0].content, api.answers[0].trailers) == (b"from the loop", {})

    async def test_a_relative_path_is_the_working_directorys(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_bytes(b"here")
        monkeypatch.chdir(tmp_path)
        api = await self.send_file(Path("file"))
        assert (api.answers[0].content, api.answers[0].trailers) == (b"here", {})

    async def test_a_file_that_cannot_be_read_at_its_deadline(
        self, tmp_path: Path, time_runs_out: Callable[[], None]
    ) -> None:
        """A FIFO without data, as a file of a network that has gone: nobody waits for the thread that reads it."""
        gate = make_gate(tmp_path, "file")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            if scope["path"] == "/next":
                await send(last(b"next"))
                return
            sending = asyncio.create_task(send({"type": "http.response.pathsend", "path": str(gate)}))
            writers.append(await asyncio.to_thread(opened, gate, "wb"))  # the reading thread has opened it
            asyncio.get_running_loop().call_soon(time_runs_out)
            await sending

        writers: list[IO[bytes]] = []
        due = str(int((time.time() + 3600) * 1000))
        events = (EVENT, function_url_event(path="/next"))
        handler = StreamingAdapter(app, lifespan="off", pathsend=True)
        try:
            first, following = (await serve(handler, *events, Lambda_Runtime_Deadline_Ms=due)).answers
            assert error_of(first)["errorType"] == "DeadlineExceeded"
            assert following.content == b"next"
        finally:
            for writer in writers:
                writer.close()

    @pytest.mark.parametrize("status", [200, 500])
    @pytest.mark.parametrize("expires", [False, True])
    async def test_a_file_whose_send_the_app_cancels(
        self, status: int, expires: bool, tmp_path: Path, steps: list[tuple[float, Callable[[], None]]]
    ) -> None:
        """Before its deadline, or because of it, as an app does that listens for the disconnect."""
        (tmp_path / "file").write_bytes(bytes(1_000_000))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({**START, "status": status})
            sending = asyncio.create_task(send({"type": "http.response.pathsend", "path": str(tmp_path / "file")}))
            await asyncio.sleep(0)
            if expires:
                steps[-1][1]()
            sending.cancel()
            await asyncio.wait((sending,))

        due = str(int((time.time() + 3600) * 1000))
        handler = StreamingAdapter(app, lifespan="off", pathsend=True)
        (answer,) = (await serve(handler, EVENT, Lambda_Runtime_Deadline_Ms=due)).answers
        error = error_of(answer)
        assert error["errorType"] == ("DeadlineExceeded" if expires else "AppError")
        assert "a file" in error["errorMessage"]
        assert answer.content == b""

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("swallows", [False, True])
    async def test_an_app_that_sends_a_path_unasked(self, method: str, swallows: bool, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"x")
        scopes: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scopes.append(scope)
            await send(START)
            with contextlib.suppress(AppError) if swallows else contextlib.nullcontext():
                await send({"type": "http.response.pathsend", "path": str(tmp_path / "file")})

        api = await serve(http_only(app), function_url_event(method), function_url_event(method))
        assert scopes[0]["extensions"] == {}
        assert scopes[0]["extensions"] is not scopes[1]["extensions"]
        error = error_of(api.answers[0])
        assert error["errorType"] == "AppError"
        assert "pathsend=True" in error["errorMessage"]
        assert "ASGI_STREAM_PATHSEND=on" in error["errorMessage"]
        assert (api.answers[0].content, len(api.answers)) == (b"", 2)

    async def test_a_buffered_answer_of_an_app_that_sends_a_path_unasked(self, tmp_path: Path) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            await send({"type": "http.response.pathsend", "path": str(tmp_path / "file")})

        api = await serve(StreamingAdapter(app, lifespan="off", invoke_mode="buffered"), EVENT)
        assert json.loads(api.answers[0].body)["statusCode"] == 500

    async def test_head_reads_nothing(self, tmp_path: Path) -> None:
        api = await self.send_file(tmp_path / "not there", "HEAD", [(b"content-length", b"7")])
        assert (api.answers[0].content, api.answers[0].trailers) == (b"", {})

    async def test_a_500_page_from_a_file_is_complete(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"sorry")
        api = await self.send_file(tmp_path / "file", status=500)
        assert (api.answers[0].content, api.answers[0].trailers, api.answers[0].complete) == (b"sorry", {}, True)


# Failures. The matrix of all that an app can do wrong, and of all that is legal, stands in tests/apps/matrix.py, and
# tests/conformance/test_matrix.py runs it.


async def raises_before_the_start(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("boom")


async def test_the_stack_starts_in_the_app() -> None:
    api = await serve(http_only(raises_before_the_start), EVENT)
    (frame,) = error_of(api.answers[0])["stackTrace"]
    assert frame.startswith(f'  File "{__file__}", line ')
    assert "in raises_before_the_start" in frame


async def test_a_500_page_for_head_has_no_body() -> None:
    api = await serve(http_only(raises_before_the_start), function_url_event("HEAD"))
    assert api.answers[0].prelude["statusCode"] == 500
    assert api.answers[0].content == b""
    assert error_of(api.answers[0])["errorMessage"] == "boom"


@pytest.mark.parametrize(
    ("event", "error_type", "message"),
    [
        (b"not json", "EventError", "the event is not JSON"),
        (b"", "EventError", "the event is not JSON"),
        (b"[" * 100_000, "EventError", "the event is not JSON"),
        ([1], "UnknownEventError", "the event is a JSON array, not an object"),
        (None, "UnknownEventError", "the event is a JSON null"),
        ({"Records": []}, "UnknownEventError", "no HTTP request that is understood"),
        (function_url_event(body="%%%", isBase64Encoded=True), "EventError", "base64"),
        (function_url_event(rawPath=7), "EventError", "rawPath"),
    ],
)
async def test_an_event_that_is_no_request_is_reported_by_error(event: object, error_type: str, message: str) -> None:
    api = await serve(http_only(hello), event, EVENT)
    failed, works = api.answers
    assert failed.target == "/2018-06-01/runtime/invocation/id-1/error"
    assert failed.headers["lambda-runtime-function-error-type"] == f"Function.{error_type}"
    error = error_of(failed)
    assert error["errorType"] == error_type
    assert message in error["errorMessage"]
    assert works.content == b"hello"


async def test_a_failure_after_the_end_can_only_be_logged(capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        raise ValueError("too late")

    api = await serve(http_only(app), EVENT, EVENT)
    assert [(request.content, request.trailers) for request in api.answers] == [(b"hello", {})] * 2
    log = capsys.readouterr().err
    assert "[ERROR]" in log
    assert "\tid-1\tFailed after the response had ended; Lambda counts no error\nTraceback" in log
    assert "ValueError: too late" in log


async def test_a_message_after_the_end_raises_in_the_app(capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        await send(part(b"more"))

    api = await serve(http_only(app), EVENT)
    assert (api.answers[0].content, api.answers[0].trailers) == (b"hello", {})
    assert "the response is already complete" in capsys.readouterr().err


async def test_a_500_response_of_an_app_that_returns_ends_cleanly() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "status": 503})
        await send(last(b"busy"))

    api = await serve(http_only(app), EVENT)
    assert (api.answers[0].content, api.answers[0].trailers) == (b"busy", {})
    assert api.answers[0].complete


async def test_a_handler_that_ends_nothing() -> None:
    class Forgetful(StreamingAdapter):
        async def invoke(self, event: Any, context: Any, sink: Any) -> None:
            return

    api = await serve(Forgetful(hello), EVENT, EVENT)
    assert [request.kind for request in api.answers] == ["error", "error"]
    assert "without ending its response" in error_of(api.answers[0])["errorMessage"]


TOO_LARGE = b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 16\r\n\r\nResponseTooLarge"


@pytest.mark.parametrize("status", [b"400 Bad Request", b"403 Forbidden", b"410 Gone"])
async def test_a_refused_response_is_logged_and_the_next_invocation_works(
    status: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = b"HTTP/1.1 %b\r\nContent-Length: 7\r\n\r\nbecause" % status
    api = await serve(http_only(hello), api=FakeRuntimeApi(EVENT, EVENT, replies=[refusal]))
    assert [request.content for request in api.answers] == [b"hello", b"hello"]
    log = capsys.readouterr().err
    assert f"\tid-1\tLambda refused the response: status {status[:3].decode()}, b'because'" in log


async def test_a_500_of_lambda_ends_the_process() -> None:
    refusal = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    api = FakeRuntimeApi(EVENT, EVENT, replies=[refusal])
    with pytest.raises(AssertionError, match="gave up before the last event"):
        await serve(http_only(hello), api=api)
    assert len(api.answers) == 1


@pytest.mark.parametrize("lets_it_through", [True, False])
async def test_send_raises_oserror_once_lambda_has_hung_up(
    lets_it_through: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    api = FakeRuntimeApi(EVENT)
    seen: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        api.say(TOO_LARGE)
        api.break_writes(BrokenPipeError("gone"))
        for _ in range(2):
            try:
                await send(part(b"x"))
            except OSError as error:
                seen.append(error)
        if lets_it_through:
            await send(part(b"y"))

    await serve(http_only(app), api=api)
    assert len(seen) == 2
    assert isinstance(seen[0], StreamClosed)
    assert seen[1] is seen[0]
    assert len(api.answers) == 1
    log = capsys.readouterr().err
    assert "refused the rest of this response (status 413)" in log
    if lets_it_through:
        assert "Traceback" not in log


async def test_the_trace_id_stands_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "of the invocation before")
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((os.environ.get("_X_AMZN_TRACE_ID"), scope["aws.context"].trace_id))
        await hello(scope, receive, send)

    await serve(http_only(app), EVENT, Lambda_Runtime_Trace_Id="Root=1-2-3")
    await serve(http_only(app), EVENT)
    assert seen == [("Root=1-2-3", "Root=1-2-3"), (None, None)]


async def test_a_slow_reader_blocks_send_and_nothing_is_kept() -> None:
    api = FakeRuntimeApi(EVENT)
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send(START)
        api._capacity = 2_500
        for _ in range(1_000):
            await send(part(b"x" * 1_000))
            sent += 1
        await send(last())

    serving = asyncio.create_task(serve(http_only(app), api=api))
    await api.stalled.wait()
    assert sent == 2
    while not serving.done():
        if api.stalled.is_set():
            api.take(1_500)
        await asyncio.sleep(0)
    await serving
    assert api.answers[0].content == b"x" * 1_000_000
    assert len(api.answers[0].chunks) == 1_001
