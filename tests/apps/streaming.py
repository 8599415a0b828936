"""Two functions that send one message and wait at a gate before the next: raw ASGI, and FastAPI."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from asgi_stream import StreamingAdapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MESSAGES = (b"one", b"two", b"three")


async def opened(gate: str) -> None:
    """Waits until the test has opened the FIFO to write, and closed it."""
    await asyncio.to_thread(Path(gate).read_bytes)


async def raw_app(scope: Any, receive: Any, send: Any) -> None:
    gate = parse_qs(scope["query_string"].decode())["gate"][0]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for message in MESSAGES:
        await send({"type": "http.response.body", "body": message, "more_body": True})
        await opened(gate)
    await send({"type": "http.response.body"})


async def endless_app(scope: Any, receive: Any, send: Any) -> None:
    """As fast as ``send`` lets it: 48 MiB."""
    headers = [(b"x-pid", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(768):
        await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
    await send({"type": "http.response.body"})


fastapi_app = FastAPI()


@fastapi_app.get("/")
async def stream(gate: str) -> StreamingResponse:
    async def messages() -> AsyncIterator[bytes]:
        for message in MESSAGES:
            yield message
            await opened(gate)

    return StreamingResponse(messages(), media_type="text/plain")


raw = StreamingAdapter(raw_app, lifespan="off")
endless = StreamingAdapter(endless_app, lifespan="off")
fastapi = StreamingAdapter(fastapi_app)
