"""A function with SnapStart's hooks. The variable FAILS names the moment at which one of them fails."""

from __future__ import annotations

import contextvars
import os
import random
import sys
from typing import Any

from snapshot_restore_py import register_after_restore, register_before_snapshot  # type: ignore[import-untyped]

from asgi_stream import StreamingAdapter

database: contextvars.ContextVar[str] = contextvars.ContextVar("database", default="none")


def say(text: str) -> None:
    print(text, flush=True)
    if os.environ.get("FAILS") == text:
        raise ConnectionError("no database")
    if os.environ.get("EXITS") == text:
        sys.exit(3)


register_before_snapshot(say, "before, first")
register_before_snapshot(say, text="before, second")


@register_before_snapshot  # type: ignore[untyped-decorator]
async def close_connections() -> None:
    say(f"before, the database was {database.get()}")
    database.set("closed")


@register_after_restore  # type: ignore[untyped-decorator]
async def open_connections() -> None:
    say(f"after, the database was {database.get()}")
    database.set("opened again")


register_after_restore(say, "after, second")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        random.seed(7)
        database.set("open")
        say("startup")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": f"{database.get()} {random.random()}".encode()})


handler = StreamingAdapter(app)
