from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from litestar import Litestar, Request, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import File, Redirect, Stream

if TYPE_CHECKING:
    from tests.frameworks.apps.stage import Stage


def make(stage: Stage) -> Litestar:
    @get("/stream")
    async def stream() -> Stream:
        return Stream(stage.pieces(), media_type="text/plain")

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

    return Litestar([stream, file, redirect, form, error, where])
