"""A function that calls its adapters, as people who come from Mangum write it."""

from __future__ import annotations

import os
from typing import Any

from asgi_stream import StreamingAdapter


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        if os.environ.get("FAILS"):
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        print("startup")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["path"].encode(), "more_body": True})
    if scope["path"] == "/fails":
        raise ValueError("boom")
    await send({"type": "http.response.body"})


public = StreamingAdapter(app)
admin = StreamingAdapter(app)


def handler(event: Any, context: Any) -> Any:
    return (admin if event["rawPath"].startswith("/admin") else public)(event, context)
