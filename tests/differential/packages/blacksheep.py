"""BlackSheep: streamed content, server-sent events, files, forms and cookies."""

from collections.abc import AsyncIterable

from blacksheep import Application, Content, Cookie, FromFiles, FromForm, Request, Response, StreamedContent, get, post
from blacksheep.server.responses import file as file_response
from blacksheep.server.responses import json, no_content, redirect, text
from blacksheep.server.sse import ServerSentEvent

from tests.differential.harness import Client, gate, standard

REQUIRES = ["blacksheep"]

app = Application(show_error_details=False)
app.serve_files("static", root_path="static")


@get("/")
async def index():
    return text("hello")


@get("/items/{name}")
async def item(request: Request, name: str):
    return json({"name": name, "path": request.path, "q": request.query.get("q"), "url": str(request.url)})


async def pieces():
    yield b"one"
    await gate()
    yield b"two"
    await gate()
    yield b"three"


@get("/stream")
async def stream():
    return Response(200, content=StreamedContent(b"text/plain", pieces))


@get("/events")
async def events() -> AsyncIterable[ServerSentEvent]:
    yield ServerSentEvent({"name": "one"})
    await gate()
    yield ServerSentEvent({"name": "two"})


async def broken_pieces():
    yield b"one"
    await gate()
    raise ValueError("boom")


@get("/broken")
async def broken():
    return Response(200, content=StreamedContent(b"text/plain", broken_pieces))


@get("/error")
async def error():
    raise ValueError("boom")


class Fields:
    def __init__(self, field: str, other: str) -> None:
        self.field = field
        self.other = other


@post("/form")
async def form(data: FromForm[Fields]):
    return json({"field": data.value.field, "other": data.value.other})


@post("/upload")
async def upload(files: FromFiles):
    (part,) = files.value
    return json({"bytes": len(part.data)})


@post("/body")
async def body(request: Request):
    return Response(200, content=Content(b"application/octet-stream", await request.read()))


@get("/file")
async def file():
    return file_response("static/data.bin", "application/octet-stream")


@get("/empty")
async def empty():
    return no_content()


@get("/redirect")
async def redirects():
    response = redirect("/items/a")
    response.set_cookie(Cookie("first", "1"))
    response.set_cookie(Cookie("second", "2", max_age=60))
    return response


async def requests(client: Client) -> None:
    await standard(client)
    await client.get("/events", sees=["one"])
    await client.get("/static/hello.txt")
    await client.get("/static/data.bin", headers={"range": "bytes=5-9"}, label="a range of a static file")
