"""FastHTML: pages made of Python, server-sent events, a session, forms and its static files."""

from __future__ import annotations

import asyncio

from fasthtml.common import (
    EventStream,
    FastHTML,
    Form,
    Hidden,
    Input,
    P,
    RedirectResponse,
    Response,
    StreamingResponse,
    Titled,
    UploadFile,
    sse_message,
)  # fmt: skip
from starlette.responses import FileResponse

from tests.differential.harness import Client, gate, standard

REQUIRES = ["python-fasthtml"]
VOLATILE = [r"session_=[\w.=\-]+"]

app = FastHTML(secret_key="differential", key_fname=None)
rt = app.route


@rt("/")
def index(session):
    session["count"] = session.get("count", 0) + 1
    return Titled(
        "Hello", P(f"Visit {session['count']}"), Form(Hidden(1, name="a"), Input(name="field"), method="post")
    )


@rt("/items/{name:path}")
def item(name: str, request, empty: str = "none"):
    return P(name, " ", empty, " ", str(request.url))


@rt("/stream")
async def stream():
    async def pieces():
        yield "one"
        await gate()
        yield "two"
        await gate()
        yield "three"

    return StreamingResponse(pieces(), media_type="text/plain")


@rt("/events")
async def events():
    async def pieces():
        yield sse_message(P("one"))
        await gate()
        yield sse_message(P("two"), event="change")

    return EventStream(pieces())


@rt("/forever")
async def forever():
    async def pieces():
        yield sse_message(P("one"))
        await asyncio.Event().wait()

    return EventStream(pieces())


@rt("/error")
def error():
    raise ValueError("boom")


@rt("/broken")
async def broken():
    async def pieces():
        yield "one"
        await gate()
        raise ValueError("boom")

    return StreamingResponse(pieces(), media_type="text/plain")


@rt("/form", methods=["POST"])
def form(field: str, other: str):
    return P(field, " ", other)


@rt("/upload", methods=["POST"])
async def upload(file: UploadFile):
    return P(file.filename, " ", len(await file.read()))


@rt("/body", methods=["POST"])
async def body(request):
    return Response(await request.body(), media_type="application/octet-stream")


@rt("/file")
def file():
    return FileResponse("static/data.bin")


@rt("/empty")
def empty():
    return Response(status_code=204)


@rt("/redirect")
def redirect():
    response = RedirectResponse("/items/a", status_code=303)
    response.set_cookie("first", "1")
    response.set_cookie("second", "2", max_age=60)
    return response


async def requests(client: Client) -> None:
    await standard(client)
    await client.get("/", label="again, with the session")
    await client.get("/", headers={"hx-request": "true"}, label="for htmx")
    await client.get("/events", sees=["one"])
    await client.get("/static/hello.txt")


async def at_the_deadline(client: Client) -> None:
    await client.get("/forever", sees=["one"])
    await client.get("/items/a")
