"""Sentry's SDK with FastAPI: the same events and transactions reach its transport."""

from __future__ import annotations

import sentry_sdk
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from sentry_sdk.integrations.fastapi import FastApiIntegration
from sentry_sdk.integrations.starlette import StarletteIntegration
from sentry_sdk.transport import Transport

from tests.differential.harness import Client, gate

REQUIRES = ["sentry-sdk", "fastapi"]
TARGETS = ["local"]

sent: list[dict] = []


class Kept(Transport):
    """Keeps what would be sent."""

    def capture_envelope(self, envelope):
        sent.extend(item.payload.json for item in envelope.items if item.type in ("event", "transaction"))


sentry_sdk.init(
    "http://key@127.0.0.1/1",
    transport=Kept,
    traces_sample_rate=1.0,
    send_default_pii=True,
    auto_session_tracking=False,
    # By name: the automatic ones import every package here that Sentry knows.
    auto_enabling_integrations=False,
    integrations=[StarletteIntegration(), FastApiIntegration()],
)
inner = FastAPI()


@inner.get("/items/{name}")
async def item(name: str):
    sentry_sdk.set_tag("item", name)
    return {"name": name}


@inner.get("/error")
async def error():
    raise ValueError("boom")


@inner.get("/stream")
async def stream():
    async def pieces():
        yield "one"
        await gate()
        yield "two"

    return StreamingResponse(pieces(), media_type="text/plain")


@inner.get("/broken")
async def broken():
    async def pieces():
        yield "one"
        await gate()
        raise ValueError("boom")

    return StreamingResponse(pieces(), media_type="text/plain")


@inner.get("/sent")
async def events():
    """What has been sent so far."""
    shown = [
        {
            "type": event.get("type", "event"),
            "transaction": event.get("transaction"),
            "url": event.get("request", {}).get("url"),
            "query": event.get("request", {}).get("query_string"),
            "errors": [value["type"] for value in event.get("exception", {}).get("values", [])],
            "handled": [value["mechanism"]["handled"] for value in event.get("exception", {}).get("values", [])],
            "status": event.get("contexts", {}).get("trace", {}).get("status"),
            "tags": event.get("tags"),
        }
        for event in sent
    ]
    sent.clear()
    return shown


app = SentryAsgiMiddleware(inner)


async def requests(client: Client) -> None:
    for path in ("/items/a%20b?x=1", "/error", "/nothing-here"):
        await client.get(path)
        await client.get("/sent", label=f"the events of {path}")
    for path in ("/stream", "/broken"):
        await client.get(path, sees=["one"])
        await client.get("/sent", label=f"the events of {path}")
