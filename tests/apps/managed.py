"""The function of the tests under AWS's own Python runtime: says what it has seen of its process."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from asgi_stream import StreamingAdapter

# The loops themselves: an id could be given out again.
_loops: list[asyncio.AbstractEventLoop] = []
_startups = 0


async def app(scope: Any, receive: Any, send: Any) -> None:
    global _startups
    if asyncio.get_running_loop() not in _loops:
        _loops.append(asyncio.get_running_loop())
    if scope["type"] == "lifespan":
        await receive()
        _startups += 1
        scope["state"]["greeting"] = "from startup"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-type", b"application/json"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    start = {"type": "http.response.start", "status": 201, "headers": headers}
    match scope["path"]:
        case "/facts":
            await send(start)
            body = json.dumps(facts(scope)).encode()
            await send({"type": "http.response.body", "body": body[:10], "more_body": True})
            await send({"type": "http.response.body", "body": body[10:]})
        case "/binary":
            await send({**start, "headers": [(b"content-type", b"image/png")]})
            await send({"type": "http.response.body", "body": bytes(range(256))})
        case "/fails":
            raise ValueError("boom")
        case "/half":
            await send(start)
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise ValueError("boom")
        case "/exits":
            raise SystemExit(3)
        case "/late":
            await send({**start, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"in time"})
            raise ValueError("too late")
        case path:
            raise AssertionError(f"no case {path}")


def facts(scope: Any) -> dict[str, Any]:
    """What an app can know of its invocation and its process."""
    context = scope["aws.context"]
    return {
        "pid": os.getpid(),
        "loops": len(_loops),
        "startups": _startups,
        "state": scope["state"],
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode("ascii"),
        "request_id": context.aws_request_id,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "context": type(context).__module__,
    }


async def on_event(event: Any, context: Any) -> Any:
    if event == {"say": "goodbye"}:
        # All that the process logs stands before it: the test knows then that it has read it.
        print(end="goodbye\n", flush=True)
    elif isinstance(event, dict) and "fail" in event:
        raise ValueError(event["fail"])
    return {"seen": event, "loops": len(_loops), "pid": os.getpid()}


handler = StreamingAdapter(app, on_event=on_event)
buffered = StreamingAdapter(app, on_event=on_event, invoke_mode="buffered")
http_only = StreamingAdapter(app)


def wrapped(event: Any, context: Any) -> Any:
    """As a decorator of another library leaves it."""
    return handler(event, context)


async def _startup_fails(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


startup_fails = StreamingAdapter(_startup_fails)
