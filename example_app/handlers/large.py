"""A text that is in memory as a whole, and sent as fast as its reader takes it: `?megabytes=64`."""

from typing import Any

from asgi_stream import LambdaContext, ResponseStream, pipeline, streaming_handler

LINE = "All work and no play makes Jack a dull boy.\n"


@streaming_handler
async def handler(event: dict[str, Any], response: ResponseStream, context: LambdaContext) -> None:
    megabytes = int((event.get("queryStringParameters") or {}).get("megabytes", 8))
    source = LINE * (megabytes * 1_000_000 // len(LINE))
    response.http(200, {"content-type": "text/plain"})
    await pipeline(source, response)
