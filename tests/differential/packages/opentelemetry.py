"""OpenTelemetry's ASGI and FastAPI instrumentation: the same spans and the same parent."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.responses import PlainTextResponse

from tests.differential.harness import Client, gate

REQUIRES = [
    "opentelemetry-instrumentation-asgi",
    "opentelemetry-instrumentation-fastapi",
    "opentelemetry-sdk",
    "fastapi",
]
VOLATILE = [r'"parent":"(?!af7651916cd43dd8448eb211c80319c)[0-9a-f]+"']

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

inner = FastAPI()


@inner.get("/items/{name}")
async def item(name: str):
    with trace.get_tracer("app").start_as_current_span("work"):
        return {"name": name}


@inner.get("/stream")
async def stream():
    async def pieces():
        yield "one"
        await gate()
        yield "two"

    return StreamingResponse(pieces(), media_type="text/plain")


@inner.get("/error")
async def error():
    raise ValueError("boom")


FastAPIInstrumentor.instrument_app(inner)
plain = OpenTelemetryMiddleware(PlainTextResponse("plain"))


async def app(scope, receive, send):
    """FastAPI, and besides it an app below the middleware alone."""
    await (plain if scope["type"] == "http" and scope["path"] == "/plain" else inner)(scope, receive, send)


@inner.get("/spans")
async def spans():
    """The spans so far, which are then forgotten."""
    found = exporter.get_finished_spans()
    exporter.clear()
    return [
        {
            "name": span.name,
            "kind": span.kind.name,
            "status": span.status.status_code.name,
            "parent": span.parent and format(span.parent.trace_id, "x"),
            # Without the ports of sockets, of which a function has none.
            "attributes": {name: value for name, value in span.attributes.items() if not name.endswith("port")},
            "events": [event.name for event in span.events],
        }
        for span in found
    ]


TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


async def requests(client: Client) -> None:
    for path in ("/items/a%20b", "/error", "/plain"):
        await client.get(path, headers=TRACE)
        await client.get("/spans", label=f"the spans of {path}")
    await client.get("/stream", headers=TRACE, sees=["one"])
    await client.get("/spans", label="the spans of /stream")
