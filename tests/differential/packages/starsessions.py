"""starsessions: sessions that are kept on the server, loaded and regenerated."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.routing import Route
from starsessions import InMemoryStore, SessionAutoloadMiddleware, SessionMiddleware
from starsessions.session import regenerate_session_id

from tests.differential.harness import Client, gate

REQUIRES = ["starsessions", "starlette"]
VOLATILE = [r"session=[0-9a-f]{20,}", r"max-age=\d+", r"'(created|last_access)': [\d.]+"]


async def count(request: Request):
    request.session["count"] = request.session.get("count", 0) + 1
    return JSONResponse(request.session)


async def login(request: Request):
    regenerate_session_id(request)
    request.session["user"] = "ü"
    response = RedirectResponse("/", 303)
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


async def stream(request: Request):
    async def pieces():
        yield f"one {request.session}"
        await gate()
        yield "two"

    return StreamingResponse(pieces(), media_type="text/plain")


async def logout(request: Request):
    request.session.clear()
    return JSONResponse({})


app = Starlette(
    routes=[Route("/", count), Route("/login", login), Route("/stream", stream), Route("/logout", logout)],
    middleware=[
        Middleware(SessionMiddleware, store=InMemoryStore(), lifetime=3600, cookie_https_only=False),
        Middleware(SessionAutoloadMiddleware),
    ],
)


async def requests(client: Client) -> None:
    await client.get("/")
    await client.get("/login")
    await client.get("/", label="again, with the session")
    await client.get("/stream", sees=["one"])
    await client.get("/logout")
    await client.get("/", label="after the logout")
