"""The function's timeout: who ends by itself, who is cancelled, who is killed; and the next invocation works."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio
import pytest

from asgi_stream.local import environment, runtime_api
from asgi_stream.local.environment import Environment
from asgi_stream.local.invocation import Ending
from asgi_stream.local.lifecycle import State
from asgi_stream.local.limits import LONGEST_TIMEOUT, SHUTDOWN_LIMIT
from asgi_stream.local.pool import Pool
from asgi_stream.local.runtime_api import EnvironmentFailed, RuntimeApiServer
from tests.support.dev import COMMAND, dev, gone
from tests.support.dev import environment as variables_of_a_command

from .support import BASE, STREAMING, RawRuntime, chunk, environments, make_gate, opened, settled
from .test_pool import body, event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asgi_stream.local.function_error import FunctionError

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _task_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)


@pytest.fixture
async def api() -> AsyncIterator[RuntimeApiServer]:
    async with RuntimeApiServer() as server:
        yield server


@pytest.fixture
async def runtime(api: RuntimeApiServer) -> AsyncIterator[RawRuntime]:
    async with RawRuntime(api.address) as connection:
        yield connection


# The Runtime API server, by raw bytes


def timer_of(api: RuntimeApiServer) -> asyncio.TimerHandle | None:
    return api._timer


async def test_the_time_runs_from_the_moment_that_the_event_is_handed_out(
    api: RuntimeApiServer, runtime: RawRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(runtime_api, "time", SimpleNamespace(time=lambda: now))
    await api.invoke(b"{}", timeout=20)
    assert timer_of(api) is None  # init is not on the invocation's time
    now = 2000.0
    _, headers, _ = await runtime.next()
    assert headers["lambda-runtime-deadline-ms"] == "2020000"
    timer = timer_of(api)
    assert timer is not None
    # The same event again, as Lambda hands it out to a runtime that polls twice: no more time for that.
    now = 2010.0
    _, headers, _ = await runtime.next()
    assert headers["lambda-runtime-deadline-ms"] == "2020000"
    assert timer_of(api) is timer


async def test_polling_again_ends_the_time(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    invocation = await api.invoke(b"{}", timeout=900)
    await runtime.next()
    timer = api._timer
    assert timer is not None
    await runtime.post(f"invocation/{invocation.request_id}/response")
    assert not timer.cancelled()  # background work is on the same time
    await runtime.begin(f"GET {BASE}/invocation/next")
    await api.idle()
    assert timer.cancelled()


async def test_a_timeout_before_the_response(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    invocation = await api.invoke(b"{}", timeout=2, request_id="the-id")
    await runtime.next()
    api._time_out(invocation)
    result = await invocation.collect()
    assert (result.ending, result.error_type) == (Ending.ERROR, "Sandbox.Timedout")
    assert result.error == {"errorMessage": "RequestId: the-id Error: Task timed out after 2.00 seconds"}
    with pytest.raises(EnvironmentFailed, match="Task timed out"):
        await api.idle()


async def test_a_timeout_in_mid_stream_closes_the_socket_of_the_response(
    api: RuntimeApiServer, runtime: RawRuntime
) -> None:
    invocation = await api.invoke(b"{}", timeout=2)
    await runtime.next()
    await runtime.begin(f"POST {BASE}/invocation/{invocation.request_id}/response", STREAMING)
    await runtime.write(chunk(b"one"))
    async for piece in invocation:
        assert piece.data == b"one"
        api._time_out(invocation)
    result = await invocation.collect()
    assert (result.ending, result.error_type) == (Ending.TRUNCATED, "Sandbox.Timedout")
    assert await runtime._reader.read() == b""
    assert api.state is State.FAILED


async def test_a_timeout_closes_the_socket_also_while_its_bytes_wait_for_a_slow_client(
    api: RuntimeApiServer, runtime: RawRuntime
) -> None:
    invocation = await api.invoke(b"{}", timeout=2)
    await runtime.next()
    await runtime.begin(f"POST {BASE}/invocation/{invocation.request_id}/response", STREAMING)
    await runtime.write(chunk(b"x" * 65536) + chunk(b"y"))
    await invocation._news.wait()
    api._time_out(invocation)
    assert await runtime._reader.read() == b""
    assert (await invocation.collect()).ending is Ending.TRUNCATED


async def test_background_work_times_out_after_a_whole_response(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    invocation = await api.invoke(b"{}", timeout=2)
    await runtime.next()
    await runtime.post(f"invocation/{invocation.request_id}/response", b"done")
    api._time_out(invocation)
    assert (await invocation.collect()).ending is Ending.CLEAN
    with pytest.raises(EnvironmentFailed, match="Task timed out"):
        await api.idle()


# Real functions. With a margin as long as the timeout they are told at once, and cancelled halfway.


class Function:
    """A pool of one environment at a time."""

    def __init__(self, timeout: float, handler: str = "functions:handler", **variables: str) -> None:
        self.failures: list[FunctionError] = []
        self.pool = Pool(
            lambda: Environment(handler, timeout=timeout, environ={**os.environ, **variables}),
            limit=1,
            on_failure=self.failures.append,
        )

    async def __aenter__(self) -> Pool:
        return self.pool

    async def __aexit__(self, *_: object) -> None:
        await self.pool.close()


async def pid_of_the_next(pool: Pool) -> bytes:
    """Serves one more request; returns the id of the process that did it."""
    return body(await (await pool.invoke(event("/pid"), timeout=LONGEST_TIMEOUT)).collect())


async def test_who_ends_when_told_has_ended_well_and_its_process_serves_the_next() -> None:
    async with Function(900, ASGI_STREAM_DEADLINE_MARGIN="900") as pool:
        result = await (await pool.invoke(event("/until-told"))).collect()
        assert result.ending is Ending.CLEAN
        pid, told = body(result).split()
        assert told == b"told"
        await settled(pool)
        assert await pid_of_the_next(pool) == pid


async def test_who_sleeps_is_cancelled_and_its_process_serves_the_next() -> None:
    async with Function(4, ASGI_STREAM_DEADLINE_MARGIN="4") as pool:
        result = await (await pool.invoke(event("/sleeps"))).collect()
        assert result.ending is Ending.TRAILERS
        assert result.error is not None
        assert result.error["errorType"] == "DeadlineExceeded"
        await settled(pool)
        assert await pid_of_the_next(pool) == body(result)


async def test_an_event_stream_is_closed_well_and_its_process_serves_the_next() -> None:
    """Also one that waits for nothing but its next event: it is cancelled."""
    async with Function(4, ASGI_STREAM_DEADLINE_MARGIN="4") as pool:
        result = await (await pool.invoke(event("/events"))).collect()
        assert (result.ending, result.error) == (Ending.CLEAN, None)
        await settled(pool)
        assert await pid_of_the_next(pool) == body(result)


async def test_who_blocks_before_the_start_is_killed_and_a_new_process_serves_the_next() -> None:
    async with Function(1) as pool:
        before = await pid_of_the_next(pool)
        await settled(pool)
        result = await (await pool.invoke(event("/blocks"))).collect()
        assert (result.ending, result.error_type) == (Ending.ERROR, "Sandbox.Timedout")
        assert await pid_of_the_next(pool) != before
        await settled(pool)
        assert gone(int(before))


async def test_who_blocks_in_the_background_is_killed_and_it_is_told() -> None:
    function = Function(LONGEST_TIMEOUT)
    async with function as pool:
        invocation = await pool.invoke(event("/blocks-after"))
        result = await invocation.collect()
        assert result.ending is Ending.CLEAN
        (running,) = environments(pool)
        running.api._time_out(invocation)
        await settled(pool)
        assert gone(int(body(result)))
        assert [failure.error_type for failure in function.failures] == ["Sandbox.Timedout"]
        assert await pid_of_the_next(pool) != body(result)


async def test_who_has_an_extension_hears_of_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of this stream reads nothing: no error gets through to it, and the runtime waits past its deadline."""
    monkeypatch.setattr(environment, "SHUTDOWN_LIMIT", 30.0)  # it ends by itself, however slow the machine is
    marker = tmp_path / "marker"
    async with Function(1, "functions:with_shutdown", SHUTDOWN_MARKER=str(marker)) as pool:
        invocation = await pool.invoke(event("/floods"))
        await invocation.finished()
        await settled(pool)
        assert (await invocation.collect()).error_type == "Sandbox.Timedout"
        assert marker.exists()
        marker.unlink()
        assert await pid_of_the_next(pool)


# What the process gets, by a stand-in for the runtime: it says which signals reach it.

STAND_IN = """
import http.client, os, signal, sys, threading
def heard(*_):
    os.write(lives, b"TERM")
    if "obeys" in sys.argv[0]:
        os._exit(0)
lives = os.open({lives!r}, os.O_WRONLY)
signal.signal(signal.SIGTERM, heard)
def ask(method, path, body=None, headers={{}}):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, path, body, headers)
    reply = connection.getresponse()
    return reply, reply.read()
if "extension" in sys.argv[0]:
    reply, _ = ask("POST", "/2020-01-01/extension/register", '{{"events":[]}}', {{"Lambda-Extension-Name": "x"}})
    identifier = reply.headers["Lambda-Extension-Identifier"]
    event = "/2020-01-01/extension/event/next", None, {{"Lambda-Extension-Identifier": identifier}}
    threading.Thread(target=ask, args=("GET", *event), daemon=True).start()
ask("GET", "/2018-06-01/runtime/invocation/next")
while True:
    signal.pause()
"""


@pytest.mark.parametrize(
    ("name", "expected"), [("plain", b""), ("extension-obeys", b"TERM"), ("extension-ignores", b"TERM")]
)
async def test_sigterm_comes_where_an_extension_is_registered_and_sigkill_always(
    tmp_path: Path, name: str, expected: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = asyncio.Event()

    async def wait_for(ending: asyncio.Future[None], limit: float) -> None:
        """In place of a clock: the time that a function has after SIGTERM is over once this test has heard of it."""
        assert limit == SHUTDOWN_LIMIT
        over = asyncio.ensure_future(told.wait())
        await asyncio.wait((ending, over), return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if not ending.done():
            raise TimeoutError

    lives = make_gate(tmp_path)
    program = tmp_path / f"{name}.py"
    program.write_text(STAND_IN.format(lives=str(lives)))
    bootstrap = tmp_path / "bootstrap"
    bootstrap.write_text(f"#!/bin/sh\nexec {shlex.join([sys.executable, str(program)])}\n")
    bootstrap.chmod(0o755)
    async with Environment("a.b", bootstrap=bootstrap, timeout=0.1) as function:
        reader = await anyio.to_thread.run_sync(opened, lives, "rb")
        with reader:
            await (await function.invoke(b"{}")).finished()
            with monkeypatch.context() as patched:
                patched.setattr(asyncio, "wait_for", wait_for)
                closing = asyncio.create_task(function.close())
                assert await anyio.to_thread.run_sync(reader.read, len(expected)) == expected
                told.set()
                await closing
            # The FIFO ends with the process that holds it open.
            assert await anyio.to_thread.run_sync(reader.read) == b""


async def test_a_long_init_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap = tmp_path / "bootstrap"
    bootstrap.write_text("#!/bin/sh\nsleep 1000\n")
    bootstrap.chmod(0o755)
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(environment, "INIT_LIMIT", 0.0)
    monkeypatch.setattr(environment, "warn", told.set_result)
    async with Environment("a.b", bootstrap=bootstrap):
        assert (await told).startswith("asgi-stream: init has taken 0 s and is not over")


# The commands


def test_dev_shows_the_break_tells_the_reason_and_serves_the_next() -> None:
    # The time is also that of a process's first answer.
    with dev("--timeout", "3", "--concurrency", "1") as running:
        with running.client.stream("GET", "/blocks-mid") as response:
            parts = response.iter_raw()
            blocked = int(next(parts))
            assert list(parts) == []
        assert int(running.client.get("/pid").text) != blocked
        assert running.client.get("/blocks").status_code == 502
        assert running.client.get("/pid").status_code == 200
        errors = running.stop()
    assert gone(blocked)
    line = (
        r"asgi-stream: GET {}: Sandbox\.Timedout: RequestId: [0-9a-f-]{{36}} Error: Task timed out after 3\.00 seconds"
    )
    for path in ("/blocks-mid", "/blocks"):
        assert len(re.findall(line.format(path), errors)) == 1, errors


@pytest.mark.parametrize("path", ["/blocks-mid", "/blocks-after"])
def test_invoke_has_a_timeout_too(path: str) -> None:
    """For the response and for the work after it."""
    result = subprocess.run(
        [*COMMAND, "invoke", "functions:handler", path, "--timeout", "3"],
        cwd=HERE,
        env=variables_of_a_command(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert "Task timed out after 3.00 seconds" in result.stderr
    assert gone(int(result.stdout))
