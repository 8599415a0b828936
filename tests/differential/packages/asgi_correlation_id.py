"""asgi-correlation-id: an id for each request, which a stream and a background task still see."""

from __future__ import annotations

from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from tests.differential.harness import Client, gate

REQUIRES = ["asgi-correlation-id", "starlette"]

done: list[str | None] = []


async def index(request: Request):
    task = BackgroundTask(lambda: done.append(correlation_id.get()))
    return JSONResponse({"id": correlation_id.get(), "done": done}, background=task)


async def stream(request: Request):
    async def pieces():
        yield f"one {correlation_id.get()}"
        await gate()
        yield f"two {correlation_id.get()}"

    return StreamingResponse(pieces(), media_type="text/plain")


async def error(request: Request):
    raise ValueError("boom")


app = Starlette(
    routes=[Route("/", index), Route("/stream", stream), Route("/error", error)],
    middleware=[Middleware(CorrelationIdMiddleware, validator=None, generator=lambda: "generated")],
)


async def requests(client: Client) -> None:
    await client.get("/")
    await client.get("/", headers={"x-request-id": "mine"}, label="with an id")
    await client.get("/stream", headers={"x-request-id": "streamed"}, sees=["one"])
    await client.get("/error", headers={"x-request-id": "failed"})
    await client.get("/", label="after them")
