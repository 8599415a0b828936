"""Log records: their formats, where they go, and whose they are."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import contextvars
import copy
import io
import json
import logging
import os
import re
import socket
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.local.environment import lambda_environment
from asgi_stream.local.runtime_api import RuntimeApiServer
from asgi_stream.runtime import logs, loop, telemetry
from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.loop import Fatal, Runtime
from tests.sources.recorded import NAMES, recorded
from tests.support.dev import environment
from tests.support.events import function_url_event
from tests.support.hostile import RAISED, at_an_illegal_position, make_error
from tests.support.memory import connects_to
from tests.support.process import EXEC_WRAPPER, child_process
from tests.support.wire import FakeRuntimeApi, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
SECRET = "s3cr3t"
TRACE = "Lineage=1:5759e988:0;Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


# In this process


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The root logger. It, and the state of the module, are as before in the end."""
    for name in ("_own", "_on_root", "_latest", "_one_at_a_time", "_provider_socket"):
        monkeypatch.setattr(logs, name, getattr(logs, name))
    monkeypatch.setattr(logs, "_latest", logs._UNBOUND)
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield logger
    finally:
        logger.setLevel(level)
        if logs._on_root is not None:
            logger.removeHandler(logs._on_root)


class Out:
    """What has been written to stdout so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def getvalue(self) -> str:
        self._text += self._capsys.readouterr().out
        return self._text


@pytest.fixture
def out(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> Out:
    return Out(capsys)


def in_an_invocation(function: Any, *arguments: object) -> None:
    contextvars.copy_context().run(function, *arguments)


def failure() -> ValueError:
    try:
        raise ValueError("wrong")
    except ValueError as error:
        return error


def test_the_text_format(out: Out) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "Text"})

    def invocation() -> None:
        logs.bind("id-1", "tenant")
        logging.getLogger("shop").warning("out of %s", "milk")

    in_an_invocation(invocation)
    assert re.fullmatch(rf"\[WARNING\]\t{STAMP}\tid-1\tout of milk\n", out.getvalue())


def test_text_in_several_lines_is_one_line_of_stdout(out: Out) -> None:
    """CloudWatch Logs takes a carriage return for a line break within an event."""
    logs.setup({})
    try:
        raise ValueError("wrong")
    except ValueError:
        logging.getLogger().exception("first\r\nsecond")
    (record,) = out.getvalue().split("\n")[:-1]
    assert "\tfirst\rsecond\rTraceback (most recent call last):\r  File " in record
    assert record.endswith("\rValueError: wrong")


def test_a_formatter_may_end_the_line_itself(out: Out) -> None:
    """As one that was written for AWS's runtime has to."""
    logs.setup({})
    assert logs._on_root is not None
    logs._on_root.setFormatter(logging.Formatter("mine %(message)s\n"))
    logging.getLogger().error("said")
    assert out.getvalue() == "mine said\n"


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_a_record_that_cannot_be_written_harms_nobody(
    log_format: str, root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": log_format})
    assert logs._on_root is not None
    for text in ("%d bottles", "%s"):
        logs._on_root.handle(logging.LogRecord("shop", logging.ERROR, "", 0, text, ("said",), None))
    output = capsys.readouterr()
    assert output.out.count("said") == 1
    assert output.err.count("--- Logging error ---") == 1


@pytest.fixture
def _in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_in_tokyo")
@pytest.mark.parametrize(("log_format", "stamp"), [("Text", "00:00:07.250Z"), ("JSON", "00:00:07Z")])
def test_times_are_utc_wherever_the_function_thinks_it_is(out: Out, log_format: str, stamp: str) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": log_format})
    assert logs._on_root is not None
    logs._on_root.handle(logging.makeLogRecord({"created": 7.25, "msecs": 250.0, "levelno": logging.INFO}))
    assert f"1970-01-01T{stamp}" in out.getvalue()


@pytest.mark.parametrize("name", ["_ASGI_STREAM_LOCAL", "AWS_SAM_LOCAL"])
def test_where_people_read_it_lines_are_lines(out: Out, name: str) -> None:
    logs.setup({name: "1"})
    logs.log_exception("It failed", failure())
    assert "\tIt failed\nTraceback (most recent call last):\n" in out.getvalue()


def test_in_a_terminal_lines_are_lines(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda descriptor: descriptor == 1)
    logs.setup({})
    logs.log_exception("It failed", failure())
    assert "\tIt failed\nTraceback (most recent call last):\n" in out.getvalue()


def test_the_json_format(out: Out) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})

    def invocation() -> None:
        logs.bind("id-1", "tenant", TRACE)
        logging.getLogger("shop").info("out of %s\nagain", "milk", extra={"shelf": 3, "level": "mine"})

    in_an_invocation(invocation)
    record = json.loads(out.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record.pop("timestamp"))
    assert record == {
        "level": "INFO",
        "message": "out of milk\nagain",
        "logger": "shop",
        "requestId": "id-1",
        "tenantId": "tenant",
        "traceId": "1-5759e988-bd862e3fe1be46a994272793",
        "shelf": 3,
    }
    assert out.getvalue().count("\n") == 1


def test_an_error_in_json(out: Out) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    logging.getLogger("shop").error("caught", exc_info=failure())
    record = json.loads(out.getvalue())
    assert (record["errorType"], record["errorMessage"]) == ("ValueError", "wrong")
    (frame,) = record["stackTrace"]
    assert frame.startswith(f'  File "{__file__}", line ')
    assert re.fullmatch(rf"{re.escape(__file__)}:test_an_error_in_json:\d+", record["location"])
    assert "tenantId" not in record
    assert "traceId" not in record


def test_the_causes_of_an_error_and_the_errors_of_a_group_in_json(out: Out) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    error = LookupError("outer")
    error.__cause__ = ExceptionGroup("several", [failure()])
    logs.log_exception("It failed", error)
    record = json.loads(out.getvalue())
    assert record["errorType"] == "LookupError"
    stack = "".join(record["stackTrace"])
    assert "ValueError: wrong" in stack
    assert "direct cause" in stack


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ExceptionGroup("several", [failure()]), "ValueError: wrong"),
        (SyntaxError("odd", ("m.py", 3, 1, "x = ", 3, 2)), "x ="),
    ],
    ids=["group", "syntax"],
)
def test_what_stands_in_an_error_beside_its_frames(out: Out, error: Exception, told: str) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    logs.log_exception("It failed", error)
    assert told in "".join(json.loads(out.getvalue())["stackTrace"])


@pytest.mark.parametrize("hidden", [False, True])
def test_the_error_before_an_error_is_told_unless_it_is_hidden(out: Out, hidden: bool) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    try:
        try:
            raise failure()
        except ValueError:
            if hidden:
                raise LookupError("then") from None
            raise LookupError("then")  # noqa: B904
    except LookupError as error:
        logs.log_exception("It failed", error)
    stack = json.loads(out.getvalue())["stackTrace"]
    if hidden:
        assert [entry[:8] for entry in stack] == ['  File "']
    else:
        assert "ValueError: wrong" in "".join(stack)


def test_an_error_beside_what_is_no_json_keeps_its_stack(out: Out) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    logging.getLogger().error("said", exc_info=failure(), extra={"price": float("nan")})
    record = json.loads(out.getvalue())
    assert record["price"] == "nan"
    assert isinstance(record["stackTrace"], list)


def test_the_runtimes_own_error_is_located_where_it_was_raised(out: Out) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    logs.log_exception("The invocation failed", failure(), "id-9")
    record = json.loads(out.getvalue())
    assert (record["logger"], record["requestId"]) == ("asgi_stream", "id-9")
    assert re.fullmatch(rf"{re.escape(__file__)}:failure:\d+", record["location"])
    logs.log_exception("Nowhere", ValueError("not raised"))
    assert "location" not in json.loads(out.getvalue().splitlines()[1])


def test_the_runtimes_own_records_know_the_tenant(out: Out) -> None:
    """They are written outside of the invocation's task, and name it."""
    logs.setup({"AWS_LAMBDA_MAX_CONCURRENCY": "2"})
    context = contextvars.copy_context()
    context.run(logs.bind, "id-1", "tenant-1", TRACE)
    in_an_invocation(logs.bind, "id-2", "tenant-2")
    logs.log("ERROR", "failed", "id-1")
    record = json.loads(out.getvalue())
    assert (record["requestId"], record["tenantId"]) == ("id-1", "tenant-1")
    logs.unbind("id-2")
    assert "id-2" not in logs._live, "an invocation that has ended is not kept"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def contains_itself() -> dict[str, object]:
    value: dict[str, object] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"event": "sold", "count": 2}, {"event": "sold", "count": 2}),
        ({"at": failure}, {"at": str(failure)}),
        ({"what": Unprintable()}, {"what": "<Unprintable: its text could not be made>"}),
        ({"price": float("nan")}, "{'price': nan}"),
        (contains_itself(), "{'self': {...}}"),
        ({("no", "name"): 1, "name": 2}, {"name": 2}),
        ("grüße", "grüße"),
        ("half a pair \ud83d", "half a pair \ud83d"),
    ],
)
def test_whatever_is_logged_is_one_json_object(out: Out, message: object, expected: object) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    logging.getLogger("shop").error(message)
    assert json.loads(out.getvalue())["message"] == expected


def test_an_error_whose_text_cannot_be_made(out: Out) -> None:
    class Shy(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    logs.log_exception("It failed", Shy())
    assert json.loads(out.getvalue())["errorMessage"] == "<Shy: its text could not be made>"


@pytest.mark.parametrize(
    ("variables", "root_level", "own"),
    [
        ({}, logging.WARNING, ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ({"AWS_LAMBDA_LOG_LEVEL": "unheard-of"}, logging.WARNING, ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ({"AWS_LAMBDA_LOG_LEVEL": "INFO"}, logging.INFO, ["INFO", "WARNING", "ERROR"]),
        ({"AWS_LAMBDA_LOG_LEVEL": "WARN"}, logging.WARNING, ["WARNING", "ERROR"]),
        ({"AWS_LAMBDA_LOG_LEVEL": "trace"}, logging.DEBUG, ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ({"AWS_LAMBDA_LOG_LEVEL": "FATAL"}, logging.CRITICAL, []),
        ({"AWS_LAMBDA_LOG_FORMAT": "JSON"}, logging.INFO, ["INFO", "WARNING", "ERROR"]),
        ({"AWS_LAMBDA_LOG_FORMAT": "json", "AWS_LAMBDA_LOG_LEVEL": "ERROR"}, logging.ERROR, ["ERROR"]),
    ],
)
def test_levels(out: Out, root: logging.Logger, variables: dict[str, str], root_level: int, own: list[str]) -> None:
    logs.setup(variables)
    assert root.level == root_level
    for level in ("DEBUG", "INFO", "WARNING", "ERROR"):
        logs.log(level, "said")
    assert re.findall("DEBUG|INFO|WARNING|ERROR", out.getvalue()) == own


@pytest.mark.parametrize(("level", "name"), [(5, "TRACE"), (25, "INFO"), (60, "CRITICAL")])
def test_levels_of_the_apps_own_have_names_that_lambda_filters_by(out: Out, level: int, name: str) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    logging.getLogger().setLevel(1)
    logging.getLogger().log(level, "said")
    assert json.loads(out.getvalue())["level"] == name


def test_setting_up_twice_logs_once(out: Out, root: logging.Logger) -> None:
    logs.setup({})
    logs.setup({})
    root.error("said")
    assert out.getvalue().count("said") == 1


def test_before_it_is_set_up(capsys: pytest.CaptureFixture[str], root: logging.Logger) -> None:
    logs._own = logs.LambdaHandler(logs.StreamOutput("stderr"), logs.TextFormatter())
    logs.log("INFO", "100 %", "id-1")
    assert re.fullmatch(rf"\[INFO\]\t{STAMP}\tid-1\t100 %\n", capsys.readouterr().err)


def test_threads_and_tasks_of_startup_log_for_the_only_invocation(out: Out) -> None:
    logs.setup({})
    in_an_invocation(logs.bind, "id-1")
    logging.getLogger().error("elsewhere")
    assert "\tid-1\telsewhere" in out.getvalue()


def test_where_there_are_many_invocations_none_is_guessed(out: Out) -> None:
    logs.setup({"AWS_LAMBDA_MAX_CONCURRENCY": "8", "AWS_LAMBDA_LOG_FORMAT": "Text"})
    in_an_invocation(logs.bind, "id-1")
    logging.getLogger().error("elsewhere")
    assert json.loads(out.getvalue())["requestId"] == ""


@pytest.mark.parametrize("closed", [None, "closed", "broken"])
def test_without_stdout_records_go_to_stderr(
    root: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    closed: str | None,
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    stream = Broken() if closed == "broken" else io.StringIO()
    if closed == "closed":
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream if closed else None)
    logs.setup({})
    root.error("said")
    logs.flush()
    with monkeypatch.context() as nowhere:
        nowhere.setattr(sys, "stderr", None)
        root.error("to nobody")
        logs.flush()
    assert capsys.readouterr().err.count("said") == 1


def test_a_stdout_that_is_not_unicode(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "latin-1"))
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    root.error("Ω 🦀")
    assert json.loads(written.getvalue())["message"] == "Ω 🦀"


def test_a_stdout_of_the_apps_own_is_not_left_in_its_buffer(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.setup({})
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "utf-8"))
    root.error("said")
    assert written.getvalue().endswith(b"\tsaid\n")


# The telemetry descriptor


@pytest.mark.parametrize(
    ("level", "is_json", "kind"),
    [
        (logging.NOTSET, False, 0xA55A0003),
        (logging.NOTSET, True, 0xA55A0002),
        (logging.DEBUG, False, 0xA55A000B),
        (logging.DEBUG, True, 0xA55A000A),
        (logging.INFO, False, 0xA55A000F),
        (logging.INFO, True, 0xA55A000E),
        (25, True, 0xA55A000E),
        (logging.WARNING, False, 0xA55A0013),
        (logging.WARNING, True, 0xA55A0012),
        (logging.ERROR, False, 0xA55A0017),
        (logging.ERROR, True, 0xA55A0016),
        (logging.CRITICAL, False, 0xA55A001B),
        (logging.CRITICAL, True, 0xA55A001A),
        (99, True, 0xA55A001A),
        (-1, True, 0xA55A0002),
    ],
)
def test_frame_types(level: int, is_json: bool, kind: int) -> None:
    assert telemetry.frame_type(level, is_json) == kind


def frames(data: bytes) -> list[tuple[int, str]]:
    """Type and text of each frame. Fails unless the data ends with a frame."""
    found = []
    while data:
        kind, length, stamp = struct.unpack(">IIQ", data[:16])
        assert len(data) >= 16 + length
        assert 1.7e15 < stamp < 4e15, "microseconds of this century"
        found.append((kind, data[16 : 16 + length].decode()))
        data = data[16 + length :]
    return found


def test_half_a_surrogate_pair_is_escaped_in_a_frame() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as receiving, open(writer, "wb"):
        telemetry.Frames(writer).write(1, '"\ud83d"')
        assert json.loads(receiving.read(24)[16:]) == "\ud83d"


def test_programs_that_the_app_starts_do_not_inherit_the_descriptor() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb"), open(writer, "wb"):
        os.set_inheritable(writer, True)
        telemetry.Frames(writer)
        assert not os.get_inheritable(writer)


def test_the_bytes_of_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgi_stream.runtime.telemetry.time.time_ns", lambda: 1_700_000_000_123_456_789)
    reader, writer = os.pipe()
    with open(reader, "rb") as receiving, open(writer, "wb"):
        telemetry.Frames(writer).write(0xA55A0003, "é\n")
        assert (
            receiving.read(19)
            == b"\xa5\x5a\x00\x03\0\0\0\x03" + (1_700_000_000_123_456).to_bytes(8, "big") + b"\xc3\xa9\n"
        )


@pytest.mark.parametrize("blocking", [True, False])
def test_frames_of_many_threads_are_whole_though_the_reader_is_slow(blocking: bool) -> None:
    """Far larger than what a pipe holds: each takes several writes, all of them short."""
    reader, writer = os.pipe()
    os.set_blocking(writer, blocking)
    output = telemetry.Frames(writer)
    texts = [letter * 300_000 for letter in "abcd"]
    with open(reader, "rb", buffering=0) as receiving:
        threads = [threading.Thread(target=output.write, args=(1, text)) for text in texts]
        for thread in threads:
            thread.start()
        data = b""
        while len(data) < 4 * 300_016:
            data += receiving.read(10_000)
        for thread in threads:
            thread.join()
        os.close(writer)
        assert receiving.read() == b""
    assert sorted(text for _, text in frames(data)) == texts


HOLDS_THE_LOCK = """
import os, signal, threading
from asgi_stream.runtime.telemetry import Frames

reader, writer = os.pipe()
output = Frames(writer)
held, release = threading.Event(), threading.Event()

def hold():
    with output._lock:
        held.set()
        release.wait()

threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)  # should it wait after all
    output.write(1, "from the child")
    os._exit(0)
print(os.read(reader, 30)[16:].decode())
release.set()
os.waitpid(child, 0)
"""


@pytest.mark.anyio
async def test_the_child_of_a_fork_does_not_wait_for_a_lock_that_nobody_will_release() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDS_THE_LOCK, env=environment(), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"from the child\n"
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()


def test_a_descriptor_that_has_failed_is_not_written_to_again(out: Out, root: logging.Logger, tmp_path: Path) -> None:
    """Its number may be that of another file by then."""
    descriptor = os.open(tmp_path / "closed", os.O_CREAT | os.O_WRONLY)
    logs.setup({"_LAMBDA_TELEMETRY_LOG_FD": str(descriptor)})
    os.close(descriptor)
    root.error("first")
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY)
    os.dup2(other, descriptor)
    root.error("second")
    for opened in {other, descriptor}:
        os.close(opened)
    assert (tmp_path / "other").read_bytes() == b""
    assert re.findall("first|second", out.getvalue()) == ["first", "second"]


@pytest.mark.parametrize("value", ["", "x", "-1", "999999", str(10**30)])
def test_a_descriptor_that_is_none_is_warned_of(out: Out, root: logging.Logger, value: str) -> None:
    logs.setup({"_LAMBDA_TELEMETRY_LOG_FD": value})
    root.error("said")
    assert f"_LAMBDA_TELEMETRY_LOG_FD={value}: " in out.getvalue()
    assert "\tsaid\n" in out.getvalue()


# Real processes


class Function:
    """A function's process, its Runtime API, and what it wrote."""

    def __init__(self, api: RuntimeApiServer, child: asyncio.subprocess.Process) -> None:
        self.api = api
        self.child = child
        self.request_ids: list[str] = []

    async def invoke(self, path: str, raw: bytes | None = None, query: str = "", **changes: Any) -> None:
        event = raw if raw is not None else json.dumps(function_url_event(path=path, query=query, **changes)).encode()
        invocation = await self.api.invoke(event, trace_id=TRACE, headers={"Lambda-Runtime-Aws-Tenant-Id": "tenant"})
        self.request_ids.append(invocation.request_id)
        await invocation.collect()

    async def end(self) -> tuple[str, str]:
        """Ends it; returns its stdout and stderr."""
        await self.api.idle()
        self.child.terminate()
        stdout, stderr = await self.child.communicate()
        assert self.child.returncode == 0, stderr
        return stdout.decode(), stderr.decode()


@contextlib.asynccontextmanager
async def function(variables: Mapping[str, str], pass_fds: tuple[int, ...] = ()) -> AsyncIterator[Function]:
    async with RuntimeApiServer() as api:
        env = lambda_environment("tests.apps.logging_app:handler", api.address, environment()) | dict(variables)
        # As on Lambda: neither is set there.
        del env["PYTHONUNBUFFERED"], env["_ASGI_STREAM_LOCAL"]
        stderr = asyncio.subprocess.PIPE
        async with child_process(api, *EXEC_WRAPPER, env=env, stderr=stderr, pass_fds=pass_fds) as child:
            yield Function(api, child)


@pytest.mark.anyio
async def test_on_stdout_each_record_is_a_line() -> None:
    async with function({}) as running:
        await running.invoke("/lines")
        await running.invoke("/fails")
        stdout, stderr = await running.end()
    imported, logged, failed = stdout.split("\n")[:-1]
    first, second = running.request_ids
    assert re.fullmatch(rf"\[WARNING\]\t{STAMP}\t\timported, telemetry descriptor None", imported)
    assert re.fullmatch(rf"\[ERROR\]\t{STAMP}\t{first}\tfirst\rsecond", logged)
    assert re.match(rf"\[ERROR\]\t{STAMP}\t{second}\tThe invocation failed\rTraceback", failed)
    assert failed.endswith("\rValueError: no such thing")
    assert stderr == ""


@pytest.mark.anyio
async def test_json_on_stdout() -> None:
    async with function({"AWS_LAMBDA_LOG_FORMAT": "JSON"}) as running:
        await running.invoke("/levels")
        await running.invoke("/caught")
        await running.invoke("/fails")
        stdout, _ = await running.end()
    records = [json.loads(line) for line in stdout.splitlines()]
    assert [record["level"] for record in records] == [
        "WARNING", "INFO", "WARNING", "ERROR", "CRITICAL", "ERROR", "ERROR",
    ]  # fmt: skip
    assert {record["tenantId"] for record in records[1:]} == {"tenant"}
    assert {record["traceId"] for record in records[1:]} == {"1-5759e988-bd862e3fe1be46a994272793"}
    caught, failed = records[-2:]
    assert (caught["requestId"], failed["requestId"]) == tuple(running.request_ids[1:])
    for record in (caught, failed):
        assert (record["errorType"], record["errorMessage"]) == ("ValueError", "no such thing")
        assert "in fail\n" in record["stackTrace"][-1]
        assert re.search(r"logging_app\.py:\w+:\d+$", record["location"])


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize(("log_format", "bits"), [("Text", 3), ("JSON", 2)])
async def test_the_telemetry_descriptor(kind: str, log_format: str, bits: int) -> None:
    if kind == "pipe":
        reading, writing = os.pipe()
        receiving: Any = open(reading, "rb")  # noqa: ASYNC230, SIM115
    else:
        ours, theirs = socket.socketpair()
        reading, writing = ours.detach(), theirs.detach()
        receiving = open(reading, "rb")  # noqa: ASYNC230, SIM115
    with receiving:
        variables = {"_LAMBDA_TELEMETRY_LOG_FD": str(writing), "AWS_LAMBDA_LOG_FORMAT": log_format}
        async with function(variables, pass_fds=(writing,)) as running:
            os.close(writing)
            await running.invoke("/prints")
            await running.invoke("/fails")
            stdout, stderr = await running.end()
        received = frames(await asyncio.to_thread(receiving.read))
    assert [frame_kind for frame_kind, _ in received] == [0xA55A0010 | bits, 0xA55A0014 | bits, 0xA55A0014 | bits]
    imported, logged, failed = (text for _, text in received)
    if log_format == "JSON":
        imported = json.loads(imported)["message"]
        assert json.loads(logged)["message"] == "logged"
        assert json.loads(failed)["errorType"] == "ValueError"
    else:
        assert logged.endswith(f"\t{running.request_ids[0]}\tlogged")
        assert "\tThe invocation failed\nTraceback (most recent call last):\n" in failed
        assert failed.endswith("\nValueError: no such thing")
    assert imported.endswith("imported, telemetry descriptor None")
    assert (stdout, stderr) == ("printed\n", "printed to stderr\n")


@pytest.mark.anyio
async def test_a_telemetry_descriptor_that_the_app_closes() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        variables = {"_LAMBDA_TELEMETRY_LOG_FD": str(theirs.fileno())}
        async with function(variables, pass_fds=(theirs.fileno(),)) as running:
            await running.invoke("/closes-the-descriptor", query=str(theirs.fileno()))
            await running.invoke("/lines")
            stdout, _ = await running.end()
    assert "\tstill logged\n" in stdout
    assert "\tfirst\rsecond\n" in stdout


@pytest.mark.anyio
async def test_managed_instances_by_the_provider_socket(tmp_path: Path) -> None:
    connected: list[asyncio.Task[bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connected.append(asyncio.ensure_future(reader.read()))
        await connected[-1]
        writer.close()

    path = str(tmp_path / "logs")
    async with await asyncio.start_unix_server(serve, path):
        variables = {"_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET": path, "AWS_LAMBDA_MAX_CONCURRENCY": "1"}
        async with function(variables) as running:
            await running.invoke("/prints")
            await running.invoke("/fails")
            assert await running.end() == ("", "")
        stdout, stderr = [(await task).decode() for task in connected]
    assert stderr == "printed to stderr\n"
    imported, printed, logged, failed = stdout.splitlines()
    assert json.loads(imported)["requestId"] == ""
    assert printed == "printed"
    assert json.loads(logged)["requestId"] == running.request_ids[0]
    assert json.loads(failed)["requestId"] == running.request_ids[1]
    assert json.loads(failed)["tenantId"] == "tenant"


FORKS = """
import os, socket
from asgi_stream.runtime import logs

logs.setup()
socket.setdefaulttimeout(5)  # as an app may
child = os.fork()
if child == 0:
    logs.reconnect()
    print("child", os.get_blocking(1))
    logs.flush()
    os._exit(0)
os.waitpid(child, 0)
print("parent", os.get_blocking(1))
"""


@pytest.mark.anyio
async def test_the_child_of_a_fork_has_connections_of_its_own(tmp_path: Path) -> None:
    path = str(tmp_path / "logs")
    written: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        written.append(await reader.read())
        writer.close()
        if len(written) == 4:
            complete.set()

    complete = asyncio.Event()
    async with await asyncio.start_unix_server(serve, path):
        env = environment(_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET=path)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", FORKS, env=env)
        assert await process.wait() == 0
        await complete.wait()
    assert sorted(written) == [b"", b"", b"child True\n", b"parent True\n"]


REDIRECTS = """
import sys
from asgi_stream.runtime.telemetry import redirect_output

print("before", end="")
sys.stderr = None  # as for a program that was started without one
redirect_output(sys.argv[1])
print("after")
"""


@pytest.mark.anyio
async def test_what_was_printed_before_the_provider_socket_stays_where_it_was(tmp_path: Path) -> None:
    written: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        written.append(await reader.read())
        writer.close()
        if len(written) == 2:
            complete.set()

    complete = asyncio.Event()
    async with await asyncio.start_unix_server(serve, str(tmp_path / "logs")):
        command = [sys.executable, "-c", REDIRECTS, str(tmp_path / "logs")]
        process = await asyncio.create_subprocess_exec(*command, env=environment(), stdout=asyncio.subprocess.PIPE)
        assert (await process.communicate())[0] == b"before"
        assert process.returncode == 0
        await complete.wait()
    assert sorted(written) == [b"", b"after\n"]


@pytest.mark.anyio
async def test_a_provider_socket_that_nobody_serves(tmp_path: Path) -> None:
    variables = {
        "_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET": str(tmp_path / "none"),
        "AWS_LAMBDA_MAX_CONCURRENCY": "1",
    }
    async with function(variables) as running:
        await running.invoke("/lines")
        stdout, _ = await running.end()
    trouble, _, logged = (json.loads(line) for line in stdout.splitlines())
    assert "_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET: [Errno 2]" in trouble["message"]
    assert logged["message"] == "first\nsecond"


@pytest.mark.anyio
async def test_print_and_logging_stay_in_order_and_are_not_held_back() -> None:
    """The process lives, and what it has written has arrived: nothing waits in a buffer for its end."""
    async with function({}) as running:
        assert running.child.stdout is not None
        await running.child.stdout.readline()
        await running.invoke("/prints")
        first, second = [await running.child.stdout.readline() for _ in range(2)]
        await running.invoke("/prints-only")
        third = await running.child.stdout.readline()
        await running.end()
    assert (first, third) == (b"printed\n", b"only printed\n")
    assert second.endswith(b"\tlogged\n")


@pytest.mark.anyio
async def test_what_is_printed_without_a_line_end_is_seen_after_the_invocation() -> None:
    """The process lives, and may be frozen from now on."""
    async with function({}) as running:
        assert running.child.stdout is not None
        await running.child.stdout.readline()
        await running.invoke("/prints-a-part")
        assert await running.child.stdout.readexactly(4) == b"part"


@pytest.mark.anyio
async def test_what_is_printed_in_mid_stream_is_seen_at_once() -> None:
    async with function({}) as running:
        assert running.child.stdout is not None
        await running.child.stdout.readline()
        await running.api.invoke(json.dumps(function_url_event(path="/prints-and-waits")).encode())
        assert await running.child.stdout.readline() == b"under way\n"


@pytest.mark.anyio
async def test_threads_log_for_their_invocation() -> None:
    async with function({}) as running:
        await running.invoke("/threads")
        stdout, _ = await running.end()
    (request_id,) = running.request_ids
    assert f"\t{request_id}\tin a thread with the context\n" in stdout
    assert f"\t{request_id}\tin a plain thread\n" in stdout


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["basicConfig", "dictConfig"])
async def test_an_app_that_sets_logging_up_itself(how: str) -> None:
    """Its records have its format, once each; the runtime's are as before."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            variables = {"_LAMBDA_TELEMETRY_LOG_FD": str(theirs.fileno()), "LOGGING_APP": how}
            async with function(variables, pass_fds=(theirs.fileno(),)) as running:
                await running.invoke("/levels")
                await running.invoke("/fails")
                stdout, _ = await running.end()
        with ours.makefile("rb") as receiving:
            ((kind, text),) = frames(await asyncio.to_thread(receiving.read))
    assert stdout.splitlines()[1:] == [f"mine level {level}" for level in (10, 20, 30, 40, 50)]
    assert kind == 0xA55A0017
    assert f"\t{running.request_ids[1]}\tThe invocation failed\nTraceback" in text


@pytest.mark.anyio
async def test_an_app_that_sets_a_formatter_on_the_handler_that_is_there() -> None:
    async with function({"LOGGING_APP": "formatter"}) as running:
        await running.invoke("/lines")
        stdout, _ = await running.end()
    assert f"\nmine {running.request_ids[0]} first\rsecond\n" in stdout


@pytest.mark.anyio
@pytest.mark.parametrize("log_format", ["Text", "JSON"])
async def test_no_log_tells_what_a_request_held(log_format: str) -> None:
    held: dict[str, Any] = {
        "headers": {"host": "h", "authorization": f"Bearer {SECRET}", "cookie": SECRET},
        "cookies": [f"session={SECRET}"],
        "body": SECRET,
    }
    async with function({"AWS_LAMBDA_LOG_FORMAT": log_format, "AWS_LAMBDA_LOG_LEVEL": "DEBUG"}) as running:
        await running.invoke("/fails", query=f"token={SECRET}", **held)
        await running.invoke("/fails", **held | {"isBase64Encoded": True, "body": f"?{SECRET}"})
        await running.invoke("", raw=f'{{"password": "{SECRET}"'.encode())
        await running.invoke("", raw=f'["{SECRET}"]'.encode())
        output = "".join(await running.end())
    assert output.count("The invocation failed") == 4
    assert SECRET not in output


def mangled(event: Any, value: object) -> Iterator[Any]:
    """Copies of an event, each with ``value`` at another place, but for two that name a kind and are told."""
    for key in event if isinstance(event, dict) else range(len(event) if isinstance(event, list) else 0):
        if key not in ("eventType", "encoding"):
            for inner in (value, *mangled(event[key], value)):
                changed = copy.copy(event)
                changed[key] = inner
                yield changed


@pytest.mark.anyio
@pytest.mark.parametrize("name", NAMES)
async def test_no_error_tells_what_a_broken_event_held(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    events = [event for value in (SECRET, [SECRET], {"k": SECRET}, 7) for event in mangled(recorded(name), value)]
    api = await serve(StreamingAdapter(app, lifespan="off"), *events)
    errors = [answer.body.decode() for answer in api.answers if answer.kind == "error"]
    assert len(errors) > 10
    assert SECRET not in "".join(errors)
    log = "".join(capsys.readouterr())
    assert log.count("The invocation failed") == len(errors)
    assert SECRET not in log


@pytest.mark.anyio
@pytest.mark.parametrize(
    "message",
    [
        SECRET,
        {"type": "http.response.start", "status": 200, "headers": {"set-cookie": SECRET}},
        {"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", SECRET)]},
        {"type": "http.response.start", "status": 200, "headers": [(b"set-cookie", f"{SECRET}\n".encode())]},
        {"type": "http.response.body", "body": SECRET},
    ],
    ids=["a text", "a dict of headers", "a text as header", "a control character", "a text as body"],
)
async def test_no_error_tells_what_a_wrong_message_held(message: Any, capsys: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if "body" in message:
            await send({"type": "http.response.start", "status": 200})
        await send(message)

    api = await serve(StreamingAdapter(app, lifespan="off"), function_url_event())
    error = base64.b64decode(api.answers[0].trailers["lambda-runtime-function-error-body"]).decode()
    assert json.loads(error)["errorType"] == "AppError"
    assert SECRET not in error
    assert SECRET not in "".join(capsys.readouterr())


@pytest.mark.anyio
async def test_invocations_at_once_log_under_their_own_ids(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "FIRST_PAUSE", 0.0)
    logs.setup({"AWS_LAMBDA_MAX_CONCURRENCY": "2"})
    barrier = asyncio.Barrier(2)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await barrier.wait()
        logging.getLogger().error(scope["path"])
        await barrier.wait()
        await asyncio.to_thread(logging.getLogger().error, scope["path"])
        await barrier.wait()  # a slot that has nothing left to poll for would end the other's invocation
        raise ValueError(scope["path"])

    apis = [
        FakeRuntimeApi(function_url_event(path=name), headers={"Lambda-Runtime-Aws-Request-Id": name, **tenant})
        for name, tenant in (("/a", {"Lambda-Runtime-Aws-Tenant-Id": "A"}), ("/b", {}))
    ]
    handler = StreamingAdapter(app, lifespan="off")
    connections = [Connection("host:1", connects_to(api)) for api in apis]
    runtime = Runtime(handler, *connections, managed_instances=True)
    runtime._variables = await handler.startup()
    with pytest.raises(Fatal):
        await runtime.serve()
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    told = [record for record in records if record["level"] == "ERROR"]
    assert len(told) == 6
    for record in told:
        assert record["requestId"] == record.get("errorMessage", record["message"])
        assert record.get("tenantId") == ("A" if record["requestId"] == "/a" else None)


# What is logged, and where to, may be anything.


class Exits:
    """What exits when it is touched."""

    def _exit(self, *_: Any) -> Any:
        raise SystemExit

    __str__ = __repr__ = __bool__ = __len__ = __iter__ = __eq__ = __hash__ = write = flush = _exit


def handle(message: Any, *arguments: Any, exc_info: Any = None, **extra: object) -> None:
    """As an app's record is, by the root logger's handler; not by those of pytest, which would raise."""
    assert logs._on_root is not None
    record = logging.LogRecord("shop", logging.ERROR, "", 0, message, arguments, exc_info)
    vars(record).update(extra)
    logs._on_root.handle(record)


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_a_stream_of_the_apps_own_that_exits(
    log_format: str, root: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": log_format})
    with monkeypatch.context() as streams:
        streams.setattr(sys, "stdout", Exits())
        handle("said")
        logs.log_exception("It failed", failure())
        logs.flush()
        logs.reconnect()
        error = capsys.readouterr().err
        streams.setattr(sys, "stderr", Exits())
        handle("to nobody")
        logs.log("ERROR", "to nobody")
        logs.flush()
    assert error.count("said") == 1
    assert "It failed" in error


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
@pytest.mark.parametrize("raised", RAISED)
def test_records_that_raise_whatever_they_raise(
    log_format: str, raised: type[BaseException], root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the standard library's handlers do for an Exception: they are reported on stderr, and nothing comes out."""

    class Thing:
        def __str__(self) -> str:
            raise raised

    logs.setup({"AWS_LAMBDA_LOG_FORMAT": log_format})
    handle("%s", Thing())
    handle(Thing())
    assert capsys.readouterr().err.count("--- Logging error ---") == 2
    assert logs._on_root is not None
    logs._on_root.addFilter(Thing.__str__)  # type: ignore[arg-type]
    handle("said")
    handle("%s", Exits(), exc_info=(Exits, Exits(), None))


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_errors_that_cannot_be_told(log_format: str, out: Out) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": log_format})
    error = make_error(Exception, dict.fromkeys(("__str__", "__cause__", "__traceback__"), ("raises", SystemExit)))
    at_an_illegal_position(error)
    logs.log_exception("It failed", error)
    handle("said", exc_info=(type(error), error, None))
    handle("said", exc_info=("no", "error", 7))
    lines = out.getvalue().split("\n")
    if log_format == "Text":
        assert len(re.findall("in at_an_illegal_position\r", lines[0] + lines[1])) == 2
        assert lines[0].endswith("\rtests.support.hostile.Hostile: <Hostile: its text could not be made>")
        assert lines[2].endswith("\tsaid\rstr: error")
        return
    for record in map(json.loads, lines[:2]):
        assert (record["errorType"], record["errorMessage"]) == ("Hostile", "<Hostile: its text could not be made>")
        assert "in at_an_illegal_position\n" in "".join(record["stackTrace"])
    assert json.loads(lines[0])["location"].startswith(f"{os.path.dirname(__file__)}/support/hostile.py:at_an_illegal")
    assert "errorType" not in json.loads(lines[2])


def test_extras_that_cannot_be_read(out: Out) -> None:
    class Broken(dict[str, object]):
        items = Exits._exit

    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    handle("said", thing=Exits(), things=[Exits()])
    handle("said", exc_info=(ValueError, failure(), None), thing=Broken(a=1))
    handle({"thing": Exits()})
    first, second, third = map(json.loads, out.getvalue().splitlines())
    assert first["thing"] == first["things"][0] == third["message"]["thing"] == "<Exits: its text could not be made>"
    assert second["thing"] == "{'a': 1}"
    assert isinstance(second["stackTrace"], list)


def test_a_long_text_is_cut_in_the_log(out: Out) -> None:
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    logs.log_exception("It failed", ValueError("x" * 1_000_000))
    assert json.loads(out.getvalue())["errorMessage"].endswith("x… (934464 characters left out)")


def test_code_whose_names_cannot_be_read(out: Out) -> None:
    class Name(str):
        __slots__ = ()
        __str__ = __format__ = Exits._exit

    def fail() -> None:
        raise ValueError("wrong")

    fail.__code__ = fail.__code__.replace(co_filename=Name("app.py"), co_name=Name("f"))
    logs.setup({"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    with pytest.raises(ValueError, match="wrong") as info:
        fail()
    logs.log_exception("It failed", info.value)
    record = json.loads(out.getvalue())
    line = fail.__code__.co_firstlineno + 1
    assert record["location"] == f"app.py:f:{line}"
    assert record["stackTrace"][-1].startswith(f'  File "app.py", line {line}, in f')
