"""The runtime as a process: how it ends, what it says, and what cannot end it. The real ``bootstrap``, real signals."""

from __future__ import annotations

import gc
import json
import signal
from typing import TYPE_CHECKING

import pytest

from asgi_stream.local.runtime_api import EnvironmentFailed
from tests.support import process as support
from tests.support.events import function_url_event

if TYPE_CHECKING:
    import contextlib

pytestmark = pytest.mark.anyio


def process(handler: str) -> contextlib.AbstractAsyncContextManager[support.Process]:
    return support.process(f"tests.apps.process:{handler}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_idle_ends_the_lifespan_and_the_process(number: signal.Signals) -> None:
    async with process("handler") as running:
        assert (await running.invoke("/")).body.endswith(b"hello")
        await running.api.idle()
        running.child.send_signal(number)
        assert await running.end() == (0, "startup\nshutdown\n")


async def test_a_signal_in_mid_stream() -> None:
    async with process("handler") as running:
        invocation = await running.api.invoke(json.dumps(function_url_event(path="/waits")).encode())
        pieces = aiter(invocation)
        while not (await anext(pieces)).data.endswith(b"waiting"):
            pass
        running.child.send_signal(signal.SIGTERM)
        code, output = await running.end()
        assert (code, output) == (0, "startup\ncancelled\nshutdown\n")


async def test_garbage_is_looked_for_again_once_the_app_has_started() -> None:
    async with process("handler") as running:
        answer = json.loads((await running.invoke("/garbage")).body.partition(bytes(8))[2])
    at_import, threshold, enabled, frozen = answer
    assert at_import == 0
    assert (tuple(threshold), enabled) == (gc.get_threshold(), True)
    assert frozen > 10_000  # what the import has made


async def test_a_shutdown_that_fails_is_logged() -> None:
    async with process("fails_at_shutdown") as running:
        await running.api.idle()
        running.child.terminate()
        code, output = await running.end()
        assert code == 0
        assert "The function failed to shut down\nTraceback" in output
        assert "LifespanError: the app's shutdown failed: still busy" in output


async def test_a_startup_that_fails_is_an_init_error() -> None:
    async with process("fails_at_startup") as running:
        with pytest.raises(EnvironmentFailed) as failed:
            await running.api.idle()
        assert failed.value.error.error_type == "Function.LifespanError"
        assert failed.value.error.details["errorMessage"] == "the app's startup failed: no database"
        code, output = await running.end()
        assert code == 1
        assert "The function could not be started\nTraceback" in output


async def test_a_startup_that_exits_is_an_init_error() -> None:
    async with process("exits_at_startup") as running:
        with pytest.raises(EnvironmentFailed) as failed:
            await running.api.idle()
        assert failed.value.error.details["errorMessage"] == "the app raised SystemExit(3) in its lifespan"
        assert (await running.end())[0] == 1


async def test_a_startup_that_cancels_all_tasks_is_an_init_error() -> None:
    async with process("cancels_at_startup") as running:
        with pytest.raises(EnvironmentFailed) as failed:
            await running.api.idle()
        assert failed.value.error.error_type.startswith("Function.")
        assert (await running.end())[0] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_the_startup_hangs(number: signal.Signals) -> None:
    async with process("hangs_at_startup") as running:
        assert running.child.stdout is not None
        assert await running.child.stdout.readline() == b"starting\n"
        running.child.send_signal(number)
        code, output = await running.end()
        assert code == 0
        assert "The environment ends before the function has started" in output


async def test_a_startup_that_raises_is_warned_of() -> None:
    async with process("raises_at_startup") as running:
        assert (await running.invoke("/")).body.endswith(b"hello")
        await running.api.idle()
        running.child.terminate()
        code, output = await running.end()
        assert code == 0
        assert "is taken to have no lifespan\nTraceback" in output
        assert "ConnectionError: the database is down" in output


@pytest.mark.parametrize(
    ("path", "reported"),
    [
        ("/leaves-an-exit", False),
        ("/leaves-an-exit-while-open", False),
        ("/cancels-its-task", True),
        ("/cancels-its-task-after-the-end", False),
    ],
)
async def test_what_cannot_end_the_process(path: str, reported: bool) -> None:
    async with process("handler") as running:
        odd = await running.invoke(path)
        assert (odd.error is not None) is reported
        assert odd.body.endswith(b"Server Error" if reported and path == "/cancels-its-task" else b"hello")
        pid = running.child.pid
        assert (await running.invoke("/")).body.endswith(b"hello")
        await running.api.idle()
        assert running.child.pid == pid
        running.child.terminate()
        code, output = await running.end()
        assert code == 0
        if "exit" in path:
            assert "wanted to end the process; it goes on" in output


# What an app puts in the place of what the runtime uses too

MEDDLES = ["a task factory without a context", "a task factory that exits", "json", "environ"]


@pytest.mark.parametrize("what", MEDDLES)
@pytest.mark.parametrize("when", ["import", "startup", "an invocation"])
@pytest.mark.parametrize("handler", ["handler", "function"])
async def test_an_app_that_meddles_ends_nothing(handler: str, when: str, what: str) -> None:
    async with support.process(f"tests.apps.meddles:{handler}", {"WHAT": what, "WHEN": when}) as running:
        for _ in range(2):
            failed = await running.invoke("/fails")
            assert (failed.body.partition(bytes(8))[2], failed.error_type) == (b"some", "Function.ValueError")
            assert (await running.invoke("/")).body.endswith(b"some")
        await running.api.idle()
        running.child.terminate()
        code, output = await running.end()
    assert (code, output.count("shutdown\n")) == (0, 1)
    assert "never awaited" not in output


@pytest.mark.parametrize("what", MEDDLES)
async def test_an_import_that_meddles_and_fails_is_an_init_error(what: str) -> None:
    async with support.process("tests.apps.meddles:handler", {"WHAT": what, "WHEN": "an import that fails"}) as running:
        with pytest.raises(EnvironmentFailed) as failed:
            await running.api.idle()
        assert failed.value.error.error_type == "Function.ValueError"
        assert (await running.end())[0] == 1
