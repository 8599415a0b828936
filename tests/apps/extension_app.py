"""Functions that have something to do at shutdown, and one that has not."""

from __future__ import annotations

import asyncio
from typing import Any

from asgi_stream import StreamingAdapter
from asgi_stream.runtime import extension
from tests import apps


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shutdown", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"hello"})


async def without_lifespan(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await app(scope, receive, send)


async def never_shuts_down(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        extension.SHUTDOWN_LIMIT = apps.SHUTDOWN_LIMIT
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await asyncio.Event().wait()
        finally:
            print("cancelled", flush=True)
    await app(scope, receive, send)


handler = StreamingAdapter(app)
bare = StreamingAdapter(without_lifespan)
stuck = StreamingAdapter(never_shuts_down)
