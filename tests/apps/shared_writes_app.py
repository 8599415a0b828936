"""A function that sends a burst and then computes, without a turn of the event loop, until its reader has all of it."""

from __future__ import annotations

import mmap
import os
from typing import Any
from urllib.parse import parse_qs

from asgi_stream import StreamingAdapter

MESSAGES = 12


async def app(scope: Any, receive: Any, send: Any) -> None:
    path = parse_qs(scope["query_string"].decode())["signal"][0]
    # Memory that the reader writes to: to look at it is no system call, which would give the interpreter's lock away.
    file = os.open(path, os.O_RDONLY)
    with mmap.mmap(file, 1, prot=mmap.PROT_READ) as signal:
        os.close(file)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for number in range(MESSAGES):
            await send({"type": "http.response.body", "body": b"%d." % number, "more_body": True})
        while not signal[0]:
            pass
    await send({"type": "http.response.body", "body": b"end"})


handler = StreamingAdapter(app, lifespan="off")
