"""A page that is written piece by piece, a pause before each heading: `?delay=0.2` makes it 0.2 seconds."""

import asyncio
from typing import Any

from asgi_stream import LambdaContext, ResponseStream, streaming_handler


@streaming_handler
async def handler(event: dict[str, Any], response: ResponseStream, context: LambdaContext) -> None:
    delay = float((event.get("queryStringParameters") or {}).get("delay", 1))
    response.http(200, {"content-type": "text/html; charset=utf-8", "x-custom-header": "some-value"})
    await response.write("<!doctype html>\n<title>Streaming</title>\n")
    for number in range(1, 6):
        await response.write(f"<h{number}>Heading {number}</h{number}>\n")
        await asyncio.sleep(delay)
    await response.end("<p>That is all.\n")
