"""The function of the conformance tests: a raw ASGI app, one path for each case.

It imports nothing but the standard library and asgi_stream: on one platform it runs as another user, without the
virtual environment of the tests.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from typing import Any
from urllib.parse import parse_qs

from asgi_stream import StreamingAdapter

# Every byte value, runs of NUL like the delimiter's, and line ends like those of chunked coding.
MESSAGES = (b"one", b"", bytes(range(256)), bytes(8), b"\r\n0\r\n\r\n", bytes(16) + b"last")
COOKIES = ("a=1; Path=/; HttpOnly", "b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT")
LARGE_PIECES = 48
LARGE_PIECE_SIZE = 65_536

_startups = 0


def large_piece(number: int) -> bytes:
    """A piece that differs from every other, so that a lost or swapped one shows."""
    return number.to_bytes(4, "big") * (LARGE_PIECE_SIZE // 4)


# How many invocations have to be under way at once for one at /meet to end.
MEETING = 4
meeting = asyncio.Barrier(MEETING)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode("ascii")).items()}

    async def start(status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(data: bytes, *, more: bool = True) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": more})

    match scope["path"]:
        case "/messages":
            await start(200, (b"content-type", b"application/octet-stream"))
            for message in MESSAGES:
                await write(message)
            await write(b"", more=False)
        case "/cookies":
            await start(200, *((b"set-cookie", cookie.encode()) for cookie in COOKIES))
            await write(b"", more=False)
        case "/status":
            await start(int(query["status"]))
            await write(b"", more=False)
        case "/redirect":
            await start(int(query["status"]), (b"location", b"/elsewhere"))
            await write(b"", more=False)
        case "/large":
            await start()
            for number in range(LARGE_PIECES):
                await write(large_piece(number), more=number < LARGE_PIECES - 1)
        case "/echo":
            body, more = b"", True
            while more:
                message = await receive()
                body += message["body"]
                more = message["more_body"]
            await start()
            await write(body, more=False)
        case "/facts":
            await start(200, (b"content-type", b"application/json"))
            await write(json.dumps(facts(scope)).encode(), more=False)
        case "/raise":
            raise ValueError("raised before the start")
        case "/raise-later":
            await start()
            await write(b"one")
            raise ValueError("raised in mid-stream")
        case "/silent":
            return
        case "/unfinished":
            await start()
            await write(b"one")
        case "/meet":
            await start(200, (b"content-type", b"application/json"))
            await write(b"")
            await meeting.wait()
            await write(json.dumps(facts(scope)).encode(), more=False)
        case path:
            raise AssertionError(f"no case {path}")


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    global _startups
    await receive()
    _startups += 1
    scope["state"]["greeting"] = "from startup"
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def facts(scope: Any) -> dict[str, Any]:
    """What an app can know of its invocation and its process."""
    context = scope["aws.context"]
    return {
        "event": scope["aws.event"],
        "request_id": context.aws_request_id,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "function_name": context.function_name,
        "scope": {
            "method": scope["method"],
            "path": scope["path"],
            "raw_path": base64.b64encode(scope["raw_path"]).decode(),
            "query_string": base64.b64encode(scope["query_string"]).decode(),
        },
        "state": scope["state"],
        "startups": _startups,
        "pid": os.getpid(),
        "python": list(sys.version_info[:2]),
    }


handler = StreamingAdapter(app)
