"""The end of an environment: the extension that makes Lambda announce it, and the app's shutdown within its time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.local.runtime_api import RuntimeApiServer
from asgi_stream.runtime import extension, loop
from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.extension import ask_for_sigterm, shut_down
from asgi_stream.runtime.loop import Runtime
from asgi_stream.runtime.requests import next_extension_event, register_extension
from tests.support.emulator import EmulatorPlatform, why_no_emulator
from tests.support.events import function_url_event
from tests.support.hostile import make_error
from tests.support.memory import MemoryStream, connects_to
from tests.support.process import process
from tests.support.wire import FakeRuntimeApi

if TYPE_CHECKING:
    from collections.abc import Callable

    import h11

    from asgi_stream.local.http import HttpConnection

pytestmark = pytest.mark.anyio

HOST = "host:1"
REGISTERED = b"HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: id-1\r\nContent-Length: 2\r\n\r\n{}"
REGISTER = register_extension().encode(HOST)
POLL = next_extension_event("id-1").encode(HOST)


def reply(status: int, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def never() -> None:
    raise AssertionError("nobody said that the environment ends")


def warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    return [line for line in (captured.out + captured.err).splitlines() if line.startswith("[")]


async def registered(stream: MemoryStream, stop: Callable[[], object] = never) -> asyncio.Task[None]:
    """Returns once the request for an event is open."""
    stream.say(REGISTERED)
    task = await ask_for_sigterm(Connection(HOST, connects_to(stream)), stop)
    assert task is not None
    await stream.has_written(2)
    return task


async def test_it_registers_and_leaves_a_request_open() -> None:
    stream = MemoryStream()
    task = await registered(stream)
    assert stream.writes == [REGISTER, POLL]
    assert not task.done()
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    assert stream.closed


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(403, b'{"errorType":"Extension.RegistrationClosed"}'), id="refused"),
        pytest.param(reply(404, b"404 page not found"), id="no endpoint"),
        pytest.param(reply(500), id="broken"),
        pytest.param(reply(200, b"{}"), id="no identifier"),
        pytest.param(
            b"HTTP/1.1 202 Accepted\r\nLambda-Extension-Identifier: id-1\r\nContent-Length: 0\r\n\r\n",
            id="another status",
        ),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", id="not HTTP"),
        pytest.param(b"", id="closed"),
    ],
)
async def test_a_registration_that_fails_is_logged_once_and_nothing_else(
    answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = MemoryStream()
    stream.say(answer)
    assert await ask_for_sigterm(Connection(HOST, connects_to(stream)), never) is None
    assert stream.writes == [REGISTER]
    assert stream.closed
    (line,) = warnings(capsys)
    assert line.startswith("[WARNING]")
    assert "without SIGTERM" in line


async def test_a_runtime_api_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert await ask_for_sigterm(Connection(HOST, connects_to()), never) is None
    (line,) = warnings(capsys)
    assert "cannot be reached" in line


async def test_an_identifier_that_fits_into_no_header(capsys: pytest.CaptureFixture[str]) -> None:
    stream = MemoryStream()
    stream.say(REGISTERED)
    connection = Connection(HOST, connects_to(stream))
    # What a parser of ours lets through, a header may carry; the check holds for whatever it may let through one day.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extension, "parse_registration", lambda _: "id\r\nEvil: 1")
        assert await ask_for_sigterm(connection, never) is None
    assert len(warnings(capsys)) == 1


async def test_a_registration_without_an_answer_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extension, "REGISTRATION_LIMIT", 0)
    stream = MemoryStream()
    assert await ask_for_sigterm(Connection(HOST, connects_to(stream)), never) is None
    assert stream.closed
    (line,) = warnings(capsys)
    assert "no answer" in line


async def test_a_shutdown_event_ends_the_environment() -> None:
    stream = MemoryStream()
    stopped: list[bool] = []
    task = await registered(stream, lambda: stopped.append(True))
    stream.say(reply(200, b'{"eventType":"SHUTDOWN","shutdownReason":"spindown","deadlineMs":1}'))
    await task
    assert stopped == [True]
    assert stream.closed


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(200, b'{"eventType":"INVOKE"}'), id="INVOKE"),
        pytest.param(reply(200, b"[]"), id="no object"),
        pytest.param(reply(200, b"nonsense"), id="no JSON"),
        pytest.param(reply(403), id="403"),
        pytest.param(reply(500, b'{"eventType":"SHUTDOWN"}'), id="500"),
    ],
)
async def test_any_other_event_is_logged_and_not_asked_for_again(
    answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = MemoryStream()
    task = await registered(stream)
    stream.say(answer)
    await task
    assert stream.writes == [REGISTER, POLL]
    assert len(warnings(capsys)) == 1


async def test_a_lost_request_is_made_once_more(capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = MemoryStream(), MemoryStream(), MemoryStream()
    first.say(REGISTERED)
    task = await ask_for_sigterm(Connection(HOST, connects_to(first, second, third)), never)
    assert task is not None
    await first.has_written(2)
    first.say(b"")
    await second.has_written(1)
    assert second.writes == [POLL]
    assert warnings(capsys) == []
    second.break_writes(ConnectionResetError("reset"))
    await task
    assert third.writes == []
    assert len(warnings(capsys)) == 1


async def finishes() -> None:
    await asyncio.sleep(0)


async def fails() -> None:
    raise OSError("still busy")


async def is_cancelled() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("shutdown", "logged"),
    [(finishes, ""), (fails, "OSError: still busy"), (is_cancelled, "its shutdown was cancelled")],
)
async def test_a_shutdown_is_awaited_and_its_failure_logged(
    shutdown: Any, logged: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await shut_down(shutdown, 60)
    output = capsys.readouterr()
    assert logged in output.out + output.err
    assert bool(logged) is bool(output.out + output.err)


async def test_a_shutdown_that_takes_too_long_is_logged_and_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    cancelled: list[bool] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    await shut_down(waits, 0)
    await asyncio.sleep(0)
    assert cancelled == [True]
    (line,) = warnings(capsys)
    assert line.startswith("[ERROR]")
    assert "it is given up" in line


async def test_a_shutdown_that_cancels_all_other_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    """As programs do that know of no runtime around them."""
    ended: list[bool] = []

    async def cancels() -> None:
        ending.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ended.append(True)

    ending = asyncio.create_task(shut_down(cancels, 60))
    await ending
    assert ended == [True]
    assert warnings(capsys) == []


def test_an_invocation_that_does_not_end_takes_the_shutdown_time_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda kills at its own time, whoever has used it up."""
    limits: list[float] = []

    async def shut_down(shutdown: object, limit: float) -> None:
        limits.append(limit)
        release.set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    async def run() -> int:
        api = FakeRuntimeApi(function_url_event())
        return await Runtime(StreamingAdapter(app, lifespan="off"), Connection(HOST, connects_to(api))).run()

    release = asyncio.Event()
    monkeypatch.setattr(extension, "shut_down", shut_down)
    assert loop.LAST_WORDS < extension.SHUTDOWN_LIMIT
    monkeypatch.setattr(loop, "LAST_WORDS", extension.SHUTDOWN_LIMIT)
    assert asyncio.run(run()) == 0
    assert limits[0] < 0.1


# The real bootstrap


async def test_a_function_with_a_lifespan_registers_and_hears_of_its_end() -> None:
    async with process("tests.apps.extension_app:handler") as running:
        await running.api.idle()
        assert running.api.extensions.names == ["asgi-stream"]
        assert (await running.invoke()).body.endswith(b"hello")
        running.child.terminate()
        assert await running.end() == (0, "shutdown\n")


@pytest.mark.parametrize(
    ("handler", "setting"), [("bare", "auto"), ("handler", "off")], ids=["no lifespan", "switched off"]
)
async def test_without_a_lifespan_or_switched_off_nothing_registers(handler: str, setting: str) -> None:
    async with process(f"tests.apps.extension_app:{handler}", {"ASGI_STREAM_SHUTDOWN_EXTENSION": setting}) as running:
        await running.api.idle()
        assert running.api.extensions.names == []
        running.child.terminate()
        assert await running.end() == (0, "shutdown\n" if handler == "handler" else "")


async def test_an_event_of_the_platform_ends_the_process_too() -> None:
    async with process("tests.apps.extension_app:handler") as running:
        await running.api.idle()
        running.api.send_event({"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": 0})
        assert await running.end() == (0, "shutdown\n")


async def test_a_shutdown_that_never_ends_is_given_up_and_the_process_ends_well() -> None:
    async with process("tests.apps.extension_app:stuck") as running:
        await running.api.idle()
        running.child.terminate()
        code, output = await running.end()
        assert code == 0
        assert "it is given up" in output
        assert output.endswith("cancelled\n")


class WithoutExtensions(RuntimeApiServer):
    """A Runtime API that knows no extensions, or takes no more of them."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self._status = status

    async def _register(self, http: HttpConnection, request: h11.Request) -> None:
        await http.read_body()
        await http.reply(self._status, b"no", {})


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_where_no_extension_can_register_the_function_works(status: int) -> None:
    async with process("tests.apps.extension_app:handler", api=WithoutExtensions(status)) as running:
        assert (await running.invoke()).body.endswith(b"hello")
        await running.api.idle()
        running.child.terminate()
        code, output = await running.end()
        assert code == 0
        assert output.count("[WARNING]") == 1
        assert output.endswith("shutdown\n")


@pytest.mark.skipif(why_no_emulator() is not None, reason=str(why_no_emulator()))
@pytest.mark.parametrize(("handler", "hears"), [("handler", True), ("bare", False)])
async def test_the_emulator_ends_a_function_that_has_registered_by_sigterm(handler: str, hears: bool) -> None:
    """AWS's own server kills one that has not."""
    async with EmulatorPlatform(f"tests.apps.extension_app.{handler}") as emulator:
        assert b"hello" in (await emulator.invoke(json.dumps(function_url_event()).encode())).body
        assert emulator._session is not None
        os.kill(emulator._session._process.pid, signal.SIGTERM)
        await emulator._session.wait()
        await emulator.output.end()
        assert ("shutdown" in emulator.output.text) is hears


@pytest.mark.parametrize("base", [Exception, SystemExit, KeyboardInterrupt, GeneratorExit])
async def test_a_shutdown_that_raises_what_cannot_be_told(
    base: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails() -> None:
        raise make_error(base, dict.fromkeys(("__str__", "__repr__", "__cause__"), ("raises", SystemExit)))

    await shut_down(fails, 1)
    assert "The function failed to shut down\nTraceback" in capsys.readouterr().err


async def test_a_shutdown_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    await shut_down(lambda: None, 1)  # type: ignore[arg-type, return-value]
    assert "The function failed to shut down\nTraceback" in capsys.readouterr().err


async def test_tasks_that_cannot_be_cancelled() -> None:
    """Of a class of the app's own: the others are cancelled all the same."""

    class Task(asyncio.Task[Any]):
        def cancel(self, msg: object = None) -> bool:
            raise SystemExit

    release = asyncio.Event()
    broken = [Task(release.wait(), loop=asyncio.get_running_loop()) for _ in range(5)]
    plain = asyncio.ensure_future(release.wait())
    await asyncio.sleep(0)
    await loop._cancel({*broken, plain}, 0.01)
    assert plain.cancelled()
    release.set()
    await asyncio.wait(broken)
