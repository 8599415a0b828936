"""The Flask app that both WSGI bridges run."""

from __future__ import annotations

from pathlib import Path

from flask import Flask, Response, flash, get_flashed_messages, jsonify, redirect, request, send_file, session

from tests.differential.harness import gate_sync

app = Flask(__name__, static_folder=None)
app.secret_key = "differential"


@app.get("/")
def index():
    return {"hello": "world"}


@app.get("/items/<path:name>")
def item(name: str):
    return jsonify(name=name, query=request.query_string.decode(), q=request.args.getlist("q"), url=request.url)


@app.get("/stream")
def stream():
    def pieces():
        yield b"one"
        gate_sync()
        yield b"two"
        gate_sync()
        yield b"three"

    return Response(pieces(), mimetype="text/plain")


@app.get("/error")
def error():
    raise ValueError("boom")


@app.get("/broken")
def broken():
    def pieces():
        yield b"one"
        gate_sync()
        raise ValueError("boom")

    return Response(pieces(), mimetype="text/plain")


@app.post("/form")
def form():
    return request.form.to_dict()


@app.post("/upload")
def upload():
    file = request.files["file"]
    return {"name": file.filename, "bytes": len(file.read())}


@app.post("/body")
def body():
    return Response(request.get_data(), mimetype="application/octet-stream")


@app.get("/file")
def file():
    return send_file(Path("static/data.bin").resolve(), conditional=True)


@app.get("/empty")
def empty():
    return "", 204


@app.get("/redirect")
def redirects():
    response = redirect("/items/a")
    response.set_cookie("first", "1")
    response.set_cookie("second", "2", max_age=60)
    return response


@app.get("/count")
def count():
    session["count"] = session.get("count", 0) + 1
    flash(f"visit {session['count']}")
    return {"count": session["count"], "flashed": get_flashed_messages()}
