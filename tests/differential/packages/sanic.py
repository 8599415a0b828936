"""Sanic under ASGI: streamed responses, files, forms and cookies."""

from __future__ import annotations

import asyncio

from sanic import Sanic
from sanic.request import Request
from sanic.response import empty as empty_response
from sanic.response import file as file_response
from sanic.response import json, raw, redirect, text

from tests.differential.harness import Client, gate, standard

REQUIRES = ["sanic", "setuptools"]
TARGETS = ["local"]

app = Sanic("differential")
app.config.FALLBACK_ERROR_FORMAT = "json"
app.static("/static", "static", name="static")


@app.get("/")
async def index(request: Request):
    return text("hello")


@app.get("/items/<name:path>")
async def item(request: Request, name: str):
    return json({"name": name, "path": request.path, "q": request.args.getlist("q"), "query": request.query_string})


@app.get("/stream")
async def stream(request: Request):
    response = await request.respond(content_type="text/plain")
    await response.send("one")
    await gate()
    await response.send("two")
    await gate()
    await response.send("three")
    await response.eof()


@app.get("/forever")
async def forever(request: Request):
    response = await request.respond(content_type="text/event-stream")
    while True:
        await response.send("data: one\n\n")
        await asyncio.sleep(0.05)


@app.get("/error")
async def error(request: Request):
    raise ValueError("boom")


@app.get("/broken")
async def broken(request: Request):
    response = await request.respond(content_type="text/plain")
    await response.send("one")
    await gate()
    raise ValueError("boom")


@app.post("/form")
async def form(request: Request):
    return json(request.form)


@app.post("/upload")
async def upload(request: Request):
    file = request.files.get("file")
    return json({"name": file.name, "bytes": len(file.body)})


@app.post("/body")
async def body(request: Request):
    return raw(request.body)


@app.get("/file")
async def file(request: Request):
    return await file_response("static/data.bin", filename="data.bin")


@app.get("/empty")
async def empty(request: Request):
    return empty_response()


@app.get("/redirect")
async def redirects(request: Request):
    response = redirect("/items/a")
    response.add_cookie("first", "1")
    response.add_cookie("second", "2", max_age=60)
    return response


async def requests(client: Client) -> None:
    await standard(client)
    await client.get("/static/hello.txt")
    await client.get("/static/data.bin", headers={"range": "bytes=5-9"}, label="a range of a static file")


async def at_the_deadline(client: Client) -> None:
    await client.get("/forever", sees=["one"])
    await client.get("/")
