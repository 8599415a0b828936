"""An app whose tests call Mangum moves by one line, the import. The same assertions run with both."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from mangum import Mangum

import asgi_stream
from asgi_stream import EventError, StreamingAdapter
from asgi_stream.testing import alb_event, http_api_event, lambda_edge_event, rest_api_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

app = FastAPI()
CONTEXT = SimpleNamespace(aws_request_id="1", get_remaining_time_in_millis=lambda: 30_000)
PIXEL = b"\x89PNG\r\n\x1a\n\x00\xff"


@app.get("/items/{number}")
def item(number: int, request: Request, q: str = "") -> dict[str, Any]:
    if number == 0:
        raise HTTPException(404, "no such item")
    return {"number": number, "q": q, "agent": request.headers.get("user-agent"), "cookie": request.cookies}


@app.post("/items")
async def create(request: Request) -> JSONResponse:
    return JSONResponse({"got": await request.json()}, status_code=201, headers={"x-made": "yes"})


@app.post("/upload")
async def upload(request: Request) -> dict[str, int]:
    return {"size": len(await request.body())}


@app.get("/login")
def login() -> Response:
    response = RedirectResponse("/home")
    response.set_cookie("session", "abc", httponly=True)
    response.set_cookie("theme", "dark")
    return response


@app.get("/pixel")
def pixel() -> Response:
    return Response(PIXEL, media_type="image/png")


@app.get("/event")
def event_of(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.scope["aws.context"].aws_request_id + request.scope["aws.event"]["httpMethod"])


@app.get("/raises")
def raises() -> None:
    raise RuntimeError("boom")


@pytest.fixture(params=["mangum", "asgi-stream"])
def handler(request: pytest.FixtureRequest) -> Iterator[Any]:
    # `from mangum import Mangum`, or `from asgi_stream import StreamingAdapter as Mangum`.
    adapter: Any = Mangum if request.param == "mangum" else StreamingAdapter
    # Mangum runs its app on the event loop that is set in the main thread, and closes none.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    made = adapter(app)
    yield made
    if request.param == "asgi-stream":
        made.close()
    asyncio.set_event_loop(None)
    loop.close()


def multi_value_alb(*arguments: Any, **options: Any) -> dict[str, Any]:
    return alb_event(*arguments, multi_value=True, **options)


def http_api_1(*arguments: Any, **options: Any) -> dict[str, Any]:
    return http_api_event(*arguments, version="1.0", **options)


BUILDERS = [rest_api_event, http_api_1, http_api_event, alb_event, multi_value_alb]
every_source = pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)


def header(answer: dict[str, Any], name: str) -> str:
    """As the answers of each source have it."""
    if name in answer.get("headers", {}):
        return str(answer["headers"][name])
    return str(answer["multiValueHeaders"][name][0])


def cookies(answer: dict[str, Any]) -> list[str]:
    if "cookies" in answer:
        return list(answer["cookies"])
    if "multiValueHeaders" in answer and "set-cookie" in answer["multiValueHeaders"]:
        return list(answer["multiValueHeaders"]["set-cookie"])
    # A load balancer takes one value for a name; both write the name in different letters.
    return [value for name, value in answer["headers"].items() if name.lower() == "set-cookie"]


@every_source
def test_a_page(handler: Any, build: Callable[..., Any]) -> None:
    request = [("User-Agent", "test"), ("Cookie", "a=1; b=2")]
    answer = handler(build("GET", "/items/3?q=a%20b", request), CONTEXT)
    assert answer["statusCode"] == 200
    assert header(answer, "content-type") == "application/json"
    assert answer["isBase64Encoded"] is False
    assert json.loads(answer["body"]) == {"number": 3, "q": "a b", "agent": "test", "cookie": {"a": "1", "b": "2"}}


@pytest.mark.parametrize("build", [rest_api_event, http_api_1, http_api_event, alb_event], ids=lambda it: it.__name__)
def test_headers_by_name(handler: Any, build: Callable[..., Any]) -> None:
    answer = handler(build("GET", "/items/3"), CONTEXT)
    assert answer["headers"]["content-type"] == "application/json"
    assert answer["headers"]["content-length"] == str(len(answer["body"]))


@every_source
def test_errors(handler: Any, build: Callable[..., Any]) -> None:
    missing = handler(build("GET", "/items/0"), CONTEXT)
    assert (missing["statusCode"], json.loads(missing["body"])) == (404, {"detail": "no such item"})
    assert handler(build("GET", "/nowhere"), CONTEXT)["statusCode"] == 404
    assert handler(build("DELETE", "/items/1"), CONTEXT)["statusCode"] == 405
    assert handler(build("GET", "/items/x"), CONTEXT)["statusCode"] == 422
    failed = handler(build("GET", "/raises"), CONTEXT)
    assert (failed["statusCode"], failed["body"]) == (500, "Internal Server Error")


@every_source
def test_a_json_body(handler: Any, build: Callable[..., Any]) -> None:
    sent = {"name": "Übergröße", "count": 2}
    answer = handler(
        build("POST", "/items", [("Content-Type", "application/json")], json.dumps(sent).encode()), CONTEXT
    )
    assert (answer["statusCode"], header(answer, "x-made")) == (201, "yes")
    assert json.loads(answer["body"]) == {"got": sent}


@every_source
def test_binary_both_ways(handler: Any, build: Callable[..., Any]) -> None:
    answer = handler(build("POST", "/upload", [("Content-Type", "application/octet-stream")], PIXEL), CONTEXT)
    assert json.loads(answer["body"]) == {"size": len(PIXEL)}
    answer = handler(build("GET", "/pixel"), CONTEXT)
    assert (answer["isBase64Encoded"], base64.b64decode(answer["body"])) == (True, PIXEL)
    assert header(answer, "content-type") == "image/png"


@every_source
def test_a_redirect_with_two_cookies(handler: Any, build: Callable[..., Any]) -> None:
    answer = handler(build("GET", "/login"), CONTEXT)
    assert (answer["statusCode"], header(answer, "location")) == (307, "/home")
    assert sorted(cookies(answer)) == [
        "session=abc; HttpOnly; Path=/; SameSite=lax",
        "theme=dark; Path=/; SameSite=lax",
    ]


@pytest.mark.parametrize("build", [rest_api_event, http_api_1, alb_event], ids=lambda build: build.__name__)
def test_event_and_context_in_the_scope(handler: Any, build: Callable[..., Any]) -> None:
    assert handler(build("GET", "/event"), CONTEXT)["body"] == "1GET"


def answers_of(app: Any, event: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Mangum answers, and what we do."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    theirs: Any = Mangum(app, lifespan="off")(event, CONTEXT)
    asyncio.set_event_loop(None)
    loop.close()
    adapter = StreamingAdapter(app, lifespan="off", invoke_mode="buffered")
    ours = adapter(event, CONTEXT)
    adapter.close()
    return theirs, ours


@every_source
@pytest.mark.parametrize("path", ["/items/3", "/items/0", "/items/x", "/login", "/pixel", "/nowhere", "/raises"])
def test_whole_answers(path: str, build: Callable[..., Any]) -> None:
    """Tests that compare an answer as a whole. The two exceptions are in the table of the documents."""
    theirs, ours = answers_of(app, build("GET", path))
    if build in (alb_event, multi_value_alb):
        assert ours.pop("statusDescription").startswith(str(ours["statusCode"]))
    if build is http_api_event and path == "/login":  # whose app sends no content type
        assert theirs["headers"].pop("content-type") == "application/json"
    assert ours == theirs


def bare(*headers: tuple[bytes, bytes]) -> Any:
    async def sends(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"hi"})

    return sends


async def raising(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("boom")


VARY = (b"vary", b"a"), (b"vary", b"b")
PLAIN = (b"content-type", b"text/plain")
PAGE_TYPE = "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("row", "app", "build", "key", "theirs", "ours"),
    [
        (
            "a load balancer's answer: repeated headers are apart, under names in other letters",
            bare(*VARY),
            alb_event,
            "headers",
            {"vary": "a", "Vary": "b"},
            {"vary": "a, b"},
        ),
        ("repeated headers in payload 2.0: `a,b`", bare(PLAIN, *VARY), http_api_event, "headers",
         {"content-type": "text/plain", "vary": "a,b"}, {"content-type": "text/plain", "vary": "a, b"}),
        ("`application/json` for an answer of payload 2.0 without a content type", bare(), http_api_event, "headers",
         {"content-type": "application/json"}, {}),
        ("`application/json` for an answer of payload 2.0 without a content type", bare(), http_api_event, "body",
         "hi", "aGk="),
        ("hop-by-hop headers, such as `connection`", bare(PLAIN, (b"connection", b"close")), rest_api_event, "headers",
         {"content-type": "text/plain", "connection": "close"}, {"content-type": "text/plain"}),
        ("the page of an app that raises, without a `content-length`", raising, rest_api_event, "headers",
         {"content-type": PAGE_TYPE}, {"content-type": PAGE_TYPE, "content-length": "21"}),
        ("a body that is shorter or longer than its `content-length`", bare((b"content-length", b"5")), rest_api_event,
         "statusCode", 200, 500),
        ("Lambda@Edge: `status` is a number, and `isBase64Encoded`", bare(PLAIN), lambda_edge_event,
         "status", 200, "200"),
        ("Lambda@Edge: `status` is a number, and `isBase64Encoded`", bare(PLAIN), lambda_edge_event,
         "bodyEncoding", None, "text"),
    ],
)  # fmt: skip
def test_the_rows_of_the_table_about_answers(
    row: str, app: Any, build: Callable[..., Any], key: str, theirs: Any, ours: Any
) -> None:
    page = (Path(asgi_stream.__file__).parent.parent / "docs" / "settings.md").read_text()
    assert f"| {row}" in page.partition("## Coming from Mangum")[2]
    mangum, asgi = answers_of(app, build("GET", "/"))
    assert (mangum.get(key), asgi.get(key)) == (theirs, ours)


def test_an_event_whose_body_is_bytes() -> None:
    """A test may have written one by hand; no event of Lambda is."""
    event = rest_api_event("POST", "/upload") | {"body": b"123"}
    adapter = StreamingAdapter(app, lifespan="off", invoke_mode="buffered")
    with pytest.raises(EventError, match="body must be a str, not bytes"):
        adapter(event, CONTEXT)
    adapter.close()


def test_an_event_that_is_not_a_request_is_an_error(handler: Any) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        handler({"Records": []}, CONTEXT)
