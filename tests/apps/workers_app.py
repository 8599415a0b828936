"""An app in several processes, and ways for one of them to end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import ssl
import threading
import time
from typing import Any

from asgi_stream import StreamingAdapter
from asgi_stream.runtime import workers

# How long a worker may take to end when its parent does.
workers.END_LIMIT = float(os.environ.get("TEST_END_LIMIT", "20"))

released = asyncio.Event()
at_import = asyncio.get_event_loop() if os.environ.get("TEST_LOOP_AT_IMPORT") else None

if os.environ.get("TEST_THREAD_AT_IMPORT"):
    threading.Thread(target=time.sleep, args=(60,), name="made-at-import", daemon=True).start()
if os.environ.get("TEST_CHILD_AT_IMPORT"):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
if os.environ.get("TEST_FAILS") == "at import":
    raise ValueError("no table")
print("text without an end of its line", end=" ")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    path = scope["path"]
    facts = {
        "pid": os.getpid(),
        "random": random.random(),
        "ssl": ssl.RAND_bytes(8).hex(),
        "loop": id(asyncio.get_running_loop()),
        "loop at import": None
        if at_import is None
        else [at_import is asyncio.get_running_loop(), at_import.is_closed()],
    }
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": json.dumps(facts).encode(), "more_body": True})
    if path == "/waits":
        print(f"waits {os.getpid()}", flush=True)
        await released.wait()
    elif path == "/killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif path == "/exits":
        os._exit(1)
    elif path == "/blocks":
        print("blocking", flush=True)
        threading.Event().wait()
    await send({"type": "http.response.body", "body": b" end"})


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    # To every worker in turn: os.kill(pid, SIGUSR1) lets what waits there go on.
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, released.set)
    match os.environ.get("TEST_FAILS"):
        case "at startup":
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        case "by signal":
            os.kill(os.getpid(), signal.SIGKILL)
    print(f"startup {os.getpid()}", flush=True)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print(f"shutdown {os.getpid()}", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


two = StreamingAdapter(app, workers=2)
by_variable = StreamingAdapter(app)
