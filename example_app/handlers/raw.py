"""A stream without HTTP metadata, of a content type alone; who has no URL for it calls `InvokeWithResponseStream`."""

import asyncio
from typing import Any

from asgi_stream import LambdaContext, ResponseStream, streaming_handler


@streaming_handler(content_type="text/plain")
async def handler(event: dict[str, Any], response: ResponseStream, context: LambdaContext) -> None:
    delay = float((event.get("queryStringParameters") or {}).get("delay", 1))
    for word in ("Bytes", "without", "status", "and", "headers"):
        await response.write(f"{word}\n")
        await asyncio.sleep(delay)
