from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from tests.frameworks.apps.stage import Stage


def make(stage: Stage) -> Starlette:
    async def stream(request: Request) -> Response:
        return StreamingResponse(stage.pieces(), media_type="text/plain")

    async def events(request: Request) -> Response:
        return StreamingResponse(stage.endless(), media_type="text/event-stream")

    async def export(request: Request) -> Response:
        return StreamingResponse(stage.endless(), media_type="text/csv")

    async def file(request: Request) -> Response:
        return FileResponse(stage.file)

    async def redirect(request: Request) -> Response:
        return RedirectResponse("/target", 303)

    async def form(request: Request) -> Response:
        async with request.form() as fields:
            return PlainTextResponse(f"field={fields['field']}")

    async def error(request: Request) -> Response:
        raise ValueError("boom")

    async def where(request: Request) -> Response:
        return PlainTextResponse(f"{request.url.path} {request.url_for('where')}")

    async def folder(request: Request) -> Response:
        return PlainTextResponse("folder")

    return Starlette(
        routes=[
            Route("/stream", stream),
            Route("/events", events, methods=["GET", "POST"]),
            Route("/export", export),
            Route("/file", file),
            Route("/redirect", redirect),
            Route("/form", form, methods=["POST"]),
            Route("/error", error),
            Mount("/inner", routes=[Route("/where", where)], name="inner"),
            Route("/where", where),
            Route("/folder/", folder),
        ]
    )
