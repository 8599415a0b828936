"""Execution environments as real child processes, and the pool of them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
import pytest

from asgi_stream.local.environment import Environment, lambda_environment
from asgi_stream.local.function_url import Request, build_event
from asgi_stream.local.invocation import Ending
from asgi_stream.local.pool import Pool, Throttled
from asgi_stream.local.prelude import DELIMITER
from asgi_stream.local.runtime_api import EnvironmentFailed
from tests.support.dev import CHECKOUT

from .support import environments, make_gate, open_gate, opened, settled

if TYPE_CHECKING:
    from asgi_stream.local.function_error import FunctionError
    from asgi_stream.local.invocation import Collected, Invocation

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _task_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)


def event(path: str, query: str = "") -> bytes:
    return json.dumps(build_event(Request(method="GET", raw_path=path.encode(), query=query.encode()))).encode()


def function(**variables: str) -> Environment:
    return Environment("functions:handler", environ={**os.environ, **variables})


def body(result: Collected) -> bytes:
    return result.body.partition(DELIMITER)[2]


async def first_body(invocation: Invocation) -> bytes:
    """The first body bytes; the function has not gone on."""
    async for piece in invocation:
        if DELIMITER not in piece.data:
            return piece.data
    raise AssertionError("no body")


async def test_the_child_runs_and_ends() -> None:
    async with function() as environment:
        result = await (await environment.invoke(event("/pid"))).collect()
        assert body(result) == str(environment.pid).encode()
        pid = environment.pid
        assert pid is not None
        assert os.getpgid(pid) == pid != os.getpgid(0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    bootstrap = tmp_path / "bootstrap"
    # Shell and helper both hold the FIFO open for as long as they live: its reader sees the end when both are gone.
    lives = make_gate(tmp_path)
    bootstrap.write_text(f"#!/bin/sh\ntrap '' TERM\nexec 3> \"{lives}\"\nsleep 1000 &\nwait\n")
    bootstrap.chmod(0o755)
    async with Environment("a.b", bootstrap=bootstrap):
        reader = await anyio.to_thread.run_sync(opened, lives, "rb")
    with reader:
        assert await anyio.to_thread.run_sync(reader.read) == b""


async def test_a_bootstrap_that_is_missing() -> None:
    async with Environment("a.b", bootstrap=Path("does-not-exist")) as environment:
        with pytest.raises(EnvironmentFailed, match=r"InvalidEntrypoint.*could not be started"):
            await environment.idle()


async def test_how_the_child_is_started(tmp_path: Path) -> None:
    bootstrap = tmp_path / "bootstrap"
    bootstrap.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" "$_HANDLER" > "{tmp_path}/seen"\n')
    bootstrap.chmod(0o755)
    async with Environment("a.b:c", bootstrap=bootstrap) as environment:
        with pytest.raises(EnvironmentFailed, match=r"ended with status 0 before its first poll"):
            await environment.idle()
    assert (tmp_path / "seen").read_text().split() == [sys.executable, "/var/runtime/bootstrap.py", "a.b.c"]


def test_the_childs_variables() -> None:
    user = {
        "AWS_PROFILE": "mine",
        "AWS_LAMBDA_MAX_CONCURRENCY": "3",
        "AWS_LAMBDA_EXEC_WRAPPER": "/x",
        "AWS_REGION": "eu",
    }
    variables = lambda_environment("a.b:c", "127.0.0.1:1", user)
    assert variables.pop("AWS_LAMBDA_LOG_STREAM_NAME")
    assert variables == {
        "AWS_PROFILE": "mine",
        "AWS_REGION": "eu",
        "AWS_DEFAULT_REGION": "eu",
        "_HANDLER": "a.b.c",
        "LAMBDA_TASK_ROOT": str(Path.cwd()),
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1",
        "AWS_LAMBDA_FUNCTION_NAME": "local",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/local",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "PYTHONUNBUFFERED": "1",
        "_ASGI_STREAM_LOCAL": "1",
    }


@pytest.mark.parametrize("spec", ["", "name", ":handler", "module:", ".a", "a:b:c"])
def test_no_handler(spec: str) -> None:
    with pytest.raises(ValueError, match="names no handler"):
        Environment(spec)


class Started:
    """A pool of the test function, and the failures that it told."""

    def __init__(self, **options: Any) -> None:
        self.variables: dict[str, str] = {}
        self.failures: list[FunctionError] = []
        self.pool = Pool(lambda: function(**self.variables), on_failure=self.failures.append, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pool.close()

    async def run(self, path: str, query: str = "") -> Collected:
        return await (await self.pool.invoke(event(path, query))).collect()


async def test_an_idle_environment_is_used_again() -> None:
    async with Started() as started:
        await started.pool.start()
        pids = set()
        for _ in range(3):
            pids.add(body(await started.run("/pid")))
            await settled(started.pool)
        assert len(pids) == 1
        assert len(environments(started.pool)) == 1


async def test_a_further_one_starts_while_one_is_busy_and_the_limit_holds(tmp_path: Path) -> None:
    gates = [make_gate(tmp_path, name) for name in "ab"]
    async with Started(limit=2) as started:
        streams = [await started.pool.invoke(event("/gate", f"gate={gate}")) for gate in gates]
        pids = [await first_body(stream) for stream in streams]
        assert len(set(pids)) == 2
        with pytest.raises(Throttled):
            await started.pool.invoke(event("/pid"))
        for gate, stream in zip(gates, streams, strict=True):
            await anyio.to_thread.run_sync(open_gate, gate)
            assert (await stream.collect()).ending is Ending.CLEAN
        await settled(started.pool)
        assert body(await started.run("/pid")) in [pid.strip() for pid in pids]


async def test_the_one_used_last_is_used_first(tmp_path: Path) -> None:
    gates = [make_gate(tmp_path, name) for name in "ab"]
    async with Started() as started:
        streams = [await started.pool.invoke(event("/gate", f"gate={gate}")) for gate in gates]
        first, _ = [(await first_body(stream)).strip() for stream in streams]
        for gate, stream in reversed(list(zip(gates, streams, strict=True))):
            await anyio.to_thread.run_sync(open_gate, gate)
            await stream.collect()
            # Free in this order: the next gate is opened when this child polls again.
            for environment in environments(started.pool):
                if environment.answered:
                    await environment.idle()
        await settled(started.pool)
        assert body(await started.run("/pid")) == first


async def test_background_work_keeps_an_environment_busy(tmp_path: Path) -> None:
    gate = make_gate(tmp_path)
    async with Started(limit=1) as started:
        busy = await started.run("/background", f"gate={gate}")
        with pytest.raises(Throttled):
            await started.pool.invoke(event("/pid"))
        await anyio.to_thread.run_sync(open_gate, gate)
        await settled(started.pool)
        assert body(await started.run("/pid")) == body(busy)


async def test_an_internal_extension_gets_each_invocation_and_keeps_the_environment_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CHECKOUT)
    events = make_gate(tmp_path)
    handler = "tests.local.with_extension:handler"
    pool = Pool(lambda: Environment(handler, environ={**os.environ, "EVENTS": str(events)}), limit=1)
    pids = set()
    try:
        for request_id in ("one", "two"):
            pids.add(body(await (await pool.invoke(event("/pid"), request_id=request_id)).collect()))
            with pytest.raises(Throttled):
                await pool.invoke(event("/pid"))
            told = json.loads(await anyio.to_thread.run_sync(events.read_bytes))
            assert (told["eventType"], told["requestId"]) == ("INVOKE", request_id)
            await settled(pool)
    finally:
        await pool.close()
    assert len(pids) == 1


async def test_a_crash_fails_its_request_only() -> None:
    async with Started(limit=1) as started:
        result = await started.run("/crash")
        assert (result.ending, result.error_type) == (Ending.ERROR, "Runtime.ExitError")
        assert result.error == {"errorMessage": "the function's process ended with status 3"}
        assert body(await started.run("/pid"))
        assert started.failures == []


async def test_a_crash_in_mid_stream_truncates() -> None:
    async with Started(limit=1) as started:
        result = await started.run("/crash-mid")
        assert (result.ending, body(result)) == (Ending.TRUNCATED, b"one")
        await settled(started.pool)
        assert body(await started.run("/pid"))


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("BROKEN_INIT", "broken on purpose"), ("EXIT_IN_INIT", "ended with status 7 before its first poll")],
)
async def test_a_failing_init_fails_the_request_and_the_next_tries_again(variable: str, expected: str) -> None:
    async with Started(limit=1) as started:
        started.variables = {variable: "1"}
        result = await started.run("/pid")
        assert result.ending is Ending.ERROR
        assert result.error is not None
        assert expected in result.error["errorMessage"]
        started.variables = {}
        assert body(await started.run("/pid"))
        assert started.failures == []


async def test_a_failing_first_init_is_told_at_once() -> None:
    async with Started(limit=1) as started:
        started.variables = {"BROKEN_INIT": "1"}
        await started.pool.start()
        await settled(started.pool)
        assert ["broken on purpose" in str(failure) for failure in started.failures] == [True]
        started.variables = {}
        assert body(await started.run("/pid"))


async def test_an_environment_that_takes_no_invocation_stays_free() -> None:
    async with Started(limit=1) as started:
        first = body(await started.run("/pid"))
        await settled(started.pool)
        for _ in range(3):
            with pytest.raises(ValueError, match="Lambda-Runtime-Trace-Id"):
                await started.pool.invoke(event("/pid"), trace_id="Root=1\x01")
        assert body(await started.run("/pid")) == first


async def test_an_environment_that_died_idle_is_replaced() -> None:
    async with Started(limit=1) as started:
        dead = body(await started.run("/pid"))
        await settled(started.pool)
        (environment,) = environments(started.pool)
        os.kill(int(dead), 9)
        assert environment._watcher is not None
        await environment._watcher
        assert body(await started.run("/pid")) != dead
        assert ["by SIGKILL" in str(failure) for failure in started.failures] == [True]
