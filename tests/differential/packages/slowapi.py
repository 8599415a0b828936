"""slowapi: its pure ASGI middleware and rate limits before pages, files and streams."""

from __future__ import annotations

from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.middleware import SlowAPIASGIMiddleware
from slowapi.util import get_remote_address
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.differential.harness import Client, gate

REQUIRES = ["slowapi", "starlette"]
VOLATILE = [r"x-ratelimit-reset: [\d.]+", r"retry-after: \d+"]

limiter = Limiter(key_func=get_remote_address, default_limits=["100/hour"], headers_enabled=True)


@limiter.limit("2/hour")
async def limited(request: Request):
    return PlainTextResponse("hello")


async def index(request: Request):
    return PlainTextResponse("hello")


async def pieces():
    yield "one"
    await gate()
    yield "two"


async def stream(request: Request):
    return StreamingResponse(pieces(), media_type="text/plain")


async def file(request: Request):
    return FileResponse("static/hello.txt")


async def error(request: Request):
    raise ValueError("boom")


app = Starlette(
    routes=[
        Route("/", index),
        Route("/limited", limited),
        Route("/stream", stream),
        Route("/file", file),
        Route("/error", error),
        Mount("/static", StaticFiles(directory="static")),
    ]
)
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)
app.add_middleware(SlowAPIASGIMiddleware)


async def requests(client: Client) -> None:
    await client.get("/")
    await client.head("/")
    await client.get("/limited")
    await client.get("/limited", label="again")
    await client.get("/limited", label="once too often")
    await client.get("/stream", label="a stream, of which slowapi starts the response twice")
    await client.get("/file")
    await client.get("/static/hello.txt")
    await client.get("/error")
