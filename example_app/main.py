"""A page that arrives part by part: one heading, a pause, the next."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, Query
from fastapi.responses import StreamingResponse

from asgi_stream import StreamingAdapter

app = FastAPI(title="asgi-stream example")

WORDS = ("Serverless", "Is", "Way", "More", "Mature")

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Streamed by AWS Lambda</title>
<style>
  body { font: 1.1rem/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 40rem; padding: 0 1rem; }
  h1 { border-left: 0.5rem solid #d45b07; margin: 0.5rem 0; padding-left: 1rem; }
</style>
</head>
<body>
"""

TAIL = """<p>Each heading was sent by the app, and shown by your browser, before the next one existed.</p>
</body>
</html>
"""


@app.get("/")
async def page(delay: Annotated[float, Query(ge=0, le=60)] = 1.0) -> StreamingResponse:
    """An HTML page of five headings, ``delay`` seconds apart."""

    async def parts() -> AsyncIterator[str]:
        yield HEAD
        for number, word in enumerate(WORDS):
            if number:
                await asyncio.sleep(delay)
            yield f"<h1>{word}</h1>\n"
        yield TAIL

    return StreamingResponse(parts(), media_type="text/html")


@app.get("/hello")
async def hello() -> dict[str, str]:
    """Plain JSON."""
    return {"message": "Hello from asgi-stream"}


handler = StreamingAdapter(app)
