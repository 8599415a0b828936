"""Server-side rendering: a page whose shell arrives first, and whose slow parts follow as each is ready.

The parts come out of order and stand in order: the shell is a declarative shadow root with a named slot for each part,
and a part that arrives is an element for its slot. The browser places it; that needs no script.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from example_app.pages import page
from example_app.store import get_store

router = APIRouter()
logger = logging.getLogger(__name__)

Rows = list[tuple[str, str]]


class Part(NamedTuple):
    """A part of the page. `load` returns its rows; `delay` stands for a slow service behind it, in seconds."""

    name: str
    title: str
    delay: float
    load: Callable[[Request], Awaitable[Rows]]


class ReadyPart(NamedTuple):
    name: str
    rows: Rows
    seconds: float
    failed: bool


async def invocation(request: Request) -> Rows:
    context = request.scope["aws.context"]
    return [
        ("function", context.function_name),
        ("request", context.aws_request_id),
        ("time left", f"{context.get_remaining_time_in_millis() / 1000:.0f} s"),
    ]


async def primes(_: Request) -> Rows:
    def count(limit: int) -> int:
        return sum(all(number % divisor for divisor in range(2, math.isqrt(number) + 1)) for number in range(2, limit))

    return [("primes below 20,000", f"{await asyncio.to_thread(count, 20_000):,}")]


async def conversation(_: Request) -> Rows:
    store = await asyncio.to_thread(get_store)
    messages = [item.data for item in await store.recent("chat/lobby") if "text" in item.data]
    return [(data["name"], data["text"]) for data in messages[-3:]] or [("chat", "nobody has said anything yet")]


PARTS = (
    Part("conversation", "From the chat", 2.4, conversation),
    Part("invocation", "This invocation", 0.8, invocation),
    Part("primes", "A computation", 1.6, primes),
)


@router.get("/rendering")
async def rendering_page(request: Request, delay: Annotated[float, Query(ge=0, le=20)] = 1.0) -> StreamingResponse:
    """`delay` is a factor: 0 makes each part as fast as it can be."""
    return page("rendering.html", parts=PARTS, ready=_ready(request, delay))


async def _ready(request: Request, factor: float) -> AsyncIterator[ReadyPart]:
    """The parts in the order in which they are ready."""
    started = time.monotonic()

    async def load(part: Part) -> ReadyPart:
        await asyncio.sleep(part.delay * factor)
        try:
            rows = await part.load(request)
        except Exception:
            # One part that fails is no reason for the others to be missing.
            logger.exception("The part %s failed", part.name)
            return ReadyPart(part.name, [], time.monotonic() - started, failed=True)
        return ReadyPart(part.name, rows, time.monotonic() - started, failed=False)

    tasks = [asyncio.create_task(load(part)) for part in PARTS]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        for unfinished in tasks:
            unfinished.cancel()
