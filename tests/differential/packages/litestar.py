"""Litestar: streams, server-sent events, files, forms and cookies."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import Cookie, UploadFile
from litestar.enums import MediaType, RequestEncodingType
from litestar.params import Body
from litestar.response import File, Redirect, ServerSentEvent, Stream
from litestar.static_files import create_static_files_router

from tests.differential.harness import Client, gate, standard

REQUIRES = ["litestar"]
TARGETS = ["local", "rest_api", "rest_api_buffered", "http_api", "alb"]


@get("/")
async def index() -> dict[str, str]:
    return {"hello": "world"}


@get("/items/{name:str}")
async def item(name: str, request: Request, q: list[str], empty: str) -> dict[str, Any]:
    return {"name": name, "q": q, "empty": empty, "url": str(request.url)}


async def pieces():
    yield "one"
    await gate()
    yield "two"
    await gate()
    yield "three"


@get("/stream")
async def stream() -> Stream:
    return Stream(pieces(), media_type="text/plain")


@get("/events")
async def events() -> ServerSentEvent:
    return ServerSentEvent(pieces(), event_type="change")


async def broken_pieces():
    yield "one"
    await gate()
    raise ValueError("boom")


@get("/broken")
async def broken() -> Stream:
    return Stream(broken_pieces(), media_type="text/plain")


@get("/error")
async def error() -> None:
    raise ValueError("boom")


@post("/form", status_code=200)
async def form(data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]) -> dict[str, str]:
    return data


@post("/upload")
async def upload(
    data: Annotated[dict[str, UploadFile], Body(media_type=RequestEncodingType.MULTI_PART)],
) -> dict[str, Any]:
    file = data["file"]
    return {"name": file.filename, "bytes": len(await file.read())}


@post("/body", media_type="application/octet-stream")
async def body(request: Request) -> bytes:
    return await request.body()


@get("/file")
async def file() -> File:
    return File("static/data.bin", filename="data.bin")


@get("/empty", status_code=204)
async def empty() -> None:
    return None


@get("/redirect", status_code=303)
async def redirect() -> Redirect:
    return Redirect("/items/a", status_code=303, cookies=[Cookie("first", "1"), Cookie("second", "2", max_age=60)])


@get("/text", media_type=MediaType.TEXT)
async def text() -> Response[str]:
    return Response("ünïcode", headers={"x-name": "value"})


app = Litestar(
    [
        index, item, stream, events, broken, error, form, upload, body, file, empty, redirect, text,
        create_static_files_router("/static", ["static"]),
    ]
)  # fmt: skip


async def requests(client: Client) -> None:
    await standard(client)
    await client.get("/events", sees=["one", "two"])
    await client.get("/text")
    await client.get("/static/hello.txt")
    await client.get("/schema/openapi.json")
