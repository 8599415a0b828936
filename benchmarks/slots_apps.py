"""The functions of `slots_memory`: apps that send a chunk and keep their response open until the process gets SIGUSR1.

Both say `open` on stdout when they wait, for a runtime that cannot stream shows its caller nothing before the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

from asgi_stream import StreamingAdapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIRST, SECOND = b"the first chunk", b"the second chunk"

_release = asyncio.Event()


async def _released() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _release.set)
    os.write(1, b"open\n")  # in one write, for the processes of AWS's client share the pipe
    await _release.wait()


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": FIRST, "more_body": True})
    await _released()
    await send({"type": "http.response.body", "body": SECOND})


def _fastapi_app() -> Any:
    # Here, so that the raw app's process does not hold it.
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    async def chunks() -> AsyncIterator[bytes]:
        yield FIRST
        await _released()
        yield SECOND

    async def stream() -> StreamingResponse:
        return StreamingResponse(chunks(), media_type="text/plain")

    fastapi = FastAPI()
    fastapi.get("/")(stream)
    return fastapi


raw = StreamingAdapter(app, lifespan="off")


def __getattr__(name: str) -> StreamingAdapter:
    if name != "fastapi":
        raise AttributeError(name)
    globals()[name] = handler = StreamingAdapter(_fastapi_app(), lifespan="off")
    return handler
