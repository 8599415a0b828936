"""Falcon (its ASGI app): streams, server-sent events, media, multipart forms and a static route."""

from __future__ import annotations

import io
from pathlib import Path

import falcon
import falcon.asgi
from falcon.asgi import SSEvent

from tests.differential.harness import Client, gate, standard

REQUIRES = ["falcon"]
TARGETS = ["local", "rest_api", "rest_api_buffered", "http_api", "alb"]


class Index:
    async def on_get(self, req, resp):
        resp.text = "hello"


class Item:
    async def on_get(self, req, resp, name):
        resp.media = {"name": name, "path": req.path, "q": req.get_param_as_list("q"), "url": req.url}


async def pieces():
    yield b"one"
    await gate()
    yield b"two"
    await gate()
    yield b"three"


class Stream:
    async def on_get(self, req, resp):
        resp.content_type = "text/plain"
        resp.stream = pieces()


async def events():
    yield SSEvent(json={"name": "one"}, event="change", event_id="1")
    await gate()
    yield SSEvent(text="two")


class Events:
    async def on_get(self, req, resp):
        resp.sse = events()


async def broken_pieces():
    yield b"one"
    await gate()
    raise ValueError("boom")


class Broken:
    async def on_get(self, req, resp):
        resp.stream = broken_pieces()


class Error:
    async def on_get(self, req, resp):
        raise ValueError("boom")


class Refused:
    async def on_get(self, req, resp):
        raise falcon.HTTPUnauthorized(title="No", challenges=["Basic", "Bearer"])


class Form:
    async def on_post(self, req, resp):
        resp.media = await req.get_media()


class Upload:
    async def on_post(self, req, resp):
        resp.media = [
            {"name": part.filename, "bytes": len(await part.stream.read())} async for part in await req.get_media()
        ]


class Body:
    async def on_post(self, req, resp):
        resp.content_type = "application/octet-stream"
        resp.data = await req.stream.read()


class File:
    async def on_get(self, req, resp):
        resp.set_stream(io.BytesIO(Path("static/data.bin").read_bytes()), 300_000)


class Empty:
    async def on_get(self, req, resp):
        resp.status = falcon.HTTP_204


class Redirect:
    async def on_get(self, req, resp):
        resp.set_cookie("first", "1")
        resp.set_cookie("second", "2", max_age=60)
        raise falcon.HTTPSeeOther("/items/a")


app = falcon.asgi.App()
app.add_route("/", Index())
app.add_route("/items/{name}", Item())
app.add_route("/stream", Stream())
app.add_route("/events", Events())
app.add_route("/broken", Broken())
app.add_route("/error", Error())
app.add_route("/refused", Refused())
app.add_route("/form", Form())
app.add_route("/upload", Upload())
app.add_route("/body", Body())
app.add_route("/file", File())
app.add_route("/empty", Empty())
app.add_route("/redirect", Redirect())
app.add_static_route("/static", Path("static").resolve())


async def requests(client: Client) -> None:
    await standard(client)
    await client.get("/events", sees=["one"])
    await client.get("/refused")
    await client.get("/static/hello.txt")
    await client.get("/static/data.bin", headers={"range": "bytes=5-9"}, label="a range of a static file")
