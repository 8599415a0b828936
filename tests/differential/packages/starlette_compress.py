"""starlette-compress: zstd, brotli and gzip before pages, files and streams."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette_compress import CompressMiddleware

from tests.differential.harness import Client, gate

REQUIRES = ["starlette-compress", "starlette"]


async def page(request):
    return PlainTextResponse("hello " * 500)


async def pieces():
    yield "one " * 300
    yield "two " * 300


async def stream(request):
    return StreamingResponse(pieces(), media_type="text/plain")


async def two_events():
    yield "data: one\n\n"
    await gate()
    yield "data: two\n\n"


async def events(request):
    return StreamingResponse(two_events(), media_type="text/event-stream")


async def broken_pieces():
    yield "one " * 300
    raise ValueError("boom")


async def broken(request):
    return StreamingResponse(broken_pieces(), media_type="text/plain")


async def error(request):
    raise ValueError("boom")


app = Starlette(
    routes=[
        Route("/", page),
        Route("/stream", stream),
        Route("/events", events),
        Route("/broken", broken),
        Route("/error", error),
        Route("/file", lambda request: FileResponse("static/hello.txt")),
        Mount("/static", StaticFiles(directory="static")),
    ],
    middleware=[Middleware(CompressMiddleware, minimum_size=400)],
)


async def requests(client: Client) -> None:
    for encoding in ("zstd", "br", "gzip"):
        accept = {"accept-encoding": encoding}
        await client.get("/", headers=accept, label=f"GET / in {encoding}")
        await client.get("/stream", headers=accept, label=f"GET /stream in {encoding}")
        await client.get("/events", headers=accept, sees=["one"], label=f"GET /events in {encoding}")
        await client.get("/broken", headers=accept, label=f"GET /broken in {encoding}")
        await client.get("/file", headers=accept, label=f"GET /file in {encoding}")
        await client.get("/static/app.js", headers=accept, label=f"GET /static/app.js in {encoding}")
    await client.head("/", headers={"accept-encoding": "zstd"})
    await client.get("/")
    await client.get("/error", headers={"accept-encoding": "zstd"})
