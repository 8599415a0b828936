"""Quart: async generators, files, forms, a session and flashed messages."""

from __future__ import annotations

from quart import Quart, Response, flash, get_flashed_messages, jsonify, redirect, request, send_file, session

from tests.differential.harness import Client, gate, standard

REQUIRES = ["quart"]
TARGETS = ["local"]
VOLATILE = [r"session=[\w.\-]+", r"0x[0-9a-f]{8,}"]

app = Quart(__name__, static_folder=None)
app.secret_key = "differential"


@app.get("/")
async def index():
    return {"hello": "world"}


@app.get("/items/<path:name>")
async def item(name: str):
    return jsonify(name=name, query=request.query_string.decode(), q=request.args.getlist("q"), url=request.url)


@app.get("/stream")
async def stream():
    async def pieces():
        yield b"one"
        await gate()
        yield b"two"
        await gate()
        yield b"three"

    return Response(pieces(), mimetype="text/plain")


@app.get("/error")
async def error():
    raise ValueError("boom")


@app.get("/broken")
async def broken():
    async def pieces():
        yield b"one"
        await gate()
        raise ValueError("boom")

    return Response(pieces(), mimetype="text/plain")


@app.post("/form")
async def form():
    return dict(await request.form)


@app.post("/upload")
async def upload():
    file = (await request.files)["file"]
    return {"name": file.filename, "bytes": len(file.read())}


@app.post("/body")
async def body():
    return Response(await request.get_data(), mimetype="application/octet-stream")


@app.get("/file")
async def file():
    return await send_file("static/data.bin", conditional=True)


@app.get("/empty")
async def empty():
    return "", 204


@app.get("/redirect")
async def redirects():
    response = redirect("/items/a")
    response.set_cookie("first", "1")
    response.set_cookie("second", "2", max_age=60)
    return response


@app.get("/count")
async def count():
    session["count"] = session.get("count", 0) + 1
    await flash(f"visit {session['count']}")
    return {"count": session["count"], "flashed": get_flashed_messages()}


async def requests(client: Client) -> None:
    await standard(client)
    await client.get("/items/a/b?x=%20+%2B", label="a space as %20 and as +")
    await client.get("/count")
    await client.get("/count", label="again, with the session")
