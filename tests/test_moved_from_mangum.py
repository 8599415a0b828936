"""An app whose tests call Mangum moves by one line, the import. The same assertions run with both."""

from __future__ import annotations

import asyncio
import base64
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from mangum import Mangum

from asgi_stream import StreamingAdapter
from asgi_stream.testing import alb_event, http_api_event, rest_api_event

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


def test_an_event_that_is_not_a_request_is_an_error(handler: Any) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        handler({"Records": []}, CONTEXT)
