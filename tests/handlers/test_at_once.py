"""Managed Instances: handlers of every kind stream side by side, the async ones on one event loop.

Each goes on only when all have begun, three times in a row.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream import BlockingResponseStream, LambdaContext, ResponseStream, pipeline, streaming_handler
from asgi_stream.recognise import as_handler
from tests.handlers.slots import Slot, serve_slots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.anyio

TURNS = 3
MANY = 40
TIME_LIMIT = 20  # of a wait that ends at once, in seconds


class Threads(threading.Barrier):
    """Where threads meet; those that have been there are in ``seen``."""

    def __init__(self) -> None:
        super().__init__(MANY, timeout=TIME_LIMIT)
        self.seen: set[int] = set()

    def meet(self) -> None:
        self.seen.add(threading.get_ident())
        self.wait()


async def streamed(handler: Any) -> None:
    slots = [Slot(*(f"{number}/{turn}" for turn in range(TURNS))) for number in range(MANY)]
    await serve_slots(handler, *slots)
    for number, slot in enumerate(slots):
        assert [answer.chunks for answer in slot.answers] == [
            [f"{number}/{turn}".encode(), b" end"] for turn in range(TURNS)
        ]
        assert not any(answer.trailers for answer in slot.answers)


async def test_async_handlers_on_one_loop_in_one_thread() -> None:
    barrier = asyncio.Barrier(MANY)
    seen = set()

    @streaming_handler
    async def handler(event: str, response: ResponseStream, context: LambdaContext) -> None:
        await response.write(event)
        await barrier.wait()
        seen.add((asyncio.get_running_loop(), threading.get_ident()))
        await response.write(" end")

    await streamed(handler)
    assert seen == {(asyncio.get_running_loop(), threading.get_ident())}


async def test_async_generators() -> None:
    barrier = asyncio.Barrier(MANY)

    async def generator(event: str, context: LambdaContext) -> AsyncIterator[str]:
        yield event
        await barrier.wait()
        yield " end"

    await streamed(as_handler(generator))


async def test_blocking_handlers_each_in_a_thread() -> None:
    barrier = Threads()

    @streaming_handler
    def handler(event: str, response: BlockingResponseStream, context: LambdaContext) -> None:
        response.write(event)
        barrier.meet()
        response.write(" end")

    await streamed(handler)
    assert len(barrier.seen) >= MANY
    assert threading.get_ident() not in barrier.seen


async def test_generators_each_in_a_thread() -> None:
    barrier = Threads()

    def generator(event: str, context: LambdaContext) -> Iterator[str]:
        yield event
        barrier.meet()
        yield " end"

    await streamed(as_handler(generator))


async def test_pipelines_whose_sources_block() -> None:
    barrier = Threads()

    class File:
        def __init__(self, *pieces: str) -> None:
            self._pieces = list(pieces)

        def read(self, size: int) -> str:
            if len(self._pieces) == 1:
                barrier.meet()
            return self._pieces.pop(0) if self._pieces else ""

    @streaming_handler
    async def handler(event: str, response: ResponseStream, context: LambdaContext) -> None:
        await pipeline(File(event, " end"), response)

    await streamed(handler)


@pytest.mark.parametrize("is_async", [True, False])
async def test_plain_functions(is_async: bool) -> None:
    meeting, threads = asyncio.Barrier(MANY), Threads()

    async def coroutine(event: str, context: LambdaContext) -> str:
        await meeting.wait()
        return event

    def plain(event: str, context: LambdaContext) -> str:
        threads.meet()
        return event

    slots = [Slot(*(f"{number}/{turn}" for turn in range(TURNS))) for number in range(MANY)]
    await serve_slots(as_handler(coroutine if is_async else plain), *slots)
    for number, slot in enumerate(slots):
        assert [answer.body for answer in slot.answers] == [f'"{number}/{turn}"'.encode() for turn in range(TURNS)]
