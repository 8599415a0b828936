"""A function that sends a burst: then it awaits until its reader has all of it, or forks in the middle."""

from __future__ import annotations

import asyncio
import mmap
import os
from typing import Any
from urllib.parse import parse_qs

from asgi_stream import StreamingAdapter

MESSAGES = 12


async def burst(send: Any) -> None:
    for number in range(MESSAGES):
        await send({"type": "http.response.body", "body": b"%d." % number, "more_body": True})


async def awaits(send: Any, path: str) -> None:
    """Gives the event loop turns until the reader has written to a file."""
    file = os.open(path, os.O_RDONLY)
    with mmap.mmap(file, 1, prot=mmap.PROT_READ) as signal:
        os.close(file)
        await burst(send)
        while not signal[0]:  # noqa: ASYNC110 - the reader is another process
            await asyncio.sleep(0)


async def forks(send: Any) -> None:
    """The child sends too, while the last messages of the burst are kept in both processes."""
    await burst(send)
    if (pid := os.fork()) == 0:
        try:
            await send({"type": "http.response.body", "body": b"POISON", "more_body": True})
        except OSError:
            print("the child cannot send", flush=True)
            await asyncio.sleep(0)  # the parent's event loop: it ends here
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])  # noqa: ASYNC222 - on purpose
    await send({"type": "http.response.body", "body": b"child: %d." % code, "more_body": True})


async def app(scope: Any, receive: Any, send: Any) -> None:
    query = parse_qs(scope["query_string"].decode())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await (awaits(send, query["signal"][0]) if "signal" in query else forks(send))
    await send({"type": "http.response.body", "body": b"end"})


handler = StreamingAdapter(app, lifespan="off")
