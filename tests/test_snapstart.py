"""SnapStart: hooks and their order, the restore, what is new after it, and how failures end the process."""

from __future__ import annotations

import asyncio
import contextvars
import io
import json
import os
import random
import signal
import ssl
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import snapshot_restore_py as package  # type: ignore[import-untyped]

from asgi_stream.local.runtime_api import EnvironmentFailed, RuntimeApiServer
from asgi_stream.runtime import snapstart
from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.requests import next_invocation, restore_next
from asgi_stream.runtime.snapstart import (
    AfterRestoreError,
    BeforeSnapshotError,
    SnapStartError,
    snapshot_and_restore,
)
from tests.support.emulator import BINARY, EmulatorPlatform, why_no_emulator
from tests.support.events import function_url_event
from tests.support.hostile import at_an_illegal_position, make_error
from tests.support.memory import MemoryStream, connects_to
from tests.support.platforms import REPO, Session
from tests.support.process import process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asgi_stream.local.http import HttpConnection

pytestmark = pytest.mark.anyio

HOST = "host:1"
RESTORED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Length: 15\r\n\r\n{"status":"OK"}'
RESTORE_NEXT = restore_next().encode(HOST)


@pytest.fixture(autouse=True)
def _no_hooks() -> Iterator[None]:
    """Each test registers its own hooks in the real package."""
    registries = (package.get_before_snapshot(), package.get_after_restore())
    kept = [list(registry) for registry in registries]
    for registry in registries:
        registry.clear()
    yield
    for registry, hooks in zip(registries, kept, strict=True):
        registry[:] = hooks


async def test_hooks_run_in_the_order_that_aws_documents() -> None:
    calls: list[str] = []
    package.register_before_snapshot(calls.append, "before 1")
    package.register_before_snapshot(lambda *texts, last: calls.append(" ".join((*texts, last))), "before", last="2")
    package.register_after_restore(calls.append, "after 1")
    package.register_after_restore(calls.append, "after 2")
    stream = MemoryStream()
    going_on = asyncio.create_task(
        snapshot_and_restore(Connection(HOST, connects_to(stream)), contextvars.copy_context())
    )
    await stream.has_written(1)
    assert stream.writes == [RESTORE_NEXT]
    assert calls == ["before 2", "before 1"]
    stream.say(RESTORED)
    await going_on
    assert calls == ["before 2", "before 1", "after 1", "after 2"]


async def test_a_hook_may_be_a_coroutine_function_and_register_further_ones() -> None:
    calls: list[str] = []

    @package.register_before_snapshot  # type: ignore[untyped-decorator]
    async def before() -> None:
        await asyncio.sleep(0)
        calls.append("before")
        package.register_before_snapshot(calls.append, "late")
        package.register_after_restore(after)

    async def after() -> None:
        await asyncio.sleep(0)
        calls.append("after")

    stream = MemoryStream()
    stream.say(RESTORED)
    await snapshot_and_restore(Connection(HOST, connects_to(stream)), contextvars.copy_context())
    assert calls == ["before", "late", "after"]


async def test_hooks_share_the_context_variables_of_the_startup() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variables = contextvars.copy_context()
    variables.run(variable.set, "startup")
    package.register_before_snapshot(lambda: variable.set(f"{variable.get()}, before"))
    package.register_after_restore(lambda: variable.set(f"{variable.get()}, after"))
    stream = MemoryStream()
    stream.say(RESTORED)
    await snapshot_and_restore(Connection(HOST, connects_to(stream)), variables)
    assert variables[variable] == "startup, before, after"
    assert variable.get(None) is None


async def test_no_connection_is_the_same_before_and_after() -> None:
    old, restore, new = MemoryStream(), MemoryStream(), MemoryStream()
    old.say(RESTORED)
    connection = Connection(HOST, connects_to(old, restore, new))
    await connection.request(next_invocation())
    kept: list[bool] = []

    @package.register_before_snapshot  # type: ignore[untyped-decorator]
    def before() -> None:
        kept.append(not old.closed)
        restore.say(RESTORED)

    await snapshot_and_restore(connection, contextvars.copy_context())
    assert (kept, old.closed) == ([True], True)
    assert restore.writes == [RESTORE_NEXT]
    assert restore.closed
    new.say(RESTORED)
    await connection.request(next_invocation())
    assert new.writes == [next_invocation().encode(HOST)]


async def test_without_the_package_there_are_no_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "snapshot_restore_py")
    stream = MemoryStream()
    stream.say(RESTORED)
    await snapshot_and_restore(Connection(HOST, connects_to(stream)), contextvars.copy_context())
    assert "snapshot_restore_py" not in sys.modules


async def test_randomness_is_new_after_the_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[tuple[bytes, float]] = []
    monkeypatch.setattr(ssl, "RAND_add", lambda *arguments: added.append(arguments))
    random.seed(7)
    expected = random.random()
    random.seed(7)
    seen: list[float] = []
    package.register_after_restore(lambda: seen.append(random.random()))
    stream = MemoryStream()
    stream.say(RESTORED)
    await snapshot_and_restore(Connection(HOST, connects_to(stream)), contextvars.copy_context())
    assert seen != [expected]
    ((data, entropy),) = added
    assert len(data) == entropy == 48


async def test_output_is_flushed_before_the_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = MemoryStream()
    stream.say(RESTORED)
    moments: list[int] = []

    class Output(io.StringIO):
        def flush(self) -> None:
            moments.append(len(stream.writes))

    package.register_before_snapshot(monkeypatch.setattr, sys, "stdout", Output())
    await snapshot_and_restore(Connection(HOST, connects_to(stream)), contextvars.copy_context())
    assert 0 in moments


def test_no_module_is_imported_for_its_randomness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapstart, "sys", types.SimpleNamespace(modules={}))
    state = random.getstate()
    snapstart._renew_randomness()
    assert random.getstate() == state


def request_of(data: bytes) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Request line, headers (lower-case names) and the JSON of the body."""
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    return line, dict(field.lower().split(": ", 1) for field in fields), json.loads(body)


def raises(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "error", [ConnectionError("no database"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr
)
async def test_a_hook_that_fails_before_the_snapshot(error: BaseException) -> None:
    calls: list[str] = []
    package.register_before_snapshot(calls.append, "not reached")
    package.register_before_snapshot(raises, error)
    stream = MemoryStream()
    stream.say(ACCEPTED)
    with pytest.raises(BeforeSnapshotError) as raised:
        await snapshot_and_restore(Connection(HOST, connects_to(stream)), contextvars.copy_context())
    assert raised.value.exit_code == 64
    assert raised.value.__cause__ is error
    assert calls == []
    (written,) = stream.writes
    line, headers, report = request_of(written)
    assert line == "POST /2018-06-01/runtime/init/error HTTP/1.1"
    assert headers["lambda-runtime-function-error-type"] == "runtime.beforesnapshoterror"
    assert report["errorType"] == type(error).__name__
    assert report["errorMessage"] == str(error)
    assert "in raises" in report["stackTrace"][-1]
    assert stream.closed


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_hook_that_raises_what_cannot_be_told(moment: str) -> None:
    error = make_error(SystemExit, dict.fromkeys(("__str__", "__repr__", "__bool__"), ("raises", SystemExit)))
    at_an_illegal_position(error)
    register = package.register_before_snapshot if moment == "before" else package.register_after_restore
    register(raises, error)
    stream, new = MemoryStream(), MemoryStream()
    for each in (stream, new):
        each.say(RESTORED)
    with pytest.raises(SnapStartError):
        await snapshot_and_restore(Connection(HOST, connects_to(stream, new)), contextvars.copy_context())
    report = request_of((stream if moment == "before" else new).writes[0])[2]
    assert (report["errorType"], report["errorMessage"]) == ("Hostile", "<Hostile: its text could not be made>")
    assert "in at_an_illegal_position" in report["stackTrace"][-1]


@pytest.mark.parametrize(
    "there", [None, object(), types.SimpleNamespace(seed=7, RAND_add=7)], ids=["none", "object", "7"]
)
async def test_a_module_of_the_apps_own_that_is_called_random(monkeypatch: pytest.MonkeyPatch, there: object) -> None:
    for name in ("random", "ssl"):
        monkeypatch.setitem(sys.modules, name, there)
    stream = MemoryStream()
    stream.say(RESTORED)
    await snapshot_and_restore(Connection(HOST, connects_to(stream)), contextvars.copy_context())


async def test_randomness_that_cannot_be_renewed_ends_the_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "random", types.SimpleNamespace(seed=lambda: raises(SystemExit(3))))
    stream, new = MemoryStream(), MemoryStream()
    for each in (stream, new):
        each.say(RESTORED)
    with pytest.raises(AfterRestoreError):
        await snapshot_and_restore(Connection(HOST, connects_to(stream, new)), contextvars.copy_context())
    assert request_of(new.writes[0])[2]["errorType"] == "SystemExit"


@pytest.mark.parametrize("error", [ConnectionError("no database"), SystemExit(3)], ids=repr)
async def test_a_hook_that_fails_after_the_restore(error: BaseException) -> None:
    calls: list[str] = []
    package.register_after_restore(raises, error)
    package.register_after_restore(calls.append, "not reached")
    restore, new = MemoryStream(), MemoryStream()
    restore.say(RESTORED)
    new.say(ACCEPTED)
    with pytest.raises(AfterRestoreError) as raised:
        await snapshot_and_restore(Connection(HOST, connects_to(restore, new)), contextvars.copy_context())
    assert raised.value.exit_code == 65
    assert calls == []
    (written,) = new.writes
    line, headers, report = request_of(written)
    assert line == "POST /2018-06-01/runtime/restore/error HTTP/1.1"
    assert headers["lambda-runtime-function-error-type"] == "runtime.afterrestoreerror"
    assert report["errorType"] == type(error).__name__


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "status 403"),
        (b"", "no reply from the Runtime API"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no reply from the Runtime API"),
    ],
)
async def test_a_snapshot_that_lambda_does_not_take(answer: bytes, told: str) -> None:
    restore, new = MemoryStream(), MemoryStream()
    restore.say(answer)
    new.say(ACCEPTED)
    with pytest.raises(BeforeSnapshotError):
        await snapshot_and_restore(Connection(HOST, connects_to(restore, new)), contextvars.copy_context())
    assert told in request_of(b"".join(new.writes))[2]["errorMessage"]


async def test_an_error_that_cannot_be_reported_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BeforeSnapshotError):
        await snapshot_and_restore(Connection(HOST, connects_to()), contextvars.copy_context())
    output = "".join(capsys.readouterr())
    assert "cannot be reached" in output
    assert "could not be reported" in output


# The real bootstrap

HANDLER = "tests.apps.snapstart_app:handler"
SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
BEFORE = ["startup", "before, the database was open", "before, second", "before, first"]
AFTER = ["after, the database was closed", "after, second"]


async def restored(*signals: signal.Signals) -> str:
    """The answer of an environment that has been restored; the signals come while it waits for that."""
    async with process(HANDLER, SNAP_START) as running:
        await running.api.ready_for_snapshot()
        assert await running.lines(4) == BEFORE
        for number in signals:
            running.child.send_signal(number)
        running.api.restore()
        page = await running.invoke()
        assert await running.lines(2) == AFTER
        await running.api.idle()
        running.child.terminate()
        assert await running.end() == (0, "shutdown\n")
        return page.body.partition(bytes(8))[2].decode()


async def test_a_snapshot_and_its_restore() -> None:
    answers = [await restored(), await restored(signal.SIGSTOP, signal.SIGCONT)]
    assert all(answer.startswith("opened again ") for answer in answers)
    # Both have called random.seed(7) in their startup.
    assert len(set(answers)) == 2


async def test_the_extension_is_ready_before_the_snapshot() -> None:
    async with process(HANDLER, SNAP_START) as running:
        await running.api.ready_for_snapshot()
        assert running.api.extensions.names == ["asgi-stream"]
        assert running.api.extensions.ready


async def test_sigterm_while_the_snapshot_waits() -> None:
    async with process(HANDLER, SNAP_START) as running:
        await running.api.ready_for_snapshot()
        running.child.terminate()
        assert await running.end() == (0, "\n".join([*BEFORE, "shutdown", ""]))


async def test_without_snapstart_no_hook_runs() -> None:
    async with process(HANDLER) as running:
        assert b"open " in (await running.invoke()).body
        await running.api.idle()
        running.child.terminate()
        assert await running.end() == (0, "startup\nshutdown\n")


@pytest.mark.parametrize("how", ["FAILS", "EXITS"])
async def test_exit_code_64(how: str) -> None:
    async with process(HANDLER, {**SNAP_START, how: "before, second"}) as running:
        with pytest.raises(EnvironmentFailed) as failed:
            await running.api.ready_for_snapshot()
        assert failed.value.error.error_type == "Runtime.BeforeSnapshotError"
        assert failed.value.error.details["errorType"] == ("ConnectionError" if how == "FAILS" else "SystemExit")
        code, output = await running.end()
        assert code == 64
        assert "before, first" not in output
        assert "Traceback" in output
        assert output.endswith("shutdown\n")


@pytest.mark.parametrize("how", ["FAILS", "EXITS"])
async def test_exit_code_65(how: str) -> None:
    async with process(HANDLER, {**SNAP_START, how: AFTER[0]}) as running:
        await running.api.ready_for_snapshot()
        running.api.restore()
        with pytest.raises(EnvironmentFailed) as failed:
            await running.api.idle()
        assert failed.value.error.error_type == "Runtime.AfterRestoreError"
        assert failed.value.error.details["errorType"] == ("ConnectionError" if how == "FAILS" else "SystemExit")
        code, output = await running.end()
        assert code == 65
        assert "after, second" not in output
        assert output.endswith("shutdown\n")


class WithoutSnapStart(RuntimeApiServer):
    """A Runtime API that knows no restore, as the emulator without its flag."""

    async def _restore_next(self, http: HttpConnection) -> None:
        await http.read_body()
        await http.reply(404, b"404 page not found", {})


async def test_a_runtime_api_that_knows_no_restore() -> None:
    async with process(HANDLER, SNAP_START, WithoutSnapStart()) as running:
        with pytest.raises(EnvironmentFailed) as failed:
            await running.api.ready_for_snapshot()
        assert failed.value.error.error_type == "Runtime.BeforeSnapshotError"
        assert "status 404" in failed.value.error.details["errorMessage"]
        assert (await running.end())[0] == 64


class SnapStartEmulator(EmulatorPlatform):
    """The emulator with its flag for SnapStart.

    It takes no snapshot: it answers ``/restore/next`` when it is invoked, with the event in its body, which on Lambda
    is empty, and then has none for ``/next``. So it shows all up to there, and not the first invocation.
    """

    def __init__(self, **variables: str) -> None:
        super().__init__(HANDLER.replace(":", "."))
        self.variables = variables

    async def _start(self, options: Sequence[str]) -> Session:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LAMBDA_", "_"))}
        env |= {"LAMBDA_TASK_ROOT": str(REPO), **SNAP_START, **self.variables}
        env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env.get("PATH", os.defpath)))
        return await Session.start([REPO / BINARY, "--enable-init-caching", *options, *self._command], env, REPO)


@pytest.mark.skipif(why_no_emulator() is not None, reason=str(why_no_emulator()))
async def test_on_the_emulator() -> None:
    async with SnapStartEmulator() as emulator:
        invoking = asyncio.create_task(emulator.invoke(json.dumps(function_url_event()).encode()))
        await emulator.output.wait_for(AFTER[-1])
        places = [emulator.output.text.index(line) for line in [*BEFORE, *AFTER]]
        assert places == sorted(places)
        assert "State transition is not allowed" not in emulator.output.text
        invoking.cancel()
        await asyncio.wait((invoking,))


@pytest.mark.skipif(why_no_emulator() is not None, reason=str(why_no_emulator()))
@pytest.mark.parametrize(("moment", "code"), [(BEFORE[2], 64), (AFTER[0], 65)])
async def test_exit_codes_on_the_emulator(moment: str, code: int) -> None:
    async with SnapStartEmulator(FAILS=moment) as emulator:
        outcome = await emulator.invoke(json.dumps(function_url_event()).encode())
        assert outcome.error is not None
        await emulator.output.wait_for(f"exit status {code}")
