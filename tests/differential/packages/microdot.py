"""Microdot's ASGI app: streams, server-sent events, files, forms and cookies."""

from __future__ import annotations

from microdot.asgi import Microdot, Response, redirect, send_file
from microdot.multipart import with_form_data
from microdot.sse import with_sse

from tests.differential.harness import Client, gate, standard

REQUIRES = ["microdot"]

app = Microdot()


@app.get("/")
async def index(request):
    return "hello"


@app.get("/items/<path:name>")
async def item(request, name):
    return {"name": name, "path": request.path, "q": request.args.getlist("q"), "url": request.url}


@app.get("/stream")
async def stream(request):
    async def pieces():
        yield "one"
        await gate()
        yield "two"
        await gate()
        yield "three"

    return pieces(), {"content-type": "text/plain"}


@app.get("/events")
@with_sse
async def events(request, sse):
    await sse.send({"name": "one"})
    await gate()
    await sse.send("two", event="change")


@app.get("/error")
async def error(request):
    raise ValueError("boom")


@app.get("/broken")
async def broken(request):
    async def pieces():
        yield "one"
        await gate()
        raise ValueError("boom")

    return pieces(), {"content-type": "text/plain"}


@app.post("/form")
async def form(request):
    return dict(request.form)


@app.post("/upload")
@with_form_data
async def upload(request):
    file = request.files["file"]
    return {"name": file.filename, "bytes": len(await file.read())}


@app.post("/body")
async def body(request):
    return request.body, {"content-type": "application/octet-stream"}


@app.get("/file")
async def file(request):
    return send_file("static/data.bin", content_type="application/octet-stream")


@app.get("/empty")
async def empty(request):
    return Response(status_code=204)


@app.get("/redirect")
async def redirects(request):
    response = redirect("/items/a")
    response.set_cookie("first", "1")
    response.set_cookie("second", "2", max_age=60)
    return response


async def requests(client: Client) -> None:
    await standard(client)
    await client.get("/events", sees=["one"])
