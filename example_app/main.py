"""The example's app and its handler. The start page arrives part by part: one heading, a pause, the next."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse

from asgi_stream import StreamingAdapter
from example_app import chat, files, live, rendering
from example_app.pages import page

app = FastAPI(title="asgi-stream example")
for use in (chat, files, rendering, live):
    app.include_router(use.router)


@app.exception_handler(RequestValidationError)
async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
    """What is wrong, and where. FastAPI's own answer repeats the input, and fails if that is NaN: JSON has none."""
    return JSONResponse({"detail": [{"loc": found["loc"], "msg": found["msg"]} for found in error.errors()]}, 422)


WORDS = ("Serverless", "Is", "Way", "More", "Mature")


@app.get("/")
async def start(delay: Annotated[float, Query(ge=0, le=60)] = 1.0) -> StreamingResponse:
    """The start page; its headings come ``delay`` seconds apart."""

    async def words() -> AsyncIterator[str]:
        for number, word in enumerate(WORDS):
            if number:
                await asyncio.sleep(delay)
            yield word

    return page("start.html", words=words())


@app.get("/hello")
async def hello() -> dict[str, str]:
    """Plain JSON."""
    return {"message": "Hello from asgi-stream"}


handler = StreamingAdapter(app)
