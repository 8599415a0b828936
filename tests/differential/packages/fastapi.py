"""FastAPI: dependencies, background tasks, its own event streams, forms and files, an error handler."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, File, Form, HTTPException, Request, Response, UploadFile
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from tests.differential.harness import Client, gate, standard

REQUIRES = ["fastapi", "python-multipart"]
TARGETS = ["local", "rest_api", "rest_api_buffered", "http_api", "alb"]

done: list[str] = []


class Item(BaseModel):
    name: str
    price: float


class Refused(Exception):
    pass


async def counted():
    yield len(done)
    done.append("dependency")


app = FastAPI()


@app.exception_handler(Refused)
async def refused(request: Request, error: Refused):
    return JSONResponse({"refused": str(error)}, 418)


@app.middleware("http")
async def guard(request: Request, call_next):
    if request.url.path.startswith("/admin"):
        return Response("forbidden", 403)
    response = await call_next(request)
    response.headers["x-path"] = request.url.path
    return response


@app.get("/")
async def index(count: Annotated[int, Depends(counted)]):
    return {"count": count}


@app.get("/items/{name:path}")
def item(request: Request, name: str, q: Annotated[list[str] | None, "repeated"] = None, empty: str = "none"):
    return {"name": name, "empty": empty, "url": str(request.url), "other": str(request.url_for("index"))}


@app.get("/admin/users")
async def users():
    return ["everyone"]


@app.post("/json")
async def json(item: Item):
    return item


@app.get("/stream")
async def stream():
    async def pieces():
        yield "one"
        await gate()
        yield "two"
        await gate()
        yield "three"

    return StreamingResponse(pieces(), media_type="text/plain")


@app.get("/events", response_class=EventSourceResponse)
async def events():
    yield Item(name="one", price=1.5)
    await gate()
    yield ServerSentEvent(data={"name": "two"}, event="change", id="2", retry=500)


@app.get("/forever", response_class=EventSourceResponse)
async def forever():
    yield "one"
    await asyncio.Event().wait()


@app.get("/forever/plain")
async def forever_plain():
    async def pieces():
        yield "data: one\n\n"
        await asyncio.Event().wait()

    return StreamingResponse(pieces(), media_type="text/event-stream")


@app.get("/error")
async def error():
    raise ValueError("boom")


@app.get("/refused")
async def refuse():
    raise Refused("no")


@app.get("/gone")
async def gone():
    raise HTTPException(410, "gone", headers={"x-reason": "age"})


@app.get("/broken")
async def broken():
    async def pieces():
        yield "one"
        await gate()
        raise ValueError("boom")

    return StreamingResponse(pieces(), media_type="text/plain")


@app.post("/form")
async def form(field: Annotated[str, Form()], other: Annotated[str, Form()] = "none"):
    return {"field": field, "other": other}


@app.post("/upload")
async def upload(file: Annotated[UploadFile, File()]):
    return {"name": file.filename, "bytes": len(await file.read())}


@app.post("/body")
async def body(request: Request):
    return Response(await request.body(), media_type="application/octet-stream")


@app.get("/file")
async def file():
    return FileResponse("static/data.bin", filename="dätä.bin")


@app.get("/empty", status_code=204)
async def empty():
    pass


@app.get("/task")
async def task(tasks: BackgroundTasks):
    tasks.add_task(done.append, "task")
    return {"done": len(done)}


@app.get("/redirect")
async def redirect():
    response = RedirectResponse("/items/a")
    response.set_cookie("first", "1")
    response.set_cookie("second", "2", httponly=True, max_age=60)
    return response


async def requests(client: Client) -> None:
    await standard(client)
    await client.get("/admin/users")
    await client.get("/admin%2Fusers")
    await client.post("/json", json={"name": "tea", "price": 2})
    await client.post("/json", json={"name": "tea"}, label="invalid JSON")
    await client.get("/events", sees=["one", "two"])
    await client.get("/refused")
    await client.get("/gone")
    await client.get("/task")
    await client.get("/task", label="after a background task")
    await client.get("/docs")
    await client.get("/openapi.json")
    await client.request("OPTIONS", "/")
    await client.request("DELETE", "/items/a")


async def at_the_deadline(client: Client) -> None:
    await client.get("/forever", sees=["one"])
    await client.get("/forever/plain", sees=["one"])
    await client.get("/gone")
