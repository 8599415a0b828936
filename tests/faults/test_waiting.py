"""What waits: a poll without end, a body that nobody reads, and tasks that an app or a library keeps."""

from __future__ import annotations

import asyncio
import re
import selectors
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.local.environment import lambda_environment
from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.loop import Runtime
from asgi_stream.runtime.streams import connector
from tests.apps.faults import echoes
from tests.faults.promise import TOKENS, facts, kept, went_on
from tests.faults.server import LIMIT, Fault, Server, event_for, reply
from tests.support.dev import environment
from tests.support.process import BOOTSTRAP

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

# A poll that hangs


class Selector(selectors.DefaultSelector):
    """Says when the event loop has gone to sleep, and whether anything but the network could wake it."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float | None] = []
        self.asleep = threading.Event()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.timeouts.append(timeout)
        if timeout is None:
            self.asleep.set()
        return super().select(timeout)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock the test sets."""

    def __init__(self, selector: Selector) -> None:
        self.ahead = 0.0
        super().__init__(selector)

    def time(self) -> float:
        return super().time() + self.ahead


@pytest.mark.parametrize("managed", [False, True], ids=["default", "managed instances"])
def test_a_poll_may_hang_for_ever(managed: bool) -> None:
    """No timer is armed while it does, not even after an invocation that had a deadline; years later it is answered."""
    selector = Selector()
    loop = Loop(selector)
    polls = 0

    def wait_for_years() -> None:
        nonlocal polls
        polls += 1
        for _ in range(2):
            # From here on: asleep, and woken by nothing but this.
            selector.asleep.clear()
            selector.timeouts.clear()
            loop.call_soon_threadsafe(lambda: None)
            assert selector.asleep.wait(LIMIT), selector.timeouts
            loop.ahead += 10 * 365 * 86_400.0
        assert set(selector.timeouts) <= {0, None}

    deadline = str(int((time.time() + 900) * 1_000))
    events = [event_for("stream", token) for token in TOKENS]
    with Server(events, headers={"Lambda-Runtime-Deadline-Ms": deadline}, at_poll=wait_for_years) as server:
        connection = Connection(server.address, connector(server.host, server.port))
        try:
            loop.run_until_complete(Runtime(echoes, connection, managed_instances=managed).run())
        finally:
            loop.close()
    kept(server)
    went_on(server, 3)
    assert polls >= 4


# A body that nobody reads


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process's memory is read from /proc")
def test_a_body_that_stalls_blocks_send() -> None:
    """An app tries to send 200 MB to a server that reads 500 bytes of it: it waits, and so do its bytes."""
    refuse = threading.Event()

    class Stalling(Server):
        def _say(self, connection: socket.socket, data: bytes, piece: int) -> None:
            if self.requests[-1].kind == "response":
                assert refuse.wait(LIMIT)
            super()._say(connection, data, piece)

    with (
        Stalling([event_for("stream", "x")], {2: Fault(read=500, say=reply(413), end="wait")}) as server,
        subprocess.Popen(
            [BOOTSTRAP, sys.executable, "/var/runtime/bootstrap.py"],
            env=lambda_environment("tests.apps.faults:sends_200_mb", server.address, environment()),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as child,
    ):
        assert child.stdout is not None
        pid = int(child.stdout.readline().removeprefix("pid "))
        before = memory(pid)
        said = child.stdout.readline()
        growth = memory(pid) - before
        refuse.set()
        output = child.stdout.read()
        assert child.wait(LIMIT) == 1  # by the server's last word
    assert said.startswith("blocked "), said
    assert growth < 8 * 1024 * 1024
    assert "Lambda has refused the rest of this response (status 413)" in output
    assert server.polls == 2


def memory(pid: int) -> int:
    """What a process holds in memory, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


# Tasks that stay


def test_tasks_that_an_app_leaves_behind_stay_and_do_not_grow() -> None:
    """By name: those of the app are the same after each invocation, and each still runs."""
    left: list[asyncio.Task[None]] = []
    at_work: list[list[bool]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if not left:
            left.extend(asyncio.create_task(asyncio.sleep(3_600)) for _ in range(5))
        at_work.append([task.done() for task in left])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["raw_path"]})

    server = serve_and_count(StreamingAdapter(app, lifespan="off"))
    assert at_work == [[False] * 5] * 5
    assert [polled.tasks for polled in server.at_polls[1:]] == [server.at_polls[0].tasks + 5] * 5
    assert all(task.cancelled() for task in left)


def test_the_task_that_sse_starlette_keeps() -> None:
    """It watches for the exit of a server, one for each thread; it lives on between invocations, and is one."""
    from sse_starlette import EventSourceResponse

    seen: list[set[str]] = []

    async def events(path: str) -> AsyncIterator[str]:
        yield path
        yield "end"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await EventSourceResponse(events(scope["path"]))(scope, receive, send)
        seen.append({getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()})

    server = serve_and_count(StreamingAdapter(app, lifespan="off"))
    after = [polled.tasks for polled in server.at_polls[1:]]
    assert after == [after[0]] * 5
    watchers = [name for names in seen for name in names if "watcher" in name]
    assert len(watchers) == len(seen) == 5
    assert all(answer.complete and not answer.trailers for answer in server.answers)


def serve_and_count(handler: StreamingAdapter) -> Any:
    """Five invocations; the facts at each open poll."""
    loop = asyncio.new_event_loop()
    with Server([event_for("stream", f"token-{n}") for n in "abcde"], at_poll=lambda: facts(loop)) as server:
        connection = Connection(server.address, connector(server.host, server.port))
        try:
            assert loop.run_until_complete(Runtime(handler, connection).run()) == 1
        finally:
            loop.close()
    kept(server, [f"token-{n}" for n in "abcde"])
    return server
