"""Headers in which adapters hand an app what Lambda knows: a client cannot send them, and a setting fills them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from asgiref.wsgi import WsgiToAsgi
from flask import Flask, request

from asgi_stream import HttpRequest, StreamingAdapter
from asgi_stream.testing import (
    SyncLambdaTransport,
    alb_event,
    exchange,
    function_url_event,
    http_api_event,
    lambda_edge_event,
    rest_api_event,
)
from tests.sources.recorded import NAMES, recorded
from tests.support.wire import serve

if TYPE_CHECKING:
    from collections.abc import Callable

IDENTITY = [
    "x-amzn-request-context",
    "x-amzn-lambda-context",
    "x-amz-tenant-id",
    "x-apigateway-event",
    "x-apigateway-context",
]
FORGED = '{"authorizer":{"claims":{"admin":"true"}}}'
SPELLINGS: list[Callable[[str], str]] = [
    str,
    str.upper,
    str.title,
    lambda name: name.replace("-", "_"),
    lambda name: name.replace("-", "_").upper(),
    lambda name: name.replace("-", "_", 1),
    lambda name: "".join(letter.upper() if index % 2 else letter for index, letter in enumerate(name)),
]
SENT = [(spell(name), FORGED) for name in IDENTITY for spell in SPELLINGS]
KEPT = [("x-amzn-request-contexts", "1"), ("X-Amzn-Tls-Version", "2"), ("my_key", "3"), ("x-amzn", "4")]
EVENTS: dict[str, dict[str, Any]] = {
    "function_url": function_url_event("GET", "/", SENT + KEPT),
    "rest_api": rest_api_event("GET", "/", SENT + KEPT),
    "http_api 2.0": http_api_event("GET", "/", SENT + KEPT),
    "http_api 1.0": http_api_event("GET", "/", SENT + KEPT, version="1.0"),
    "alb": alb_event("GET", "/", SENT + KEPT),
    "alb, multi-value": alb_event("GET", "/", SENT + KEPT, multi_value=True),
    "lambda_edge": lambda_edge_event("GET", "/", SENT + KEPT),
}


class Own:
    """A user's event source: it may name headers as it likes."""

    name = "own"
    streams = False
    limit = 1_000

    def matches(self, event: Any) -> bool:
        return "own" in event

    def to_request(self, event: Any) -> HttpRequest:
        headers = [(name.encode(), value.encode()) for name, value in SENT + KEPT]
        return HttpRequest("GET", "/", b"/", b"", headers, b"", None, None, "https", "1.1")

    def to_answer(self, event: Any, status: int, headers: object, body: bytes, is_text: bool) -> dict[str, Any]:
        return {"status": status}


class Seen:
    """An app that keeps the headers of its requests, names and values as text."""

    def __init__(self) -> None:
        self.requests: list[list[tuple[str, str]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests.append([(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]])
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    def of(self, name: str) -> list[str]:
        """The values of a header in the last request."""
        return [value for header, value in self.requests[-1] if header == name]


def one_spelling(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.mark.anyio
@pytest.mark.parametrize("name", [*EVENTS, "own"])
async def test_what_a_client_sends_is_dropped(name: str) -> None:
    seen = Seen()
    event = EVENTS.get(name, {"own": 1})
    await serve(StreamingAdapter(seen, lifespan="off", event_sources=[Own()]), event)
    names = [one_spelling(header) for header, _ in seen.requests[0]]
    assert [header for header in names if header in IDENTITY] == []
    assert {one_spelling(header) for header, _ in KEPT} <= set(names)


@pytest.mark.parametrize("name", EVENTS)
def test_also_where_the_adapter_is_called(name: str) -> None:
    seen = Seen()
    handler = StreamingAdapter(seen, lifespan="off", invoke_mode="buffered")
    handler(EVENTS[name], None)
    handler.close()
    assert [header for header, _ in seen.requests[0] if one_spelling(header) in IDENTITY] == []


@pytest.mark.anyio
async def test_a_trace_has_one_spelling_too() -> None:
    seen = Seen()
    event = rest_api_event("GET", "/", [("X_Amzn_Trace_Id", "Root=forged"), ("x-amzn_trace-id", "Root=forged")])
    await serve(StreamingAdapter(seen, lifespan="off"), event, Lambda_Runtime_Trace_Id="Root=1")
    assert [value for name, value in seen.requests[0] if one_spelling(name) == "x-amzn-trace-id"] == ["Root=1"]


def test_an_app_on_wsgi_sees_none_of_it() -> None:
    """There `-` and `_` are one: what is not dropped would come under the name that is filled."""
    app = Flask(__name__)

    @app.get("/")
    def index() -> dict[str, str]:
        return {name: value for name, value in request.environ.items() if name.startswith("HTTP_X_A")}

    for setting in (False, True):
        adapter = StreamingAdapter(
            WsgiToAsgi(app),  # type: ignore[no-untyped-call]
            lifespan="off",
            context_headers=setting,
        )
        with httpx.Client(transport=SyncLambdaTransport(adapter), base_url="https://testserver") as client:
            environ = client.get("/", headers=SENT).json()
        assert FORGED not in environ.values()
        context = json.loads(environ.get("HTTP_X_AMZN_REQUEST_CONTEXT", "null"))
        assert bool(context) is setting


# Filled


def filled(seen: Seen, event: dict[str, Any]) -> tuple[Any, Any]:
    """What the app reads: request context and Lambda context."""
    (request_context,) = seen.of("x-amzn-request-context")
    (lambda_context,) = seen.of("x-amzn-lambda-context")
    return json.loads(request_context), json.loads(lambda_context)


@pytest.mark.anyio
@pytest.mark.parametrize("name", EVENTS)
async def test_the_request_context_is_the_events(name: str) -> None:
    seen = Seen()
    await serve(StreamingAdapter(seen, lifespan="off", context_headers=True), EVENTS[name])
    request_context, _ = filled(seen, EVENTS[name])
    assert request_context == EVENTS[name].get("requestContext")
    assert FORGED not in [value for _, value in seen.requests[0]]


@pytest.mark.anyio
@pytest.mark.parametrize("name", NAMES)
async def test_the_request_context_of_documented_events(name: str) -> None:
    """Claims and identities too."""
    seen = Seen()
    await serve(StreamingAdapter(seen, lifespan="off", context_headers=True), recorded(name))
    assert filled(seen, recorded(name))[0] == recorded(name).get("requestContext")


@pytest.mark.anyio
async def test_text_is_the_same_for_every_reader() -> None:
    """Starlette and Django decode headers as Latin-1, and an app may read the bytes as UTF-8."""
    event = rest_api_event("GET", "/")
    event["requestContext"]["authorizer"] = {"name": "Zoë 😀 \ud800\x7f\r\n\x00"}
    seen = Seen()
    await serve(StreamingAdapter(seen, lifespan="off", context_headers=True), event)
    (value,) = seen.of("x-amzn-request-context")
    assert value.isascii()
    assert value.isprintable()
    assert json.loads(value)["authorizer"] == event["requestContext"]["authorizer"]
    assert ": " not in value


@pytest.mark.anyio
async def test_the_lambda_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the names of Lambda Web Adapter, which are the Rust runtime's."""
    for name, value in {
        "AWS_LAMBDA_FUNCTION_NAME": "shop",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/28/[$LATEST]1",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/shop",
    }.items():
        monkeypatch.setenv(name, value)
    seen = Seen()
    client = {"installation_id": "i", "app_title": "t", "app_version_name": "n", "app_version_code": "c"}
    await serve(
        StreamingAdapter(seen, lifespan="off", context_headers=True),
        function_url_event("GET", "/"),
        Lambda_Runtime_Deadline_Ms="4000000000123",
        Lambda_Runtime_Invoked_Function_Arn="arn:aws:lambda:eu-west-1:123456789012:function:shop",
        Lambda_Runtime_Trace_Id="Root=1;Parent=2;Sampled=1",
        Lambda_Runtime_Aws_Tenant_Id="tenant-7",
        Lambda_Runtime_Cognito_Identity='{"cognitoIdentityId":"id","cognitoIdentityPoolId":"pool"}',
        Lambda_Runtime_Client_Context=json.dumps({"client": client, "custom": {"a": "b"}, "env": {"c": "d"}}),
    )
    _, context = filled(seen, {})
    assert list(context.items()) == [
        ("request_id", "id-1"),
        ("deadline", 4000000000123),
        ("invoked_function_arn", "arn:aws:lambda:eu-west-1:123456789012:function:shop"),
        ("xray_trace_id", "Root=1;Parent=2;Sampled=1"),
        (
            "client_context",
            {
                "client": {
                    "installationId": "i",
                    "appTitle": "t",
                    "appVersionName": "n",
                    "appVersionCode": "c",
                    "appPackageName": "",
                },
                "custom": {"a": "b"},
                "environment": {"c": "d"},
            },
        ),
        ("identity", {"identityId": "id", "identityPoolId": "pool"}),
        ("tenant_id", "tenant-7"),
        (
            "env_config",
            {
                "function_name": "shop",
                "memory": 512,
                "version": "$LATEST",
                "log_stream": "2026/11/28/[$LATEST]1",
                "log_group": "/aws/lambda/shop",
            },
        ),
    ]
    assert seen.of("x-amz-tenant-id") == ["tenant-7"]


@pytest.mark.anyio
async def test_what_lambda_does_not_tell() -> None:
    seen = Seen()
    handler = StreamingAdapter(seen, lifespan="off", context_headers=True)
    await serve(handler, function_url_event("GET", "/", SENT))
    _, context = filled(seen, {})
    assert [context[name] for name in ("xray_trace_id", "client_context", "identity", "tenant_id")] == [None] * 4
    assert (context["request_id"], context["invoked_function_arn"]) == ("id-1", "")
    assert seen.of("x-amz-tenant-id") == []


@pytest.mark.anyio
async def test_a_tenant_that_is_no_header_is_left_out() -> None:
    seen = Seen()
    handler = StreamingAdapter(seen, lifespan="off", context_headers=True)
    await serve(handler, function_url_event("GET", "/"), Lambda_Runtime_Aws_Tenant_Id="caf\xe9")
    assert seen.of("x-amz-tenant-id") == []


@pytest.mark.parametrize(
    "context",
    [
        None,
        SimpleNamespace(),
        SimpleNamespace(
            aws_request_id="id",
            memory_limit_in_mb="128",
            get_remaining_time_in_millis=lambda: 3000,
            identity=SimpleNamespace(cognito_identity_id=None),
            client_context=SimpleNamespace(),
        ),
        SimpleNamespace(aws_request_id=7, memory_limit_in_mb=128, tenant_id=7, deadline_ms="soon", identity=7),
    ],
)
def test_other_contexts(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of AWS's own runtime, of a test, or none."""
    seen = Seen()
    handler = StreamingAdapter(seen, lifespan="off", invoke_mode="buffered", context_headers=True)
    handler(rest_api_event("GET", "/"), context)
    handler.close()
    _, shown = filled(seen, {})
    assert isinstance(shown["deadline"], int)
    assert isinstance(shown["env_config"]["memory"], int)
    assert shown["request_id"] == ("" if not hasattr(context, "aws_request_id") else str(context.aws_request_id))


def test_the_transport_fills_them_from_its_event() -> None:
    """So that a test of an app that reads claims says them in an event of its own."""

    def event(*parts: Any) -> dict[str, Any]:
        made = rest_api_event(*parts)
        made["requestContext"]["authorizer"] = {"claims": {"sub": "me"}}
        return made

    seen = Seen()
    adapter = StreamingAdapter(seen, context_headers=True)
    with httpx.Client(transport=SyncLambdaTransport(adapter, source=event), base_url="https://testserver") as client:
        response = client.get("/", headers=SENT)
    request_context, lambda_context = filled(seen, {})
    assert request_context["authorizer"] == {"claims": {"sub": "me"}}
    assert lambda_context["request_id"] == exchange(response).request_id
