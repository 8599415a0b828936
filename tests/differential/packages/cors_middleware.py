"""Starlette's CORSMiddleware: preflight requests, credentials, exposed headers, streams and errors."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from tests.differential.harness import Client, gate

REQUIRES = ["starlette"]

ORIGIN = {"origin": "https://shop.example"}


async def index(request: Request):
    return PlainTextResponse("hello", headers={"vary": "accept-language"})


async def pieces():
    yield "one"
    await gate()
    yield "two"


async def stream(request: Request):
    return StreamingResponse(pieces(), media_type="text/plain")


async def error(request: Request):
    raise ValueError("boom")


async def file(request: Request):
    return FileResponse("static/hello.txt")


app = Starlette(
    routes=[
        Route("/", index, methods=["GET", "PUT"]),
        Route("/stream", stream),
        Route("/error", error),
        Route("/file", file),
        Mount("/secure", HTTPSRedirectMiddleware(PlainTextResponse("secure"))),
    ],
    middleware=[
        Middleware(TrustedHostMiddleware, allowed_hosts=["app.example"]),
        Middleware(
            CORSMiddleware,
            allow_origins=["https://shop.example"],
            allow_methods=["GET", "PUT"],
            allow_headers=["x-token"],
            allow_credentials=True,
            expose_headers=["x-total"],
            max_age=60,
        ),
    ],
)


async def requests(client: Client) -> None:
    await client.get("/", headers=ORIGIN)
    await client.get("/", headers={"origin": "https://other.example"}, label="another origin")
    await client.get("/", label="no origin")
    ask = ORIGIN | {"access-control-request-method": "PUT", "access-control-request-headers": "X-Token"}
    await client.request("OPTIONS", "/", headers=ask)
    await client.request("OPTIONS", "/", headers=ask | {"access-control-request-method": "DELETE"}, label="refused")
    await client.get("/stream", headers=ORIGIN, sees=["one"])
    await client.get("/file", headers=ORIGIN)
    await client.get("/error", headers=ORIGIN)
    await client.get("/secure/page?x=1")
    await client.get("/", headers={"host": "other.example"}, label="an unknown host")
