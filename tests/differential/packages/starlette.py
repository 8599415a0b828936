"""Starlette: the routes that all frameworks here have, and its files by a relative path."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.differential.harness import Client, gate, standard

REQUIRES = ["starlette", "python-multipart", "itsdangerous"]
TARGETS = ["local", "rest_api", "rest_api_buffered", "http_api", "alb"]


async def index(request: Request) -> Response:
    return PlainTextResponse("hello", headers={"x-name": "ünïcode"})


async def of_a_server(request: Request) -> Response:
    """Headers that servers write too, or gateways rename."""
    own = {"date": "Sun, 06 Nov 1994 08:49:37 GMT", "server": "mine", "www-authenticate": "Basic"}
    return PlainTextResponse("sized", 401, headers=own)


async def sized(request: Request) -> Response:
    return StreamingResponse(pieces(), headers={"content-length": "11"}, media_type="text/plain")


async def item(request: Request) -> Response:
    return JSONResponse(
        {
            "name": request.path_params["name"],
            "path": request.scope["path"],
            "query": request.url.query,
            "q": request.query_params.getlist("q"),
            "url": str(request.url),
            "client": request.client and request.client.host,
        }
    )


async def pieces():
    yield b"one"
    await gate()
    yield b"two"
    await gate()
    yield b"three"


async def stream(request: Request) -> Response:
    return StreamingResponse(pieces(), media_type="text/plain")


async def error(request: Request) -> Response:
    raise ValueError("boom")


async def broken_pieces():
    yield b"one"
    await gate()
    raise ValueError("boom")


async def broken(request: Request) -> Response:
    return StreamingResponse(broken_pieces(), media_type="text/plain")


async def form(request: Request) -> Response:
    return JSONResponse(dict(await request.form()))


async def upload(request: Request) -> Response:
    file = (await request.form())["file"]
    return JSONResponse({"name": file.filename, "bytes": len(await file.read())})


async def body(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")


async def redirect(request: Request) -> Response:
    response = RedirectResponse("/items/a", status_code=303)
    response.set_cookie("first", "1", path="/", httponly=True)
    response.set_cookie("second", "2", max_age=60)
    return response


async def relative(request: Request) -> Response:
    return FileResponse("static/hello.txt")


app = Starlette(
    routes=[
        Route("/", index),
        Route("/of-a-server", of_a_server),
        Route("/sized", sized),
        Route("/items/{name}", item),
        Route("/stream", stream),
        Route("/error", error),
        Route("/broken", broken),
        Route("/form", form, methods=["POST"]),
        Route("/upload", upload, methods=["POST"]),
        Route("/body", body, methods=["POST"]),
        Route("/file", lambda request: FileResponse("static/data.bin")),
        Route("/relative", relative),
        Route("/redirect", redirect),
        Route("/empty", lambda request: Response(status_code=204)),
        Mount("/static", StaticFiles(directory="static")),
    ]
)


async def requests(client: Client) -> None:
    await standard(client)
    await client.get("/of-a-server")
    await client.get("/sized", sees=["one", "two"], label="a stream with a length")
    await client.get("/relative")
    page = await client.get("/static/app.js")
    await client.get("/static/app.js", headers={"if-none-match": page.header("etag") or ""}, label="not modified")
    await client.get("/static/../secret")
    await client.get("/static")
