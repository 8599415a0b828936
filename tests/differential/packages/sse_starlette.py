"""sse-starlette's EventSourceResponse: events, comments, headers, an error in mid-stream."""

from __future__ import annotations

import asyncio

from sse_starlette import EventSourceResponse, JSONServerSentEvent, ServerSentEvent
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.differential.harness import Client, gate

REQUIRES = ["sse-starlette", "starlette"]
TARGETS = ["local"]

done: list[str] = []


async def events(request: Request):
    async def pieces():
        yield {"data": "one", "event": "change", "id": request.headers.get("last-event-id", "1"), "retry": 500}
        await gate()
        yield ServerSentEvent("two\nlines", comment="why")
        await gate()
        yield JSONServerSentEvent({"three": "ü"})

    return EventSourceResponse(
        pieces(), headers={"x-name": "value"}, background=BackgroundTask(done.append, "events"), sep="\n"
    )


async def broken(request: Request):
    async def pieces():
        yield {"data": "one"}
        await gate()
        raise ValueError("boom")

    return EventSourceResponse(pieces())


async def forever(request: Request):
    async def pieces():
        yield {"data": "one"}
        await asyncio.Event().wait()

    return EventSourceResponse(pieces())


async def empty(request: Request):
    async def pieces():
        return
        yield

    return EventSourceResponse(pieces())


async def tasks(request: Request):
    return PlainTextResponse(repr(done))


app = Starlette(
    routes=[
        Route("/events", events, methods=["GET", "POST"]),
        Route("/broken", broken),
        Route("/forever", forever),
        Route("/empty", empty),
        Route("/tasks", tasks),
    ]
)


async def requests(client: Client) -> None:
    await client.get("/events", sees=["one", "two"])
    await client.get("/events", headers={"last-event-id": "7"}, sees=["one"], label="a client that comes back")
    await client.post("/events", content=b"x", sees=["one", "two"])
    await client.head("/empty")
    await client.get("/broken", sees=["one"])
    await client.get("/empty")
    await client.get("/tasks")


async def at_the_deadline(client: Client) -> None:
    await client.get("/forever", sees=["one"])
    await client.get("/tasks")
