"""What people find who come from Lambda Web Adapter: its settings have a counterpart, and the log names it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

import asgi_stream
from asgi_stream import ConfigurationError, StatusError, StreamingAdapter
from asgi_stream.config import load_config
from asgi_stream.local.runtime_api import EnvironmentFailed
from asgi_stream.runtime.migration import REPLACEMENTS
from asgi_stream.testing import LambdaTransport, alb_event, exchange
from tests.support.events import function_url_event
from tests.support.process import process
from tests.support.wire import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

app = FastAPI()
SQS = {"Records": [{"messageId": "1", "body": "ü"}, {"messageId": "2", "body": "b"}]}


@app.post("/events")
async def events(request: Request) -> Any:
    event = await request.json()
    assert event == request.scope["aws.event"]
    kind = request.query_params.get("kind") or (event.get("kind") if isinstance(event, dict) else None)
    match kind:
        case "raises":
            raise ValueError("boom")
        case "text":
            return Response("done", media_type="text/plain")
        case "nothing":
            return Response(status_code=204)
        case "status":
            return Response('{"tried": true}', status_code=503)
        case "surrogate":
            return Response('{"half": "\\ud800"}')
        case "nan":
            return Response("NaN")
    assert request.headers["content-type"] == "application/json"
    return {"received": event, "length": int(request.headers["content-length"]) == len(await request.body())}


@app.get("/pages/{status}")
async def page(status: int) -> Response:
    return Response(f"page {status}", status_code=status)


@app.get("/streams/{status}")
async def stream(status: int) -> StreamingResponse:
    async def body() -> AsyncIterator[str]:
        yield "one"
        yield "two"

    return StreamingResponse(body(), status_code=status)


@app.get("/raises")
async def raises() -> None:
    raise ValueError("boom")


async def raising(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("boom")


class TestPassThrough:
    @pytest.mark.parametrize("event", [SQS, {"source": "aws.events"}, [1, 2], "ping", None, 1.5])
    async def test_an_event_that_is_not_a_request_is_posted_to_the_route(self, event: Any) -> None:
        api = await serve(StreamingAdapter(app, pass_through_path="/events"), event)
        assert api.answers[0].kind == "response"
        assert json.loads(api.answers[0].body) == {"received": event, "length": True}

    @pytest.mark.parametrize(
        ("kind", "answer"),
        [
            ("text", b"null"),
            ("nothing", b"null"),
            ("nan", b"null"),
            ("status", b'{"tried":true}'),
            ("surrogate", b'{"half":"\\ud800"}'),
        ],
    )
    async def test_a_body_that_is_json_is_the_answer_and_the_status_does_not_matter(
        self, kind: str, answer: bytes
    ) -> None:
        api = await serve(StreamingAdapter(app, pass_through_path="/events"), {"kind": kind})
        assert (api.answers[0].kind, api.answers[0].body) == ("response", answer)

    async def test_an_exception_fails_the_invocation(self) -> None:
        api = await serve(StreamingAdapter(app, pass_through_path="/events"), {"kind": "raises"}, SQS)
        assert [answer.kind for answer in api.answers] == ["error", "response"]
        assert json.loads(api.answers[0].body)["errorMessage"] == "boom"

    async def test_a_status_that_counts_as_an_error_does_too(self) -> None:
        adapter = StreamingAdapter(app, pass_through_path="/events", error_status_codes="500-599")
        api = await serve(adapter, {"kind": "status"}, SQS)
        assert [answer.kind for answer in api.answers] == ["error", "response"]
        assert json.loads(api.answers[0].body)["errorType"] == "StatusError"

    async def test_requests_are_answered_as_ever(self) -> None:
        api = await serve(StreamingAdapter(app, pass_through_path="/events"), function_url_event(path="/pages/200"))
        assert api.answers[0].content == b"page 200"

    async def test_a_route_that_has_to_be_encoded(self) -> None:
        seen = []

        async def bare(scope: Any, receive: Any, send: Any) -> None:
            seen.append((scope["method"], scope["path"], scope["raw_path"], scope["query_string"], scope["root_path"]))
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"1"})

        api = await serve(StreamingAdapter(bare, lifespan="off", pass_through_path="/my events/"), {})
        assert api.answers[0].body == b"1"
        assert seen == [("POST", "/my events/", b"/my%20events/", b"", "")]

    @pytest.mark.parametrize("event", [SQS, [1, 2], "ping", None])
    async def test_with_context_headers(self, event: Any) -> None:
        adapter = StreamingAdapter(app, pass_through_path="/events", context_headers=True)
        api = await serve(adapter, event)
        assert json.loads(api.answers[0].body) == {"received": event, "length": True}

    async def test_the_route_is_the_apps_whatever_is_stripped_from_requests(self) -> None:
        adapter = StreamingAdapter(app, pass_through_path="/events", api_gateway_base_path="/events")
        api = await serve(adapter, SQS, function_url_event(path="/events/pages/200"))
        assert json.loads(api.answers[0].body) == {"received": SQS, "length": True}
        assert api.answers[1].content == b"page 200"

    def test_outside_of_our_runtime(self) -> None:
        adapter = StreamingAdapter(app, pass_through_path="/events")
        assert adapter(SQS, None) == {"received": SQS, "length": True}
        with pytest.raises(ValueError, match="boom"):
            adapter({"kind": "raises"}, None)
        adapter.close()

    def test_not_with_on_event(self) -> None:
        with pytest.raises(ConfigurationError, match="on_event and pass_through_path"):
            StreamingAdapter(app, pass_through_path="/events", on_event=lambda event, context: None)

    @pytest.mark.parametrize("value", ["events", "/events?x=1", "/a%20b", 1])
    def test_what_is_not_a_route(self, value: Any) -> None:
        with pytest.raises(ConfigurationError, match="pass_through_path must be a decoded path"):
            StreamingAdapter(app, pass_through_path=value)


class TestErrorStatusCodes:
    @pytest.mark.parametrize("status", [404, 500, 503])
    @pytest.mark.parametrize("kind", ["pages", "streams"])
    async def test_the_client_gets_the_page_and_lambda_an_error(self, kind: str, status: int) -> None:
        adapter = StreamingAdapter(app, error_status_codes="404,500-503")
        api = await serve(adapter, function_url_event(path=f"/{kind}/{status}"), function_url_event(path="/pages/403"))
        failed, good = api.answers
        assert failed.prelude["statusCode"] == status
        assert failed.content == (b"onetwo" if kind == "streams" else f"page {status}".encode())
        assert failed.trailers["lambda-runtime-function-error-type"] == "Function.StatusError"
        error = json.loads(base64.b64decode(failed.trailers["lambda-runtime-function-error-body"]))
        assert f"status {status}, which error_status_codes counts as an error" in error["errorMessage"]
        assert (good.prelude["statusCode"], good.content, good.trailers) == (403, b"page 403", {})

    async def test_a_status_that_is_not_named_is_not_an_error(self) -> None:
        api = await serve(StreamingAdapter(app), function_url_event(path="/pages/503"))
        assert (api.answers[0].content, api.answers[0].trailers) == (b"page 503", {})

    async def test_a_buffered_answer_is_an_error_instead(self) -> None:
        """As with Lambda Web Adapter: there is one answer, and the setting asks for the error."""
        api = await serve(StreamingAdapter(app, error_status_codes=[503]), alb_event(target="/pages/503"))
        assert api.answers[0].kind == "error"
        assert json.loads(api.answers[0].body)["errorType"] == "StatusError"

    @pytest.mark.parametrize(("codes", "fails"), [("500-599", True), ("500", True), ("503", False)])
    @pytest.mark.parametrize("app", [app, raising], ids=["with a page", "without a page"])
    async def test_a_buffered_app_that_raises(self, app: Any, codes: str, fails: bool) -> None:
        """Its page would have status 500: where that counts as an error, the app's own error takes its place."""
        api = await serve(StreamingAdapter(app, error_status_codes=codes), alb_event(target="/raises"))
        if fails:
            assert (api.answers[0].kind, json.loads(api.answers[0].body)["errorType"]) == ("error", "ValueError")
        else:
            assert (api.answers[0].kind, json.loads(api.answers[0].body)["statusCode"]) == ("response", 500)

    async def test_an_app_that_raises_is_reported_by_its_own_error(self) -> None:
        api = await serve(StreamingAdapter(app, error_status_codes="500"), function_url_event("POST", "/events"))
        assert api.answers[0].trailers["lambda-runtime-function-error-type"] != "Function.StatusError"

    async def test_in_a_test(self) -> None:
        transport = LambdaTransport(StreamingAdapter(app, error_status_codes="503"), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="https://t") as client:
            response = await client.get("/streams/503")
            assert (response.status_code, response.text) == (503, "onetwo")
            assert exchange(response).error_type == "Function.StatusError"

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("500", {500}),
            (500, {500}),
            ("500, 502-504 ,422", {422, 500, 502, 503, 504}),
            ([500, "502-503"], {500, 502, 503}),
            (range(500, 503), {500, 501, 502}),
            ("", set()),
        ],
    )
    def test_values(self, value: Any, expected: set[int]) -> None:
        assert load_config({"error_status_codes": value}, {}).error_status_codes == expected
        if isinstance(value, str):
            assert load_config({}, {"ASGI_STREAM_ERROR_STATUS_CODES": value}).error_status_codes == expected

    @pytest.mark.parametrize(
        "value", ["5xx", "99", "600", "504-502", "500-", "-500", "5000", True, 5.5, "\u0665\u0660\u0660", "1-999"]
    )
    def test_what_is_not_a_status_code(self, value: Any) -> None:
        with pytest.raises(ConfigurationError, match="error_status_codes"):
            load_config({"error_status_codes": value}, {})

    def test_the_error_knows_its_status(self) -> None:
        assert StatusError(503).status == 503


class TestLeftovers:
    async def test_each_variable_is_logged_once_with_what_replaces_it(self) -> None:
        variables = {
            "AWS_LWA_PORT": "8080",
            "AWS_LWA_INVOKE_MODE": "response_stream",
            "AWS_LWA_PASS_THROUGH_PATH": "/events",
            "AWS_LWA_NEW": "1",
        }
        async with process("tests.apps.calls_app.handler", variables) as running:
            assert (await running.invoke("/")).error is None
            assert (await running.invoke("/")).error is None
            running.child.terminate()
            _, output = await running.end()
        assert output.count("Lambda Web Adapter") == 1
        for name in variables:
            assert output.count(name + ":") == 1
        assert "AWS_LWA_PORT: not needed" in output
        assert "AWS_LWA_INVOKE_MODE: set ASGI_STREAM_INVOKE_MODE" in output
        assert "AWS_LWA_PASS_THROUGH_PATH: set ASGI_STREAM_PASS_THROUGH_PATH" in output
        assert "AWS_LWA_NEW: not known to asgi-stream" in output

    @pytest.mark.parametrize("name", ["run.sh", "./run.sh", "bin/start.bash"])
    async def test_a_start_script_as_the_handler(self, name: str) -> None:
        async with process(name) as running:
            with pytest.raises(EnvironmentFailed) as failed:
                await running.api.idle()
            code, output = await running.end()
        assert code == 1
        assert failed.value.error.error_type == "Runtime.HandlerNotFound"
        assert "set the handler to your app or its StreamingAdapter, such as main.app" in output

    def test_each_variable_has_a_row_in_the_documents(self) -> None:
        page = (Path(asgi_stream.__file__).parent.parent / "docs" / "settings.md").read_text()
        table = page.partition("## Coming from Lambda Web Adapter")[2]
        assert set(re.findall(r"`(AWS_LWA_\w+)`", table)) == set(REPLACEMENTS)
