"""Starlette's SessionMiddleware: a session that is made, read, kept during a stream and cleared."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, StreamingResponse
from starlette.routing import Route

from tests.differential.harness import Client, gate

REQUIRES = ["starlette", "itsdangerous"]
VOLATILE = [r"session=[\w=.\-]{20,}"]


async def count(request: Request):
    request.session["count"] = request.session.get("count", 0) + 1
    return JSONResponse(request.session)


async def stream(request: Request):
    request.session["streamed"] = "ü"

    async def pieces():
        yield "one"
        await gate()
        yield f"two {request.session}"

    return StreamingResponse(pieces(), media_type="text/plain")


async def file(request: Request):
    request.session["file"] = True
    return FileResponse("static/hello.txt")


async def clear(request: Request):
    request.session.clear()
    response = RedirectResponse("/", 303)
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


app = Starlette(
    routes=[Route("/", count), Route("/stream", stream), Route("/file", file), Route("/clear", clear)],
    middleware=[Middleware(SessionMiddleware, secret_key="differential", https_only=False)],
)


async def requests(client: Client) -> None:
    await client.get("/")
    await client.get("/", label="again, with the session")
    await client.get("/stream", sees=["one"])
    await client.get("/file")
    await client.get("/clear")
    await client.get("/", headers={"cookie": "session=broken; other=1"}, label="a broken session")
