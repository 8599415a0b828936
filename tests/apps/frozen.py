"""A function that is frozen between its invocations, and says afterwards what it knows of the time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from asgi_stream import StreamingAdapter

behind: set[asyncio.Task[None]] = set()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shutdown", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    told = asyncio.ensure_future(receive())
    match scope["path"]:
        case "/leaves-a-timer":
            behind.add(asyncio.ensure_future(fire()))
        case "/until-told":
            await told
        case _:
            # Timers that ran out during the freeze are due in the first turn of the loop.
            for _ in range(10):
                await asyncio.sleep(0)
    answer = {"told": told.done(), "left": scope["aws.context"].get_remaining_time_in_millis()}
    told.cancel()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


async def fire() -> None:
    await asyncio.sleep(1)
    print("fired", flush=True)


handler = StreamingAdapter(app)
