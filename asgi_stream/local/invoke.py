"""`asgi-stream invoke`: one request through one execution environment, each chunk shown as it arrives.

The body goes to stdout as it is; status, headers, times and errors go to stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
import uuid
from typing import TYPE_CHECKING

from asgi_stream.local.environment import Environment
from asgi_stream.local.function_url import build_event, trace_id_of
from asgi_stream.local.relay import relay
from asgi_stream.local.runtime_api import EnvironmentFailed
from asgi_stream.local.signals import on_ending
from asgi_stream.local.terminal import warn

if TYPE_CHECKING:
    from asgi_stream.local.function_url import Request
    from asgi_stream.local.invocation import Piece
    from asgi_stream.local.prelude import ResponseStart


def run(handler: str, request: Request, timeout: float) -> int:
    """Runs one request; `timeout` is the function's, in seconds.

    Returns the exit code: 0; 1 if the function failed, also after its response, or the output is closed; 130 after a
    signal.
    """
    try:
        return asyncio.run(_invoke(handler, request, timeout))
    except BrokenPipeError:
        # Such as `| head`. The interpreter would try to flush once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except asyncio.CancelledError:
        return 130


async def _invoke(handler: str, request: Request, timeout: float) -> int:  # noqa: ASYNC109 - the function's
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - asyncio.run made it
    request_id = str(uuid.uuid4())
    event = build_event(request, request_id=request_id)
    with on_ending(task.cancel):
        # What the function prints and logs is not to stand in the body, which may go into a file.
        async with Environment(handler, timeout=timeout, stdout=sys.stderr.fileno()) as environment:
            # The first poll first: the times shown are the request's, not those of the cold start.
            with contextlib.suppress(EnvironmentFailed):
                await environment.idle()
            since = time.monotonic()
            invocation = await environment.invoke(
                json.dumps(event).encode(),
                request_id=request_id,
                trace_id=trace_id_of(event),
            )
            trouble = await relay(invocation, _Terminal(since))
            try:
                # What the app does after its response is a part of the invocation, as on Lambda.
                await environment.idle()
            except EnvironmentFailed as failure:
                trouble = trouble or str(failure.error)
    if trouble is not None:
        warn(f"asgi-stream: {request.method} {request.raw_path.decode('ascii')}: {trouble}")
    return 0 if trouble is None else 1


class _Terminal:
    """The client: shows what comes."""

    def __init__(self, since: float) -> None:
        self._since = since

    async def start(self, start: ResponseStart) -> None:
        """Shows status and headers."""
        warn(str(start.status))
        for name, value in start.headers:
            warn(f"{name.decode('latin-1')}: {value.decode('latin-1')}")

    async def write(self, body: bytes, piece: Piece) -> None:
        """Shows a chunk, or a part of a large one."""
        warn(f"--- {piece.arrived - self._since:.3f} s, {len(body)} B")
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
        if not body.endswith(b"\n") and os.isatty(1) and os.isatty(2):
            warn("")  # in a terminal both share the line
