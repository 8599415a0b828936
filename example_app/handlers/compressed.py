"""Lines that are compressed one by one, each readable as soon as it was sent: `curl --compressed -N`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from asgi_stream import LambdaContext, ResponseStream, gzip_chunks, pipeline, streaming_handler


async def lines(delay: float) -> AsyncIterator[str]:
    for number in range(1, 6):
        yield f"line {number}\n"
        await asyncio.sleep(delay)


@streaming_handler
async def handler(event: dict[str, Any], response: ResponseStream, context: LambdaContext) -> None:
    delay = float((event.get("queryStringParameters") or {}).get("delay", 1))
    response.http(200, {"content-type": "text/plain", "content-encoding": "gzip"})
    await pipeline(lines(delay), gzip_chunks, response)
