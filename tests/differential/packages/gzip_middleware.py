"""Starlette's GZipMiddleware before pages, files and streams."""

from __future__ import annotations

import random

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.differential.harness import Client, gate

REQUIRES = ["starlette"]

ACCEPT = {"accept-encoding": "gzip"}


async def page(request):
    return PlainTextResponse("hello " * 500)


async def small(request):
    return PlainTextResponse("hello")


async def noise():
    """What does not compress leaves the compressor's buffer."""
    source = random.Random(1)
    yield source.randbytes(200_000)
    await gate()
    yield source.randbytes(200_000)


async def stream(request):
    return StreamingResponse(noise(), media_type="application/octet-stream")


async def two_events():
    yield "data: one\n\n"
    await gate()
    yield "data: two\n\n"


async def events(request):
    return StreamingResponse(two_events(), media_type="text/event-stream")


async def broken_pieces():
    yield b"one " * 1000
    raise ValueError("boom")


async def broken(request):
    return StreamingResponse(broken_pieces(), media_type="text/plain")


app = Starlette(
    routes=[
        Route("/", page),
        Route("/small", small),
        Route("/stream", stream),
        Route("/events", events),
        Route("/broken", broken),
        Route("/file", lambda request: FileResponse("static/hello.txt")),
        Mount("/static", StaticFiles(directory="static")),
    ],
    middleware=[Middleware(GZipMiddleware, minimum_size=500)],
)


async def requests(client: Client) -> None:
    await client.get("/", headers=ACCEPT)
    await client.get("/", label="a client that takes no gzip")
    await client.head("/", headers=ACCEPT)
    await client.get("/small", headers=ACCEPT)
    await client.get("/stream", headers=ACCEPT)
    await client.get("/events", headers=ACCEPT, sees=["one"])
    await client.get("/broken", headers=ACCEPT)
    await client.get("/file", headers=ACCEPT)
    await client.get("/file", headers=ACCEPT | {"range": "bytes=10-29"}, label="a range")
    await client.get("/static/app.js", headers=ACCEPT)
