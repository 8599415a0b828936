from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Quart, Response, redirect, request, send_file, url_for

if TYPE_CHECKING:
    from quart.typing import ResponseReturnValue

    from tests.frameworks.apps.stage import Stage


def make(stage: Stage) -> Quart:
    app = Quart(__name__)

    @app.get("/stream")
    async def stream() -> ResponseReturnValue:
        return Response(stage.pieces(), mimetype="text/plain")

    @app.route("/events", methods=["GET", "POST"])
    async def events() -> ResponseReturnValue:
        response = Response(stage.endless(), mimetype="text/event-stream")
        response.timeout = None
        return response

    @app.get("/export")
    async def export() -> ResponseReturnValue:
        return Response(stage.endless(), mimetype="text/csv")

    @app.get("/file")
    async def file() -> ResponseReturnValue:
        return await send_file(stage.file)

    @app.get("/redirect")
    async def away() -> ResponseReturnValue:
        return redirect("/target", 303)

    @app.post("/form")
    async def form() -> ResponseReturnValue:
        fields = await request.form
        return Response(f"field={fields['field']}", mimetype="text/plain")

    @app.get("/error")
    async def error() -> ResponseReturnValue:
        raise ValueError("boom")

    @app.get("/inner/where")
    @app.get("/where")
    async def where() -> ResponseReturnValue:
        return Response(f"{request.script_root}{request.path} {url_for('where', _external=True)}")

    @app.get("/folder/")
    async def folder() -> ResponseReturnValue:
        return Response("folder")

    return app
