"""The workloads as a raw ASGI app."""

from __future__ import annotations

import asyncio
import time
from typing import Any

HELLO = b'{"message":"Hello from the benchmark"}'
SMALL = b"x" * 31 + b"\n"
LARGE = b"y" * 65_536
JSON = [(b"content-type", b"application/json")]
TEXT = [(b"content-type", b"text/plain; charset=utf-8")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return
    path = scope["path"]
    if path == "/hello":
        await send({"type": "http.response.start", "status": 200, "headers": JSON})
        await send({"type": "http.response.body", "body": HELLO})
        return
    await send({"type": "http.response.start", "status": 200, "headers": TEXT})
    name, _, count = path[1:].partition("/")
    message = LARGE if name == "bulk" else SMALL
    for _ in range(int(count)):
        if name == "spaced":
            await asyncio.sleep(0.002)
            message = b"%-31d\n" % time.monotonic_ns()
        await send({"type": "http.response.body", "body": message, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
