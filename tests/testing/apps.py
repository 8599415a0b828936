"""Small ASGI apps, and what tests write often."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    App = Callable[[Any, Any, Any], Awaitable[None]]

URL = "https://testserver"


async def start(send: Any, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def body(send: Any, data: bytes = b"", *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


def answers(status: int = 200, headers: Sequence[tuple[bytes, bytes]] = (), data: bytes = b"hello") -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await start(send, status, headers)
        await body(send, data)

    return app


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the request as it sees it, in JSON."""
    assert scope["type"] == "http"
    request = {
        "method": scope["method"],
        "path": scope["path"],
        "root_path": scope["root_path"],
        "query": scope["query_string"].decode(),
        "scheme": scope["scheme"],
        "headers": {name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
        "body": (await receive())["body"].decode("latin-1"),
    }
    await start(send, 200, [(b"content-type", b"application/json")])
    await body(send, json.dumps(request).encode())


class Steps:
    """An app that sends a piece, then waits for the test before the next. Good for one request."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.go = asyncio.Semaphore(0)
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await start(send)
        for piece in self.pieces:
            await body(send, piece, more=True)
            await self.go.acquire()
        await body(send)
        self.ended.set()


class WithLifespan:
    """Wraps an app in a lifespan that keeps a diary."""

    def __init__(self, app: App, failure: str = "") -> None:
        self.app = app
        self.failure = failure
        self.diary: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.diary.append("request")
            await self.app(scope, receive, send)
            return
        assert (await receive())["type"] == "lifespan.startup"
        self.diary.append("startup")
        scope["state"]["number"] = 7
        if self.failure:
            await send({"type": "lifespan.startup.failed", "message": self.failure})
            return
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        self.diary.append("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
