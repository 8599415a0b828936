"""What an access record costs: CPU time of an invocation without and with one, in turns, the app and the sink empty.

python -m benchmarks.access_log
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from asgi_stream import StreamingAdapter
from asgi_stream.sinks import Sink
from tests.support.events import function_url_event

if TYPE_CHECKING:
    from asgi_stream.sinks import Buffer

ROUNDS = 15
FORMS: tuple[Any, ...] = ("off", "json", "emf")
EVENT = function_url_event()


class Nowhere(Sink):
    """Takes all at once."""

    async def _start(self, prelude: bytes) -> None:
        pass

    def put(self, data: Buffer) -> None:
        return None

    async def _end(self, data: Buffer) -> None:
        pass


class Context:
    aws_request_id = "id"
    trace_id = None


def app_of(messages: int) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for _ in range(messages):
            await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
        await send({"type": "http.response.body"})

    return app


async def cpu_time(adapter: StreamingAdapter, invocations: int) -> float:
    """Microseconds of an invocation."""
    began = time.process_time()
    for _ in range(invocations):
        await adapter.invoke(EVENT, Context(), Nowhere())
    return (time.process_time() - began) / invocations * 1e6


async def main() -> None:
    table, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115, ASYNC230 - where the records go
    for messages, invocations in ((1, 2000), (1000, 20)):
        adapters = {form: StreamingAdapter(app_of(messages), lifespan="off", access_log=form) for form in FORMS}
        figures: dict[str, list[float]] = {form: [] for form in FORMS}
        for _ in range(ROUNDS):
            for form, adapter in adapters.items():
                figures[form].append(await cpu_time(adapter, invocations))
        medians = "  ".join(f"{form} {statistics.median(values):.1f} µs" for form, values in figures.items())
        table.write(f"{messages} messages: {medians}\n")


if __name__ == "__main__":
    asyncio.run(main())
