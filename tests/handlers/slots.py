"""Managed Instances in memory: as many Runtime API connections as there are slots, all served by one runtime."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.loop import Runtime
from tests.support.memory import connects_to
from tests.support.wire import FakeRuntimeApi

if TYPE_CHECKING:
    from asgi_stream.sinks import Handler
    from tests.support.wire import Received


class Slot(FakeRuntimeApi):
    """Leaves the poll open that comes after its last event: ``idle`` is set then."""

    def __init__(self, *events: object) -> None:
        super().__init__(*events)
        self.idle = asyncio.Event()

    def _answer(self, request: Received) -> None:
        if request.kind == "next" and not self._events:
            self.idle.set()
        else:
            super()._answer(request)


async def serve_slots(handler: Handler, *slots: Slot) -> None:
    """Serves until every slot has answered all of its events."""
    runtime = Runtime(handler, *(Connection("host:1", connects_to(slot)) for slot in slots), managed_instances=True)
    runtime._variables = await handler.startup()
    serving = asyncio.ensure_future(runtime.serve())
    waiting = asyncio.gather(*(slot.idle.wait() for slot in slots))
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    assert waiting.done(), "the runtime has given up"
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    await handler.shutdown()
