"""A bare ASGI app that shows its scope, and what it receives, key by key."""

from __future__ import annotations

import json

from tests.differential.harness import Client, gate

REQUIRES = ["uvicorn"]
TARGETS = ["local"]


def shown(value):
    """The scope as JSON: bytes as Latin-1, objects as their type."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {name: shown(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(each) for each in value]
    return value if isinstance(value, (str, int, float, type(None))) else type(value).__name__


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    received = []
    while not received or received[-1].get("more_body"):
        received.append(await receive())
    body = b"".join(message["body"] for message in received)
    result = shown({**scope, "received": [message["type"] for message in received[-1:]], "body": body})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(result).encode(), "more_body": True})
    await gate()
    await send({"type": "http.response.body"})
    disconnect = await receive()
    assert disconnect["type"] == "http.disconnect", disconnect


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            scope["state"]["started"] = True
            scope["state"]["shared"] = {"a": 1}
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def requests(client: Client) -> None:
    for path in (
        "/",
        "/a%20b/%C3%BC/%2F/%252F",
        "/ü/;a=b,c",
        "//double//",
        "/a?",
        "/q?a=1&a=2&b=%20+%2B&c",
        "/~(a)*'!$@",
    ):
        await show(client, "GET", path)
    odd = {"x-latin": "caf\xe9", "x-empty": "", "x-long": "a" * 5000, "X-Case": "b", "accept-language": "de, en;q=0.5"}
    await show(client, "GET", "/headers", headers=odd)
    await show(client, "GET", "/cookies", headers={"cookie": 'a=1; b="x y"; a=2;c'})
    for method in ("DELETE", "PATCH", "OPTIONS", "PROPFIND"):
        await show(client, method, "/method")
    await show(client, "POST", "/body", content=bytes(range(256)) * 400)
    await show(client, "PUT", "/text", content="ünïcode".encode(), headers={"content-type": "text/plain"})
    await show(client, "POST", "/empty", content=b"")


async def show(client: Client, method: str, path: str, **options) -> None:
    response = await client.request(method, path, sees=["}"], **options)
    seen = json.loads(response.text)
    headers: dict[str, list[str]] = {}
    for name, value in seen.pop("headers"):
        headers.setdefault(name, []).append(value)
    for name, value in seen.items():
        client.note(f"{method} {path}: scope[{name}]", value)
    for name, values in headers.items():
        client.note(f"{method} {path}: request header {name}", ", ".join(values))
    client.recording.responses.remove(response)  # in the notes, key by key
    client.note(f"{method} {path}: outcome", [response.status, response.ended, response.arrived])
