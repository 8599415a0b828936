"""starlette-csrf: a token in a cookie that unsafe requests have to repeat in a header."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette_csrf import CSRFMiddleware

from tests.differential.harness import Client, gate

REQUIRES = ["starlette-csrf", "python-multipart", "starlette"]
VOLATILE = [r"csrftoken=[\w.\-]+"]


async def index(request: Request):
    return JSONResponse(dict(await request.form()) if request.method == "POST" else {"hello": "world"})


async def stream(request: Request):
    body = await request.body()

    async def pieces():
        yield body
        await gate()
        yield b"two"

    return StreamingResponse(pieces(), media_type="text/plain")


app = Starlette(
    routes=[Route("/", index, methods=["GET", "POST"]), Route("/stream", stream, methods=["POST"])],
    middleware=[Middleware(CSRFMiddleware, secret="differential", sensitive_cookies={"session"})],
)


async def requests(client: Client) -> None:
    client.cookies["session"] = "1"
    await client.get("/")
    await client.post("/", data={"field": "a"}, label="without the token")
    token = {"x-csrftoken": client.cookies["csrftoken"]}
    await client.post("/", data={"field": "a"}, headers=token, label="with the token")
    await client.post("/stream", content=b"one", headers=token, sees=["one"])
    await client.post("/", data={"field": "a"}, headers={"x-csrftoken": "forged"}, label="with a forged token")
