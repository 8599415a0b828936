"""Functions for the tests of the process: they say what happens to them, and meddle with what is not theirs."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from typing import Any

from asgi_stream import StreamingAdapter

left_behind: set[asyncio.Task[None]] = set()
threshold_at_import = gc.get_threshold()[0]


async def lifespan(receive: Any, send: Any, startup: str, shutdown: str) -> None:
    await receive()
    if startup == "exit":
        sys.exit(3)
    if startup == "hang":
        print("starting", flush=True)
        await asyncio.Event().wait()
    if startup == "cancel":
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)
    if startup == "raise":
        raise ConnectionError("the database is down")
    await send({"type": f"lifespan.startup.{startup}", "message": "no database"})
    print("startup", flush=True)
    await receive()
    print("shutdown", flush=True)
    await send({"type": f"lifespan.shutdown.{shutdown}", "message": "still busy"})


async def app(scope: Any, receive: Any, send: Any, startup: str = "complete", shutdown: str = "complete") -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send, startup, shutdown)
        return
    path = scope["path"]
    if path == "/cancels-its-task":
        cancel_current_task()
        return
    await send({"type": "http.response.start", "status": 200})
    if path == "/waits":
        try:
            await send({"type": "http.response.body", "body": b"waiting", "more_body": True})
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("cancelled", flush=True)
            raise
    if path == "/leaves-an-exit-while-open":
        leave_an_exit()
        for _ in range(10):
            await asyncio.sleep(0)
    body = b"hello"
    if path == "/garbage":
        body = json.dumps([threshold_at_import, gc.get_threshold(), gc.isenabled(), gc.get_freeze_count()]).encode()
    await send({"type": "http.response.body", "body": body})
    if path == "/leaves-an-exit":
        leave_an_exit()
    if path == "/cancels-its-task-after-the-end":
        cancel_current_task()


def cancel_current_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


def leave_an_exit() -> None:
    async def exits() -> None:
        sys.exit(5)

    task = asyncio.create_task(exits())
    left_behind.add(task)


def with_lifespan(startup: str, shutdown: str) -> StreamingAdapter:
    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send, startup, shutdown)

    return StreamingAdapter(wrapped)


handler = StreamingAdapter(app)
fails_at_startup = with_lifespan("failed", "complete")
exits_at_startup = with_lifespan("exit", "complete")
hangs_at_startup = with_lifespan("hang", "complete")
cancels_at_startup = with_lifespan("cancel", "complete")
raises_at_startup = with_lifespan("raise", "complete")
fails_at_shutdown = with_lifespan("complete", "failed")
