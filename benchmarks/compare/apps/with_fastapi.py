"""The workloads as a FastAPI app."""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from benchmarks.compare.apps.raw import LARGE, SMALL

app = FastAPI()


@app.get("/hello")
async def hello() -> dict[str, str]:
    return {"message": "Hello from the benchmark"}


@app.get("/{name}/{count}")
async def stream(name: str, count: int) -> StreamingResponse:
    async def messages() -> AsyncIterator[bytes]:
        message = LARGE if name == "bulk" else SMALL
        for _ in range(count):
            if name == "spaced":
                await asyncio.sleep(0.002)
                message = b"%-31d\n" % time.monotonic_ns()
            yield message

    return StreamingResponse(messages(), media_type="text/plain")
