"""Frozen and thawed: Lambda stops an environment between its invocations, for seconds or for hours.

SIGSTOP and SIGCONT do that to a real process; its clocks go on meanwhile. Where a whole machine is stopped, the clock
that event loops count by (``time.monotonic``) may stop with it, and the wall clock jumps: that is done with clocks of
the test's own. Whether Lambda's do AWS does not say, so both have to be right.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.local.invocation import Ending
from asgi_stream.runtime import deadline
from asgi_stream.runtime.deadline import Countdown
from asgi_stream.sinks import Sink
from tests.support.clocks import Clocks
from tests.support.events import function_url_event
from tests.support.process import process
from tests.support.wire import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.process import Process

pytestmark = pytest.mark.anyio

HANDLER = "tests.apps.frozen:handler"


class Answer:
    """What the function knows, and what it should: the time left, in milliseconds."""

    def __init__(self, body: bytes, deadline_ms: int, asked: float, answered: float) -> None:
        answer = json.loads(body.partition(bytes(8))[2])
        self.told: bool = answer["told"]
        self.left: int = answer["left"]
        self.most = deadline_ms - int(asked * 1000)
        self.least = deadline_ms - int(answered * 1000) - 1


async def ask(running: Process, path: str, timeout: float) -> Answer:  # noqa: ASYNC109 - the function's
    asked = time.time()
    invocation = await running.api.invoke(json.dumps(function_url_event(path=path)).encode(), timeout=timeout)
    result = await invocation.collect()
    assert result.ending is Ending.CLEAN, result
    return Answer(result.body, int(invocation.headers["Lambda-Runtime-Deadline-Ms"]), asked, time.time())


async def freeze(running: Process) -> None:
    """Stops the process once it has nothing to do, as Lambda does."""
    await running.api.idle()
    running.child.send_signal(signal.SIGSTOP)
    await asyncio.to_thread(os.waitid, os.P_PID, running.child.pid, os.WSTOPPED | os.WNOWAIT)


def thaw(running: Process) -> None:
    running.child.send_signal(signal.SIGCONT)


async def test_a_deadline_that_passes_while_frozen_touches_nothing() -> None:
    """The countdown of the invocation before, and the watch for blocked loops, which slept until that deadline."""
    async with process(HANDLER) as running:
        await ask(running, "/", 1)
        await freeze(running)
        await asyncio.sleep(1.2)
        thaw(running)
        answer = await ask(running, "/", 60)
        assert not answer.told
        assert answer.least <= answer.left <= answer.most
        await running.api.idle()
        running.child.terminate()
        assert await running.end() == (0, "shutdown\n")


async def test_the_countdown_after_a_freeze_is_right() -> None:
    async with process(HANDLER, {"ASGI_STREAM_DEADLINE_MARGIN": "5"}) as running:
        await ask(running, "/", 60)
        await freeze(running)
        await asyncio.sleep(1)
        thaw(running)
        answer = await ask(running, "/until-told", 6)
        assert answer.told
        assert 0 < answer.left <= 5000


async def test_a_timer_that_ran_out_fires_after_the_freeze() -> None:
    async with process(HANDLER) as running:
        await ask(running, "/leaves-a-timer", 60)
        await freeze(running)
        await asyncio.sleep(1.2)
        thaw(running)
        assert await running.lines(1) == ["fired"]
        assert not (await ask(running, "/", 60)).told


async def test_a_platform_that_went_away_meanwhile_ends_the_process_at_once() -> None:
    async with process(HANDLER) as running:
        await ask(running, "/", 60)
        await freeze(running)
        for connection in running.api._connections:
            connection.cancel()
        await asyncio.gather(*running.api._connections)
        thaw(running)
        code, output = await running.end()
        assert code == 1
        assert "The runtime ends: no next invocation: no reply from the Runtime API" in output
        # Not always the last line: the extension asks again meanwhile, and may log that it was refused.
        assert "shutdown" in output.splitlines()


# Clocks of our own


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(deadline, "time", clocks)
    return clocks


class Waits:
    """The delays that a countdown asks of the event loop, which never come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.delays: list[float] = []
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self._call_later)

    def _call_later(self, delay: float, callback: Callable[[], None]) -> SimpleNamespace:
        self.delays.append(delay)
        return SimpleNamespace(cancel=lambda: None)


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_a_countdown_that_starts_after_the_wall_clock_has_jumped(
    jump: float, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks.wall += jump
    task = asyncio.ensure_future(asyncio.Event().wait())
    waits = Waits(monkeypatch)
    countdown = Countdown(Sink(), "id", clocks.wall + 100, 10)
    countdown.watch(task)
    assert waits.delays == [90]
    assert countdown.ends == clocks.counted + 97.5
    countdown.stop()
    task.cancel()


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_a_wall_clock_that_is_put_right_in_mid_invocation_moves_no_countdown(
    jump: float, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it may be shortly after a thaw. Lambda's own count of the invocation's time does not jump."""
    task = asyncio.ensure_future(asyncio.Event().wait())
    waits = Waits(monkeypatch)
    countdown = Countdown(Sink(), "id", clocks.wall + 100, 10)
    countdown.watch(task)
    clocks.wall += jump
    clocks.pass_by(90)
    countdown._tell()
    clocks.pass_by(5)
    countdown._cancel()
    assert waits.delays == [90, 5, 2.5]
    countdown.stop()


async def test_blocked_code_is_named_though_the_wall_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()
    monkeypatch.setattr(deadline, "log", lambda level, message, request_id="": written.set())
    named: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clocks = SimpleNamespace(time=lambda: time.time() - 3600, monotonic=time.monotonic)
        monkeypatch.setattr(deadline, "time", clocks)
        named.append(written.wait(20))
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"late"})

    due = str(int((time.time() + 0.3) * 1000))
    await serve(StreamingAdapter(app, lifespan="off"), function_url_event(), Lambda_Runtime_Deadline_Ms=due)
    assert named == [True]
