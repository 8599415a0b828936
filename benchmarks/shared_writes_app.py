"""Bursts, and after each the app computes without a turn of the event loop: `/<kind>/<bursts>/<messages>`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any

from asgi_stream import StreamingAdapter

BUSY = 0.02  # seconds after each burst
DATA = bytes(4_000_000)


def compute(over: float) -> None:
    while time.monotonic() < over:
        pass


def hash_(over: float) -> None:
    """A call into C that gives the interpreter's lock away."""
    while time.monotonic() < over:
        hashlib.sha256(DATA)


def block(over: float) -> None:
    time.sleep(over - time.monotonic())


KINDS = {"compute": compute, "hash": hash_, "block": block}


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
            KINDS[kind](time.monotonic() + BUSY)
    await send({"type": "http.response.body", "body": b""})


handler = StreamingAdapter(app, lifespan="off")
