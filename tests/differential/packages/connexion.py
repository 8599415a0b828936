"""Connexion: routes, validation and the Swagger UI from an OpenAPI document."""

from __future__ import annotations

from typing import Any

from connexion import AsyncApp, request
from starlette.responses import RedirectResponse, StreamingResponse

from tests.differential.harness import Client, gate

REQUIRES = ["connexion[swagger-ui]", "uvicorn"]


def index() -> dict[str, str]:
    return {"hello": "world"}


async def item(name: str, q: list[str]) -> dict[str, Any]:
    return {"name": name, "q": q, "url": str(request.url)}


async def pieces():
    yield b"one"
    await gate()
    yield b"two"


async def stream():
    return StreamingResponse(pieces(), media_type="text/plain")


async def error() -> None:
    raise ValueError("boom")


async def form(body: dict[str, Any]) -> dict[str, Any]:
    return body


async def upload(file: Any) -> dict[str, Any]:
    return {"name": file.filename, "bytes": len(await file.read())}


async def redirect() -> RedirectResponse:
    response = RedirectResponse("/", 302)
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


def operation(name: str, **more: Any) -> dict[str, Any]:
    return {"operationId": f"{__name__}.{name}", "responses": {"200": {"description": "ok"}}, **more}


def body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {media_type: {"schema": {"type": "object", **schema}}}}


TEXT = {"type": "string"}
ITEM = [
    {"name": "name", "in": "path", "required": True, "schema": TEXT},
    {"name": "q", "in": "query", "required": True, "schema": {"type": "array", "items": TEXT}},
]
FORM = body("application/x-www-form-urlencoded", {"required": ["field"], "properties": {"field": TEXT, "other": TEXT}})
FILE = body("multipart/form-data", {"properties": {"file": {"type": "string", "format": "binary"}}})

SPECIFICATION = {
    "openapi": "3.0.0",
    "info": {"title": "Differential", "version": "1"},
    "paths": {
        "/": {"get": operation("index")},
        "/items/{name}": {"get": operation("item", parameters=ITEM)},
        "/stream": {"get": operation("stream")},
        "/error": {"get": operation("error")},
        "/form": {"post": operation("form", requestBody=FORM)},
        "/upload": {"post": operation("upload", requestBody=FILE)},
        "/redirect": {"get": operation("redirect")},
    },
}

app = AsyncApp(__name__)
app.add_api(SPECIFICATION, pythonic_params=True)


async def requests(client: Client) -> None:
    await client.get("/")
    await client.head("/")
    await client.get("/items/a%20b%2520c?q=1,2")
    await client.get("/items/a", label="a parameter is missing")
    await client.get("/stream", sees=["one"])
    await client.get("/error")
    await client.post("/form", data={"field": "a+b & ü", "other": ""})
    await client.post("/form", data={"other": ""}, label="a field is missing")
    await client.post("/upload", files={"file": ("a.bin", bytes(2000), "application/octet-stream")})
    await client.get("/redirect")
    await client.get("/openapi.json")
    await client.get("/ui/")
    await client.get("/ui/swagger-ui.css")
