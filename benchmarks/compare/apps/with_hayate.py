"""The workloads as an app of hayate's, and its own loop over the Runtime API: a program."""

import asyncio
import time
from collections.abc import AsyncIterator

from hayate import Hayate, Response
from hayate.adapters.aws import run_lambda_streaming

from benchmarks.compare.apps.raw import LARGE, SMALL

app = Hayate()


@app.get("/hello")
async def hello(context):  # type: ignore[no-untyped-def]
    return context.json({"message": "Hello from the benchmark"})


@app.get("/:name/:count")
async def stream(context):  # type: ignore[no-untyped-def]
    name, count = context.req.param("name"), int(context.req.param("count"))

    async def messages() -> AsyncIterator[bytes]:
        message = LARGE if name == "bulk" else SMALL
        for _ in range(count):
            if name == "spaced":
                await asyncio.sleep(0.002)
                message = b"%-31d\n" % time.monotonic_ns()
            yield message

    return Response(messages(), headers={"content-type": "text/plain; charset=utf-8"})


if __name__ == "__main__":
    run_lambda_streaming(app)
