"""starlette-context: values of a request that all of its code can read, also in a stream."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette_context import context, plugins
from starlette_context.middleware import RawContextMiddleware

from tests.differential.harness import Client, gate

REQUIRES = ["starlette-context", "starlette"]


async def index(request: Request):
    return JSONResponse(context.data)


async def stream(request: Request):
    context["streamed"] = "yes"

    async def pieces():
        yield f"one {context.data}"
        await gate()
        yield f"two {context.data}"

    return StreamingResponse(pieces(), media_type="text/plain")


app = Starlette(
    routes=[Route("/", index), Route("/stream", stream)],
    middleware=[
        Middleware(
            RawContextMiddleware,
            plugins=(plugins.RequestIdPlugin(), plugins.UserAgentPlugin()),
        )
    ],
)

ID = {"x-request-id": "0123456789abcdef0123456789abcdef"}


async def requests(client: Client) -> None:
    await client.get("/", headers=ID)
    await client.get("/stream", headers=ID, sees=["one"])
    await client.get("/", headers={"x-request-id": "no uuid"}, label="an invalid id")
