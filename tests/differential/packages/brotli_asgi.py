"""brotli-asgi's BrotliMiddleware before pages, files and streams."""

from __future__ import annotations

from brotli_asgi import BrotliMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.differential.harness import Client, gate

REQUIRES = ["brotli-asgi", "starlette"]

ACCEPT = {"accept-encoding": "br"}


async def page(request):
    return PlainTextResponse("hello " * 500)


async def pieces():
    yield "one " * 200
    await gate()
    yield "two " * 200


async def stream(request):
    return StreamingResponse(pieces(), media_type="text/plain")


async def broken_pieces():
    yield "one " * 200
    await gate()
    raise ValueError("boom")


async def broken(request):
    return StreamingResponse(broken_pieces(), media_type="text/plain")


async def error(request):
    raise ValueError("boom")


app = Starlette(
    routes=[
        Route("/", page),
        Route("/stream", stream),
        Route("/broken", broken),
        Route("/error", error),
        Route("/file", lambda request: FileResponse("static/hello.txt")),
        Mount("/static", StaticFiles(directory="static")),
    ],
    middleware=[Middleware(BrotliMiddleware, minimum_size=400)],
)


async def requests(client: Client) -> None:
    await client.get("/", headers=ACCEPT)
    await client.get("/", headers={"accept-encoding": "gzip"}, label="gzip instead")
    await client.get("/", label="neither")
    await client.head("/", headers=ACCEPT)
    await client.get("/stream", headers=ACCEPT, sees=["one", "two"])
    await client.get("/broken", headers=ACCEPT, sees=["one"])
    await client.get("/file", headers=ACCEPT | {"range": "bytes=10-29"}, label="a range")
    await client.get("/error", headers=ACCEPT)
    await client.get("/file", headers=ACCEPT)
    await client.get("/static/app.js", headers=ACCEPT)
