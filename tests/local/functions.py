"""The function that the tests run: one app, one path for each behaviour. It runs in child processes only."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from asgi_stream import StreamingAdapter
from asgi_stream.runtime import extension

extension.SHUTDOWN_LIMIT = 20.0  # a machine that has much to do takes its time

if "BROKEN_INIT" in os.environ:
    raise RuntimeError("broken on purpose")
if "EXIT_IN_INIT" in os.environ:
    os._exit(7)
if (marker := os.environ.get("BROKEN_UNTIL")) and not Path(marker).exists():
    raise RuntimeError("broken until the marker exists")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}

    async def start(status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(data: bytes, *, more: bool = True) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": more})

    async def gate() -> None:
        # Opening a FIFO to read waits for its writer: the test.
        await asyncio.to_thread(Path(query["gate"]).read_bytes)

    match scope["path"]:
        case "/pid":
            await start()
            await write(str(os.getpid()).encode(), more=False)
        case "/event":
            await start(200, (b"content-type", b"application/json"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
            await write(json.dumps(scope["aws.event"]).encode(), more=False)
        case "/trace":
            await start()
            await write(b"\n" + dict(scope["headers"])[b"x-amzn-trace-id"], more=False)
        case "/gate":
            await start()
            await write(f"{os.getpid()}\n".encode())
            await gate()
            await write(b"two", more=False)
        case "/done":
            # The response goes on without its client; the marker proves that it came to its end.
            await start()
            await write(b"one")
            await gate()
            for _ in range(64):
                await write(b"x" * 65536)
            await write(b"", more=False)
            await asyncio.to_thread(Path(query["marker"]).touch)
        case "/large":
            # Far more than all buffers between the function and a client hold.
            await start()
            for _ in range(256):
                await write(b"x" * 65536)
            await write(b"", more=False)
            await asyncio.to_thread(Path(query["ended"]).write_bytes, b"ended")
        case "/background":
            await start()
            await write(str(os.getpid()).encode(), more=False)
            await gate()
            if "exit" in query:
                os._exit(3)
            if "fail" in query:
                raise ValueError("failed in the background")
            if "marker" in query:
                await asyncio.to_thread(Path(query["marker"]).touch)
        case "/until-told":
            await start()
            await write(str(os.getpid()).encode())
            while (await receive())["type"] != "http.disconnect":
                pass
            await write(b" told", more=False)
        case "/sleeps":
            await start()
            await write(str(os.getpid()).encode())
            await asyncio.Event().wait()
        case "/events":
            await start(200, (b"content-type", b"text/event-stream"))
            await write(str(os.getpid()).encode())
            await asyncio.Event().wait()
        case "/blocks":
            # The event loop too: nothing in this process can do anything about it.
            time.sleep(3600)  # noqa: ASYNC251
        case "/blocks-mid":
            await start()
            await write(str(os.getpid()).encode())
            time.sleep(3600)  # noqa: ASYNC251
        case "/blocks-after":
            await start()
            await write(str(os.getpid()).encode(), more=False)
            time.sleep(3600)  # noqa: ASYNC251
        case "/floods":
            await start()
            while True:
                await write(b"x" * 65536)
        case "/crash":
            os._exit(3)
        case "/crash-mid":
            await start()
            await write(b"one")
            os._exit(3)
        case "/fail":
            raise ValueError("failed before the start")
        case "/fail-mid":
            await start()
            await write(b"one")
            raise ValueError("failed in mid-stream")
        case "/status":
            await start(int(query["status"]), (b"content-type", b"text/plain"))
            await write(b"", more=False)
        case _:
            await start(404)
            await write(b"", more=False)


async def app_with_shutdown(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "lifespan":
        await app(scope, receive, send)
        return
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.to_thread(Path(os.environ["SHUTDOWN_MARKER"]).touch)
    await send({"type": "lifespan.shutdown.complete"})


handler = StreamingAdapter(app)
with_shutdown = StreamingAdapter(app_with_shutdown)
