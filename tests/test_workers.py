"""``workers=N`` on Managed Instances: several processes that share the slots. The real ``bootstrap``, real signals."""

from __future__ import annotations

import asyncio
import collections
import json
import os
import re
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream.local.invocation import Ending
from asgi_stream.runtime import workers
from asgi_stream.runtime.workers import MOST_DEATHS, SETTLED, Workers, share
from tests.support.emulator import ManagedInstancesPlatform, why_no_managed_instances
from tests.support.events import function_url_event
from tests.support.process import process
from tests.support.slots import managed_instance

if TYPE_CHECKING:
    from pathlib import Path

    from asgi_stream.local.invocation import Invocation
    from tests.support.slots import Environment

pytestmark = pytest.mark.anyio

TWO = "tests.apps.workers_app:two"
BY_VARIABLE = "tests.apps.workers_app:by_variable"


async def facts(invocation: Invocation) -> dict[str, Any]:
    """The first chunk of a response that is open; reads no further."""
    async for piece in invocation:
        if not piece.data.startswith(b'{"statusCode"'):
            found: dict[str, Any] = json.loads(piece.data)
            return found
    raise AssertionError(invocation.end)


async def occupy(environment: Environment, slots: int, path: str = "/waits") -> list[tuple[Invocation, dict[str, Any]]]:
    """Opens a response in each slot; returns them all open at once."""
    await environment.api.polled(slots)
    invocations = [environment.api.invoke(path) for _ in range(slots)]
    return [(invocation, await facts(invocation)) for invocation in invocations]


def printed(environment: Environment, what: str) -> list[int]:
    """The processes that have printed ``what``."""
    return [int(pid) for pid in re.findall(rf"{what} (\d+)", environment.output)]


def logged(environment: Environment, text: str) -> list[dict[str, Any]]:
    """The log records with ``text`` in their message."""
    lines = [line[line.index("{") :] for line in environment.output.splitlines() if '{"timestamp"' in line]
    return [record for record in map(json.loads, lines) if text in record["message"]]


@pytest.mark.parametrize(
    ("slots", "workers", "shares"),
    [(10, 3, [4, 3, 3]), (2, 2, [1, 1]), (32, 1, [32]), (3, 8, [1, 1, 1]), (1, 4, [1]), (9, 2, [5, 4])],
)
def test_the_slots_are_shared(slots: int, workers: int, shares: list[int]) -> None:
    assert share(slots, workers) == shares


async def test_two_workers_serve_at_once_and_share_the_slots() -> None:
    """All five streams are open before the first goes on."""
    async with managed_instance(TWO, 5) as running:
        opened = await occupy(running, 5)
        served = collections.Counter(found["pid"] for _, found in opened)
        assert sorted(served.values()) == [2, 3]
        assert sorted(served) == sorted(printed(running, "startup"))
        assert running.session._process.pid not in served
        for pid in served:
            os.kill(pid, signal.SIGUSR1)
        for invocation, _ in opened:
            assert [piece.data async for piece in invocation] == [b" end"]
            assert invocation.end is not None
            assert invocation.end.ending is Ending.CLEAN
        # Every slot goes on.
        assert sorted(collections.Counter(found["pid"] for _, found in await occupy(running, 5, "/")).values()) == [
            2,
            3,
        ]


async def test_a_worker_has_a_loop_and_randomness_of_its_own() -> None:
    async with managed_instance(TWO, 2, TEST_LOOP_AT_IMPORT="1", PYTHONUNBUFFERED="") as running:
        (_, one), (_, other) = await occupy(running, 2)
        assert one["random"] != other["random"]
        assert one["ssl"] != other["ssl"]
        # What a module has kept of the loop of its import says clearly that it is not the one.
        assert one["loop at import"] == other["loop at import"] == [False, True]
        assert running.output.count("text without an end of its line") == 1


async def test_the_variable_and_no_more_workers_than_slots() -> None:
    async with managed_instance(BY_VARIABLE, 3, ASGI_STREAM_WORKERS="8") as running:
        assert len({found["pid"] for _, found in await occupy(running, 3)}) == 3


async def test_elsewhere_workers_are_ignored_and_that_is_said() -> None:
    async with process(TWO) as running:
        assert json.loads((await running.invoke("/")).chunks[1])["pid"] == running.child.pid
        await running.api.idle()
        running.child.terminate()
        code, output = await running.end()
        assert code == 0
        assert output.count("workers=2 is for Lambda Managed Instances") == 1


async def test_one_worker_is_the_process_itself() -> None:
    async with managed_instance(BY_VARIABLE, 2) as running:
        assert {found["pid"] for _, found in await occupy(running, 2)} == {running.session._process.pid}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_workers_with_their_shutdown(number: signal.Signals) -> None:
    async with managed_instance(TWO, 2) as running:
        opened = await occupy(running, 2)
        running.session._process.send_signal(number)
        assert await running.exit() == 0
        assert sorted(printed(running, "shutdown")) == sorted(found["pid"] for _, found in opened)


async def test_a_signal_to_every_process_at_once() -> None:
    """Lambda may signal the whole group; a terminal does."""
    async with managed_instance(TWO, 2) as running:
        await running.api.polled(2)
        os.killpg(running.session._process.pid, signal.SIGTERM)
        assert await running.exit() == 0
        assert len(printed(running, "shutdown")) == 2


async def test_no_worker_outlives_its_parent() -> None:
    """The output ends when no process is left that could write."""
    async with managed_instance(TWO, 2) as running:
        opened = await occupy(running, 2)
        running.session._process.kill()
        assert await running.exit() == -signal.SIGKILL
        assert sorted(printed(running, "shutdown")) == sorted(found["pid"] for _, found in opened)


async def test_a_worker_that_blocks_is_killed_in_the_end() -> None:
    async with managed_instance(TWO, 2, TEST_END_LIMIT="2") as running:
        await running.api.polled(2)
        blocked = await facts(running.api.invoke("/blocks"))
        await running.session.output.wait_for("blocking")
        running.session._process.terminate()
        assert await running.exit() == 0
        assert f"The worker {blocked['pid']} did not end, and was killed" in running.output
        assert len(printed(running, "shutdown")) == 1


@pytest.mark.parametrize(
    ("path", "manner"), [("/killed", "(Killed)"), ("/exits", "(exit code 1)")], ids=["by a signal", "by itself"]
)
async def test_a_worker_that_dies_is_replaced_and_the_others_go_on(path: str, manner: str) -> None:
    async with managed_instance(TWO, 2) as running:
        await running.api.polled(2)
        staying = running.api.invoke("/waits")
        survivor = (await facts(staying))["pid"]
        dying = running.api.invoke(path)
        dead = (await facts(dying))["pid"]
        assert dead != survivor
        await dying.finished()
        assert dying.end is not None
        assert dying.end.ending is Ending.TRUNCATED
        await running.api.polled(1)
        successor = (await facts(running.api.invoke("/waits")))["pid"]
        assert successor not in (dead, survivor)
        os.kill(survivor, signal.SIGUSR1)
        assert [piece.data async for piece in staying] == [b" end"]
        (record,) = logged(running, "has died")
        assert record["level"] == "ERROR"
        assert record["message"].startswith(
            f"The worker {dead} has died {manner}, and with it the invocations in its 1"
        )
        running.session._process.terminate()
        assert await running.exit() == 0
        assert sorted(printed(running, "shutdown")) == sorted((survivor, successor))


async def test_deaths_in_a_row_end_the_environment() -> None:
    async with managed_instance(TWO, 2, TEST_FAILS="by signal") as running:
        assert await running.exit() == 1
        # Of those that died after it nothing is said: the environment has ended by then.
        assert len(logged(running, "another takes its place")) == MOST_DEATHS - 1
        (last,) = logged(running, "the environment ends")
        assert last["level"] == "CRITICAL"
        assert running.api.init_errors == []


def test_deaths_that_are_not_in_a_row_are_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has lived for a while begins the row, and its pauses, again."""
    pauses: list[float] = []
    ended: list[bool] = []
    monkeypatch.setattr(workers, "select", SimpleNamespace(select=lambda *arguments: pauses.append(arguments[-1])))
    parent = Workers([1])
    monkeypatch.setattr(parent, "_give_up", lambda: ended.append(True))
    for lived in (1.0, 1.0, 1.0, SETTLED, 1.0, 1.0, 1.0):
        parent._judge(1, -signal.SIGKILL, 1, lived)
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.1, 0.2, 0.4, 0.8])
    assert ended == []
    parent._judge(1, -signal.SIGKILL, 1, 1.0)
    assert (len(pauses), ended) == (7, [True])
    os.close(parent._told)
    os.close(parent._tell)


async def test_a_startup_that_fails_is_an_init_error_and_ends_all() -> None:
    async with managed_instance(TWO, 4, TEST_FAILS="at startup") as running:
        assert await running.exit() == 1
        first, *more = running.api.init_errors
        assert first.error_type == "Function.LifespanError"
        assert len(more) <= 1  # which Lambda refuses; no worker is replaced
        assert logged(running, "has died") == []
        assert "poll" not in running.api.calls


async def test_a_module_that_fails_is_reported_once() -> None:
    async with managed_instance(TWO, 4, TEST_FAILS="at import") as running:
        assert await running.exit() == 1
        (error,) = running.api.init_errors
        assert error.details["errorMessage"] == "no table"


async def test_one_extension_is_registered_before_any_worker_polls() -> None:
    async with managed_instance(TWO, 4) as running:
        await running.api.polled(4)
        await running.api.called("wait for events")
        assert sorted(running.api.calls) == ["poll", "register", "wait for events"]
        assert running.api.calls.index("register") < running.api.calls.index("poll")
        assert "SIGTERM" not in running.output


async def test_the_extension_can_be_switched_off() -> None:
    async with managed_instance(TWO, 2, ASGI_STREAM_SHUTDOWN_EXTENSION="off") as running:
        await running.api.polled(2)
        assert running.api.calls == ["poll"]


async def test_threads_of_the_import_are_warned_of() -> None:
    async with managed_instance(TWO, 2, TEST_THREAD_AT_IMPORT="1") as running:
        await running.api.polled(2)
        (record,) = logged(running, "started at the import")
        assert "made-at-import" in record["message"]


async def test_a_process_that_the_import_has_started_is_no_worker() -> None:
    async with managed_instance(TWO, 2, TEST_CHILD_AT_IMPORT="1") as running:
        await running.api.polled(2)
        running.session._process.terminate()
        assert await running.exit() == 0
        assert logged(running, "has died") == []


async def test_each_worker_has_log_sockets_of_its_own(tmp_path: Path) -> None:
    """Lambda tells by the connection which process a line is of."""
    texts: list[bytearray] = []
    grown = asyncio.Condition()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = bytearray()
        texts.append(text)
        while data := await reader.read(65_536):
            text += data
            async with grown:
                grown.notify_all()
        writer.close()

    def senders() -> list[list[bytes]]:
        return [found for text in texts if (found := re.findall(rb"startup (\d+)", text))]

    path = tmp_path / "provider"
    async with (
        await asyncio.start_unix_server(read, path),
        managed_instance(TWO, 2, _LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET=str(path)) as running,
    ):
        async with asyncio.timeout(20), grown:
            await grown.wait_for(lambda: len(senders()) == 2)
        await running.api.polled(2)
        assert [len(found) for found in senders()] == [1, 1]
        assert len(texts) == 6  # stdout and stderr of the parent and of each worker


class TwoSlots(ManagedInstancesPlatform):
    slots = 2


async def meet(platform: TwoSlots) -> set[int]:
    """Opens a response in each slot; lets both go on when both are open; returns the processes that served them."""
    since = len(platform.output.text)
    event = json.dumps(function_url_event(path="/waits")).encode()
    invocations = [asyncio.create_task(platform._exchange(event)) for _ in range(2)]
    await platform.output.wait_for("waits ", since)
    await platform.output.wait_for("waits ", platform.output.text.index("waits ", since) + 1)
    waiting = set(map(int, re.findall(r"waits (\d+)", platform.output.text[since:])))
    for pid in waiting:
        os.kill(pid, signal.SIGUSR1)
    outcomes = [await invocation for invocation in invocations]
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert {json.loads(outcome.body.partition(bytes(8))[2][:-4])["pid"] for outcome in outcomes} == waiting
    return waiting


async def test_two_workers_on_awss_own_server() -> None:
    """It sends one invocation to each slot."""
    if (reason := why_no_managed_instances()) is not None:
        pytest.skip(reason)
    async with TwoSlots("tests.apps.workers_app.two") as platform:
        assert len(await meet(platform)) == 2


async def test_a_worker_that_dies_on_awss_own_server() -> None:
    """Its invocation ends at once, in an error, and the environment goes on with both of its slots."""
    if (reason := why_no_managed_instances()) is not None:
        pytest.skip(reason)
    async with TwoSlots("tests.apps.workers_app.two") as platform:
        dying = await platform._exchange(json.dumps(function_url_event(path="/killed")).encode())
        assert dying.error_type == "Runtime.TruncatedResponse"
        await platform.output.wait_for("another takes its place")
        assert len(await meet(platform)) == 2
