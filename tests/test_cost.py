"""What a message and an invocation cost, counted and not timed: writes, calls of Python functions, memory, modules.

A clock would measure the machine. These numbers are the same on each, so that a rise is somebody's change; the bounds
are what it costs today and a little more, for Pythons differ.
"""

from __future__ import annotations

import gc
import json
import math
import statistics
import subprocess
import sys
import tracemalloc
from typing import Any

import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.asgi.cycle import HttpCycle
from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.loop import Fatal, Runtime
from asgi_stream.runtime.requests import Invocation
from asgi_stream.runtime.response import ResponseStream
from tests.support.events import function_url_event
from tests.support.memory import MemoryStream, connects_to

pytestmark = pytest.mark.anyio

EVENT = json.dumps(function_url_event(path="/")).encode()
NEXT = (
    b"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: id\r\nLambda-Runtime-Deadline-Ms: 4000000000000\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(EVENT), EVENT)
)
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
MESSAGE: dict[str, Any] = {"type": "http.response.body", "body": b"x" * 32, "more_body": True}


class Replies(MemoryStream):
    """A Runtime API that costs next to nothing: it looks at the beginning and the end of each write.

    ``heights`` are the bytes that each invocation takes at its height, where tracemalloc traces.
    """

    def __init__(self, invocations: int) -> None:
        super().__init__()
        self._left = invocations
        self.heights: list[int] = []
        self._floor = 0

    def write(self, buffers: Any) -> int:
        data = b"".join(buffers)
        self.writes.append(data)
        if data.startswith(b"GET"):
            if tracemalloc.is_tracing():
                now, peak = tracemalloc.get_traced_memory()
                self.heights.append(peak - self._floor)
                tracemalloc.reset_peak()
                self._floor = now
            self._left -= 1
            self.say(NEXT if self._left >= 0 else b"")
        elif data.endswith(b"0\r\n\r\n"):
            self.say(ACCEPTED)
        return len(data)


async def run(messages: int, invocations: int, replies: Replies | None = None) -> tuple[list[bytes], int]:
    """Streams so many messages so many times; returns the writes, and how many Python functions were called."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for _ in range(messages):
            await send(MESSAGE)
        await send({"type": "http.response.body", "body": b""})

    handler = StreamingAdapter(app, lifespan="off")
    replies = replies or Replies(invocations)
    runtime = Runtime(handler, Connection("host:1", connects_to(replies)))
    # Its thread is started before: how many calls that takes depends on which of the two threads comes first.
    runtime._block_watch.add("none", math.inf)
    runtime._block_watch.remove("none")
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    traced = sys.getprofile()
    gc.disable()  # it calls what libraries have hung on it
    sys.setprofile(count)
    try:
        with pytest.raises(Fatal):
            await runtime.serve()
    finally:
        sys.setprofile(traced)
        gc.enable()
    return replies.writes, calls


async def test_writes() -> None:
    """One for the poll, one for head and prelude, one for each message, one for the end."""
    writes, _ = await run(messages=10, invocations=2)
    assert len(writes) == 2 * (1 + 1 + 10 + 1) + 1
    assert writes[2:12] == [b"20\r\n" + b"x" * 32 + b"\r\n"] * 10


async def test_bytes_beside_the_body() -> None:
    """What one streamed invocation writes beside its messages: two heads, the prelude, the end."""
    writes, _ = await run(messages=0, invocations=1)
    assert sum(map(len, writes[:-1])) <= 550


async def test_calls_for_a_message() -> None:
    await run(messages=1, invocations=1)  # what is called once in a process
    _, few = await run(messages=100, invocations=1)
    _, many = await run(messages=1100, invocations=1)
    assert (many - few) / 1000 <= 4


async def test_a_message_costs_the_same_however_many_there_were() -> None:
    _, first = await run(messages=1000, invocations=1)
    _, both = await run(messages=2000, invocations=1)
    _, all_three = await run(messages=4000, invocations=1)
    assert abs((all_three - both) / 2 - (both - first)) < 50


async def test_calls_for_an_invocation() -> None:
    gc.collect()
    gc.disable()  # finalizers of what other tests have left would be counted
    try:
        _, few = await run(messages=1, invocations=10)
        _, many = await run(messages=1, invocations=110)
    finally:
        gc.enable()
    # Python 3.11 cannot begin a task at once.
    assert (many - few) / 100 <= (160 if sys.version_info >= (3, 12) else 225)


async def test_memory_that_an_invocation_takes() -> None:
    """At its height, in bytes, with its event of some 800: one more thing that is made for each of them shows here."""
    replies = Replies(50)
    tracemalloc.start()
    try:
        await run(messages=1, invocations=50, replies=replies)
    finally:
        tracemalloc.stop()
    assert statistics.median(replies.heights[10:]) <= 13_000


async def test_memory_that_an_invocation_leaves_behind() -> None:
    await run(messages=1, invocations=20)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        writes, _ = await run(messages=1, invocations=200)
        del writes
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert (after - before) / 200 < 100


async def test_an_invocation_leaves_nothing_for_the_garbage_collector() -> None:
    """Its event may be 6 MB: it must go with it, and not when somebody next looks for circles."""

    def of_invocations() -> list[object]:
        return [thing for thing in gc.get_objects() if type(thing) in (Invocation, HttpCycle, ResponseStream)]

    gc.collect()
    gc.disable()
    try:
        before = of_invocations()  # other tests' own
        await run(messages=1, invocations=20)
        assert len(of_invocations()) == len(before)
    finally:
        gc.enable()


def modules(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_modules_at_a_cold_start() -> None:
    """Beside asyncio, which an ASGI app needs anyway, as it does typing; up to the first answer."""
    asyncio = modules("import asyncio, typing")
    ours = modules("import asgi_stream.runtime.bootstrap, asgi_stream.adapter") - asyncio
    assert len({name for name in ours if name.startswith("asgi_stream")}) <= 33
    allowed = {"binascii", "gc", "json", "json.decoder", "json.encoder", "json.scanner", "json.version"}
    assert {name for name in ours if not name.startswith(("asgi_stream", "_"))} <= allowed
    request = (
        "from asgi_stream.asgi.scope import http_scope\n"
        "from asgi_stream.sources import find_source\n"
        f"event = {function_url_event(path='/a/b', query='c=d')!r}\n"
        "source = find_source(event)\n"
        "http_scope(source.to_request(event), {})\n"
        "source.to_prelude(200, [(b'content-type', b'text/plain')]).encode()"
    )
    assert {name for name in modules(request) - asyncio if not name.startswith(("asgi_stream", "_"))} <= allowed
