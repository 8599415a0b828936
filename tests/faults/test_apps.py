"""Apps that misbehave, each in a real process, and what comes of each. Those that break ASGI's rules or raise stand in
``tests/conformance/test_matrix.py``."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from asgi_stream.local.runtime_api import EnvironmentFailed
from tests.local.support import make_gate, open_gate
from tests.support.events import function_url_event
from tests.support.process import Process, process

if TYPE_CHECKING:
    from pathlib import Path

    from asgi_stream.local.invocation import Collected

pytestmark = pytest.mark.anyio

HANDLER = "tests.apps.faults:handler"


def content(answer: Collected) -> bytes:
    return answer.body.partition(bytes(8))[2]


async def end(running: Process) -> str:
    """The next invocation works, in the same process, which SIGTERM then ends well. Returns what it printed."""
    after = await running.invoke("/hello")
    assert (content(after), after.error) == (b"hello", None)
    await running.api.idle()
    assert running.child.returncode is None
    running.child.terminate()
    code, output = await running.end()
    assert code == 0, output
    return output


class Row(NamedTuple):
    """The body that the client gets, the error that Lambda is told, and a text of the log; the process goes on."""

    body: bytes
    error: str | None = None
    log: str = ""


ROWS = {
    "stops-the-loop": Row(b"hello", log="The app has stopped the event loop; it goes on"),
    "closes-the-loop": Row(b"", "RuntimeError", "Cannot close a running event loop"),
    "cancels-everything": Row(b"", "CancelledError", "those of the runtime go on"),
    "swallows-that-it-cancels-everything": Row(b"hello", log="those of the runtime go on"),
    "cancels-everything-in-the-background": Row(b"hello", log="those of the runtime go on"),
    "forks-and-leaves": Row(b"child: 3"),
    "forks-and-both-go-on": Row(b"one child: 1", log="the child cannot send"),
    "forks-before-it-answers": Row(b"child: 1", log="A process that the app has forked came back"),
    "forks-a-child-that-waits": Row(b"child: 1", log="A process that the app has forked came back"),
    "forks-in-a-thread": Row(b"child: 4"),
    "starts-processes": Row(b"forkserver: 0 spawn: 0 "),
    "fails-in-a-callback": Row(b"hello", log="wanted to end the process; it goes on"),
    "uses-threads": Row(b"hello", log="the end that Python gives"),
    "hangs-in-a-thread": Row(b"hello", log="and these threads of the app with it: Thread-1 (hang), "),
    "leaves-a-generator-open": Row(b"hello"),
    "raises-what-cannot-be-told": Row(b"some", "Untold", log="Untold: <exception str() failed>"),
    "raises-at-an-illegal-position": Row(b"", "ValueError", log="in raises_at_an_illegal_position"),
    "leaves-what-cannot-be-told": Row(b"hello", log="Exception ignored "),
    "logs-what-cannot-be-told": Row(b"hello", log="\tsaid\ntests.apps.faults.Untold: <"),
    "sends-bytes-of-another-length": Row(b"whole"),
    "replaces-stdout": Row(b"hello", log="\tsaid"),
}


@pytest.mark.parametrize("name", ROWS)
async def test_the_process_goes_on(name: str) -> None:
    row = ROWS[name]
    async with process(HANDLER) as running:
        answer = await running.invoke(f"/{name}")
        assert content(answer) == row.body
        assert (answer.error or {}).get("errorType") == row.error
        output = await end(running)
    assert row.log in output
    if name == "uses-threads":
        assert "The process ends" not in output


async def test_an_app_that_fills_stdout() -> None:
    """It waits where nobody reads, as any program does, and goes on when somebody does. Nothing is lost."""
    async with process(HANDLER) as running:
        filling = asyncio.create_task(running.invoke("/fills-stdout"))
        first = await running.lines(1)
        assert not filling.done()  # 8 MB do not fit into a pipe
        assert first + await running.lines(999) == ["x" * 8_191] * 1_000
        assert content(await filling) == b"hello"
        assert await end(running) == ""


async def test_tasks_left_behind_are_at_work_in_the_next_invocations() -> None:
    async with process(HANDLER) as running:
        for _ in range(3):
            assert content(await running.invoke("/leaves-tasks-behind")) == b"10 at work"
        assert "Traceback" not in await end(running)


async def test_an_app_that_swallows_its_cancellation_at_the_deadline() -> None:
    async with process(HANDLER) as running:
        event = json.dumps(function_url_event(path="/swallows-cancellation")).encode()
        invocation = await running.api.invoke(event, deadline_ms=int((time.time() + 0.5) * 1_000))
        answer = await invocation.collect()
        assert content(answer) == b"some"
        assert answer.error is not None
        assert answer.error["errorType"] == "DeadlineExceeded"
        output = await end(running)
    assert "it is left to itself" in output


async def test_an_app_that_awaits_what_asyncio_cannot_read() -> None:
    """Its task is never at work again, and no cancellation reaches it: it is given up at its deadline."""
    async with process(HANDLER) as running:
        await running.api.idle()
        event = json.dumps(function_url_event(path="/awaits-nonsense")).encode()
        invocation = await running.api.invoke(event, deadline_ms=int((time.time() + 0.5) * 1_000))
        answer = await invocation.collect()
        assert (answer.error or {}).get("errorType") == "DeadlineExceeded"
        output = await end(running)
    assert "wanted to end the process; it goes on" in output
    assert "in awaits_nonsense" in output


async def test_an_app_that_awaits_such_a_thing_first() -> None:
    """Where Python begins tasks at once, 3.12 and newer, what asyncio raises is the error, without a wait.

    Up to 3.13 that is a SystemError: asyncio goes on with the exception set.
    """
    async with process(HANDLER) as running:
        await running.api.idle()
        event = json.dumps(function_url_event(path="/awaits-nonsense-first")).encode()
        invocation = await running.api.invoke(event, deadline_ms=int((time.time() + 0.5) * 1_000))
        answer = await invocation.collect()
        assert content(answer) == b"some"
        expected = ("SystemExit", "SystemError") if sys.version_info >= (3, 12) else ("DeadlineExceeded",)
        assert (answer.error or {}).get("errorType") in expected
        await end(running)


async def test_an_app_that_swallows_its_cancellation_when_the_environment_ends() -> None:
    async with process(HANDLER) as running:
        invocation = await running.api.invoke(json.dumps(function_url_event(path="/swallows-cancellation")).encode())
        pieces = aiter(invocation)
        while not (await anext(pieces)).data.endswith(b"some"):
            pass
        running.child.terminate()
        code, output = await running.end()
    assert (code, output.count("not now") > 0) == (0, True)


async def test_an_app_that_blocks_the_loop_past_its_deadline(tmp_path: Path) -> None:
    """The log names the place while the loop is blocked; what the app then does is its answer."""
    gate = make_gate(tmp_path)
    async with process(HANDLER) as running:
        event = json.dumps(function_url_event("GET", "/blocks-the-loop", query=str(gate))).encode()
        await running.api.idle()  # its start is not on the invocation's time
        invocation = await running.api.invoke(event, deadline_ms=int((time.time() + 0.3) * 1_000))
        lines = ""
        while "gate.read()" not in lines and "with open(scope" not in lines:
            lines += (await running.lines(1))[0]
        assert "Code blocks the event loop" in lines
        await asyncio.to_thread(open_gate, gate)
        await invocation.collect()
        await end(running)


@pytest.mark.parametrize(("name", "code"), [("leaves-at-once", 7), ("kills-itself", -9)])
async def test_an_app_that_ends_the_process(name: str, code: int) -> None:
    """Nothing can be told: Lambda sees the exit."""
    async with process(HANDLER) as running:
        answer = await running.invoke(f"/{name}")
        assert answer.error is not None
        with pytest.raises(EnvironmentFailed) as failed:
            await running.api.idle()
        assert failed.value.error.error_type == "Runtime.ExitError"
        assert (await running.end())[0] == code


async def test_an_app_that_closes_the_standard_streams() -> None:
    """What it prints then is lost, and is in no request: a new connection gets no descriptor of a standard stream."""
    async with process(HANDLER) as running:
        assert content(await running.invoke("/closes-the-standard-streams")) == b"hello"
        await running.api.idle()
        for _ in range(2):
            assert content(await running.invoke("/prints")) == b"printed 0 bytes"
            await running.api.idle()
        running.child.terminate()
        assert await running.end() == (0, "")


async def test_a_new_connection_leaves_the_descriptors_of_the_standard_streams_alone() -> None:
    from tests.faults.promise import exited
    from tests.faults.server import Fault, Server, reply
    from tests.faults.test_process_exits import run

    def event(path: str) -> bytes:
        return json.dumps(function_url_event(path=path)).encode()

    closes = {2: Fault(say=reply(202, b"", "Connection: close"), end="close")}
    with Server([event("/closes-the-standard-streams"), event("/prints")], closes) as server:
        code, output = await asyncio.to_thread(run, server, HANDLER)
    assert (code, output) == (1, "")
    exited(server, 5)
    assert server.connections == 2
    assert [answer.content for answer in server.answers] == [b"hello", b"printed 0 bytes"]
    assert not any(b"POISON" in request.raw for request in server.requests)
