"""Prometheus: its client's ASGI app, and the instrumentation of FastAPI and of Starlette."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from prometheus_client import CollectorRegistry, Counter, make_asgi_app
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.responses import FileResponse
from starlette_exporter import PrometheusMiddleware, handle_metrics

from tests.differential.harness import Client, gate

REQUIRES = ["prometheus-client", "prometheus-fastapi-instrumentator", "starlette-exporter", "fastapi"]
VOLATILE = [r"(?m:^\w+(?:_sum|_created|_seconds\w*|_bucket)(?:\{.*\})? .*$)", r"(?m:^(?:process|python)_.*$)"]

registry = CollectorRegistry()
visits = Counter("visits", "Visits", ["path"], registry=registry)
app = FastAPI()
app.add_middleware(PrometheusMiddleware, app_name="differential", group_paths=True)
Instrumentator().instrument(app).expose(app, endpoint="/metrics", should_gzip=True)
app.add_route("/exporter", handle_metrics)
app.mount("/mounted", make_asgi_app(registry))


@app.get("/items/{name}")
async def item(name: str):
    visits.labels(name).inc()
    return {"name": name}


@app.get("/stream")
async def stream():
    async def pieces():
        yield "one"
        await gate()
        yield "two"

    return StreamingResponse(pieces(), media_type="text/plain")


@app.get("/error")
async def error():
    raise ValueError("boom")


@app.get("/file")
async def file():
    return FileResponse("static/data.bin")


async def requests(client: Client) -> None:
    await client.get("/items/a%20b")
    await client.get("/stream", sees=["one"])
    await client.get("/error")
    await client.get("/file")
    await client.head("/file")
    for path in ("/metrics", "/exporter", "/mounted/"):
        await client.get(path)
        await client.get(path, headers={"accept-encoding": "gzip"}, label=f"{path} in gzip")
    await client.get("/mounted/?name[]=visits_total", label="one metric")
