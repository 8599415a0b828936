"""The function of the soak: an app that answers in many shapes, and one that fails in many ways.

The path names the shape or the way; the query is a token that comes back in the answer or in the error.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import linecache
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgi_stream import StreamingAdapter

CHUNKS = 5
LARGE = 40_000  # bytes of a chunk that needs more than one read

_background = 0


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    token = scope["query_string"]
    start = {"type": "http.response.start", "status": 200, "headers": [(b"x-token", token)]}
    match scope["path"]:
        case "/json" | "/buffered":
            await send(start)
            await send(_last(b'{"token": "%b"}' % token))
        case "/stream":
            await send(start)
            for number in range(CHUNKS):
                await send(_part(b"%b %d;" % (token, number)))
                await asyncio.sleep(0)
            await send(_last())
        case "/large":
            await send(start)
            await send(_part(b"x" * LARGE))
            await send(_last(token))
        case "/head":
            await send(start)
            await send(_last(b"not for a HEAD"))
        case "/no-content":
            await send({**start, "status": 204})
            await send(_last())
        case "/echo":
            message = await receive()
            await send(start)
            await send(_last(message["body"]))
        case "/background":
            await send(start)
            await send(_last(token))
            await _work_in_the_background()
        case "/thread":
            body = await asyncio.to_thread(bytes.upper, token)
            await send(start)
            await send(_last(body))
        case "/listens":
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(_until_disconnect(receive))
                await send(start)
                await send(_part(token))
                await send(_last())
                listening.cancel()
        case "/facts":
            await _rest()
            await send(start)
            await send(_last(json.dumps(_facts()).encode()))
        case path:
            await _fail(path, token.decode(), start, receive, send)


async def _fail(path: str, token: str, start: dict[str, Any], receive: Any, send: Any) -> None:
    match path:
        case "/raises-early":
            raise ValueError(token)
        case "/raises-late":
            # And leaves a task behind, which ends by itself when it is told of the end.
            _left.add(task := asyncio.create_task(_until_disconnect(receive)))
            task.add_done_callback(_left.discard)
            await send(start)
            await send(_part(token.encode()))
            raise ValueError(token)
        case "/never-answers":
            return
        case "/exits":
            raise SystemExit(token)
        case "/wrong-message":
            await send(start)
            await send({"type": f"http.response.{token}"})
        case "/wrong-length":
            await send({**start, "headers": [*start["headers"], (b"content-length", b"1000")]})
            await send(_last(token.encode()))
        case "/past-the-deadline":
            await send(start)
            await send(_part(token.encode()))
            await asyncio.Event().wait()
        case "/recurses":
            await _fail(path, token, start, receive, send)
        case _:
            raise AssertionError(f"no case {path}")


_left: set[asyncio.Task[None]] = set()


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    # One thread: how many an executor of more has started depends on how fast they were.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _until_disconnect(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _work_in_the_background() -> None:
    global _background
    await asyncio.sleep(0)
    _background += 1


async def _rest() -> None:
    """Waits until every thread but this one waits for work: on a slow machine one may still log an invocation's end."""
    while any(  # noqa: ASYNC110 - what threads wait for tells nobody
        frame.f_code.co_name not in ("wait", "_worker")
        for thread, frame in sys._current_frames().items()
        if thread != threading.get_ident()
    ):
        await asyncio.sleep(0.001)


def _facts() -> dict[str, int]:
    linecache.clearcache()  # the source of all files that tracebacks have shown so far
    gc.collect()
    return {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "blocks": sys.getallocatedblocks(),
        "heap": _heap() if sys.platform == "linux" else 0,
        "background": _background,
    }


class _Mallinfo2(ctypes.Structure):
    """What glibc 2.33 and newer say of their heap."""

    _fields_ = (
        ("_before", ctypes.c_size_t * 7),
        ("uordblks", ctypes.c_size_t),
        ("_behind", ctypes.c_size_t * 2),
    )


def _heap() -> int:
    """The bytes that C code and large objects have taken by malloc; 0 where it cannot be said."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return 0
    mallinfo2.restype = _Mallinfo2
    return int(mallinfo2().uordblks)


def _part(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def _last(body: bytes = b"") -> dict[str, Any]:
    return {"type": "http.response.body", "body": body}


async def on_event(event: Any, context: Any) -> Any:
    return {"token": event["token"]}


INVOKE_MODE = {"function_url": "stream", "rest_api": "buffered"}

handler = StreamingAdapter(app, invoke_mode=INVOKE_MODE, on_event=on_event)
