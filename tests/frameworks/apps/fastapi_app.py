from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import FastAPI, Form, Request
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.frameworks.apps.stage import Stage


def make(stage: Stage) -> FastAPI:
    app = FastAPI()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(stage.pieces(), media_type="text/plain")

    @app.get("/events", response_class=EventSourceResponse)
    @app.post("/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[ServerSentEvent]:
        async for piece in stage.endless():
            yield ServerSentEvent(raw_data=piece)

    @app.get("/export")
    async def export() -> StreamingResponse:
        return StreamingResponse(stage.endless(), media_type="text/csv")

    @app.get("/file")
    def file() -> FileResponse:
        return FileResponse(stage.file)

    @app.get("/redirect")
    async def redirect() -> RedirectResponse:
        return RedirectResponse("/target", 303)

    @app.post("/form")
    def form(field: Annotated[str, Form()]) -> PlainTextResponse:
        return PlainTextResponse(f"field={field}")

    @app.get("/error")
    def error() -> None:
        raise ValueError("boom")

    inner = FastAPI()

    @inner.get("/where")
    @app.get("/where")
    async def where(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.url.path} {request.url_for('where')}")

    @app.get("/folder/")
    async def folder() -> PlainTextResponse:
        return PlainTextResponse("folder")

    app.mount("/inner", inner)
    return app
