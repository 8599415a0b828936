"""Bursts, and after each the app awaits a pause or computes without an await: `/<kind>/<bursts>/<messages>`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from asgi_stream import StreamingAdapter

BUSY = 0.02  # seconds after each burst


async def app(scope: Any, receive: Any, send: Any) -> None:
    kind, bursts, messages = scope["path"].strip("/").split("/")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for _ in range(int(bursts)):
        for _ in range(int(messages)):
            message = b"%-31d\n" % time.monotonic_ns()
            await send({"type": "http.response.body", "body": message, "more_body": True})
        if kind == "await":
            await asyncio.sleep(BUSY)
        else:
            over = time.monotonic() + BUSY
            while time.monotonic() < over:
                pass
    await send({"type": "http.response.body", "body": b""})


handler = StreamingAdapter(app, lifespan="off")
