from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from litestar import HttpMethod, Litestar, Request, get, post, route
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import File, Redirect, ServerSentEvent, Stream

if TYPE_CHECKING:
    from tests.frameworks.apps.stage import Stage


def make(stage: Stage) -> Litestar:
    @get("/stream")
    async def stream() -> Stream:
        return Stream(stage.pieces(), media_type="text/plain")

    @route("/events", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def events() -> ServerSentEvent:
        return ServerSentEvent(stage.endless())

    @get("/export")
    async def export() -> Stream:
        return Stream(stage.endless(), media_type="text/csv")

    @get("/file")
    async def file() -> File:
        return File(stage.file, media_type="image/png")

    @get("/redirect", status_code=303)
    async def redirect() -> Redirect:
        return Redirect("/target", status_code=303)

    @post("/form", media_type="text/plain", status_code=200)
    async def form(data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]) -> str:
        return f"field={data['field']}"

    @get("/error")
    async def error() -> None:
        raise ValueError("boom")

    @get(["/where", "/inner/where"], name="where", media_type="text/plain", sync_to_thread=False)
    def where(request: Request[Any, Any, Any]) -> str:
        return f"{request.url.path} {request.url_for('where')}"

    return Litestar([stream, events, export, file, redirect, form, error, where])
