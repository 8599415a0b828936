"""Log records, the app's and the runtime's own, in the formats of AWS's Python runtime.

``setup`` puts a handler on the root logger, as AWS's runtime does, so ``logging`` works in an app without being set up
there. An app that does set it up replaces that handler by its own: the runtime's records (``log``, ``log_exception``)
then go on as before, for they do not pass through the root logger.

A record knows its invocation by a context variable, ``bind``. Where an environment serves one invocation at a time,
code that does not see the variable (a plain thread, a task of the app's startup) gets the latest invocation's; on
Managed Instances it gets none, for any would be a guess.

A record goes out whole: as one frame where Lambda offers its telemetry descriptor, else as one line of stdout. There
line feeds within a text record become carriage returns, which CloudWatch Logs shows as line breaks and takes for one
event; not in a terminal and on the local Lambda, where people read them.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from asgi_stream.foreign import error_lines, error_text, has_more, of_type, stack_lines, text, traceback_of, type_name
from asgi_stream.runtime.telemetry import DESCRIPTOR, PROVIDER_SOCKET, Frames, frame_type, redirect_output

if TYPE_CHECKING:
    from collections.abc import Mapping

    class Output(Protocol):
        """Where formatted records go."""

        def write(self, text: str, level: int, is_json: bool) -> None:
            """Writes one record, which does not end in a line feed. Raises nothing for what the other side does."""
            ...


__all__ = ["JsonFormatter", "TextFormatter", "bind", "flush", "log", "log_exception", "reconnect", "setup", "unbind"]

_LEVEL_NAMES = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class _Bound:
    """The invocation that a record belongs to."""

    __slots__ = ("_trace_id", "request_id", "tenant_id")

    def __init__(self, request_id: str = "", tenant_id: str | None = None, trace_id: str | None = None) -> None:
        self.request_id = request_id
        self.tenant_id = tenant_id
        self._trace_id = trace_id

    @property
    def trace_root(self) -> str | None:
        """The root of the X-Ray header: what records get of it."""
        fields = self._trace_id.split(";") if self._trace_id is not None else ()
        return next((field[5:] for field in fields if field.startswith("Root=")), None)


_UNBOUND = _Bound()
_bound: contextvars.ContextVar[_Bound] = contextvars.ContextVar("asgi_stream_invocation", default=_UNBOUND)
# Those that have not ended, for the runtime's own records, which are written outside of their contexts.
_live: dict[str, _Bound] = {}
_latest = _UNBOUND
_one_at_a_time = True
_provider_socket: str | None = None


def bind(request_id: str, tenant_id: str | None = None, trace_id: str | None = None) -> None:
    """Makes the records of this task, and of what it starts, those of an invocation.

    ``trace_id`` is the X-Ray header as Lambda sends it; records get its root. To be followed by ``unbind``.
    """
    global _latest
    bound = _Bound(request_id, tenant_id, trace_id)
    _bound.set(bound)
    _live[request_id] = bound
    if _one_at_a_time:
        _latest = bound


def unbind(request_id: str) -> None:
    """The invocation has ended: the runtime has no more to say of it."""
    _live.pop(request_id, None)


def log(level: str, message: str, request_id: str = "") -> None:
    """Writes a record of the runtime itself; ``request_id`` is the bound one if not given. Raises nothing."""
    _emit(logging.getLevelNamesMapping().get(level, logging.ERROR), message.rstrip(), None, request_id)


def log_exception(message: str, error: BaseException, request_id: str = "") -> None:
    """Writes an ERROR record with the whole traceback, causes and groups included. Raises nothing."""
    _emit(logging.ERROR, message.rstrip(), error, request_id)


def _emit(level: int, message: str, error: BaseException | None, request_id: str) -> None:
    if level < _own.level:
        return
    exc_info = None if error is None else (type(error), error, traceback_of(error))
    record = logging.LogRecord("asgi_stream", level, "", 0, message, None, exc_info)
    bound = _live.get(request_id) or _Bound(request_id) if request_id else _bound.get()
    _stamp(record, bound)
    _own.handle(record)


def _stamp(record: logging.LogRecord, bound: _Bound) -> None:
    # The names that AWS's runtime gives them: formatters in users' code ask for %(aws_request_id)s.
    record.aws_request_id = bound.request_id
    record.tenant_id = bound.tenant_id
    record.trace_id = bound.trace_root


def _of_the_invocation(record: logging.LogRecord) -> bool:
    """The filter that stamps a record. It lets all through."""
    if not hasattr(record, "aws_request_id"):
        bound = _bound.get()
        _stamp(record, _latest if bound is _UNBOUND else bound)
    return True


class LambdaHandler(logging.Handler):
    """Writes records to where Lambda reads them."""

    def __init__(self, output: Output, formatter: logging.Formatter) -> None:
        super().__init__()
        self._output = output
        self.setFormatter(formatter)
        self.addFilter(_of_the_invocation)

    def handle(self, record: logging.LogRecord) -> bool:
        """Writes a record. Raises nothing, ``SystemExit`` neither: asyncio logs the app's errors between our tasks."""
        try:
            return super().handle(record)
        except BaseException:
            with contextlib.suppress(BaseException):  # the same object, printed once more
                self.handleError(record)
            return False

    def emit(self, record: logging.LogRecord) -> None:
        told = self.format(record)
        # Asked each time, since users set formatters of their own on this very handler.
        self._output.write(told.rstrip("\n"), record.levelno, isinstance(self.formatter, JsonFormatter))


class TextFormatter(logging.Formatter):
    """``[LEVEL]``, time, request id and message between tabs; a traceback in the lines below."""

    def __init__(self) -> None:
        super().__init__(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s",
            "%Y-%m-%dT%H:%M:%S",
        )
        self.converter = time.gmtime

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the base class's name
        """As Python prints it. ``ei`` is what ``sys.exc_info`` returns, or anything else that the app logs."""
        error = ei[1]
        lines = error_lines(error) if of_type(error, BaseException) else [f"{type_name(error)}: {text(error)}"]
        return "".join(lines).rstrip("\n")


class JsonFormatter(logging.Formatter):
    """One JSON object. What an app passes as ``extra`` stands beside AWS's fields; a dict may be the message."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        fields: dict[str, object] = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            # Lambda's filter knows these names alone.
            "level": _LEVEL_NAMES[max(0, min(50, record.levelno)) // 10],
            "message": record.msg if isinstance(record.msg, dict) else record.getMessage(),
            "logger": record.name,
            "requestId": getattr(record, "aws_request_id", ""),
        }
        if of_type(error, BaseException):
            fields["errorType"] = type_name(error)
            fields["errorMessage"] = error_text(error)
            fields["stackTrace"] = _stack(error)
            fields["location"] = _location(record, error)
        fields["tenantId"] = getattr(record, "tenant_id", None)
        fields["traceId"] = getattr(record, "trace_id", None)
        for name, value in vars(record).items():
            if name not in _STANDARD:
                fields.setdefault(name, value)
        fields = {name: value for name, value in fields.items() if value is not None}
        try:
            return _dump(fields)
        except BaseException:
            # An object that contains itself, NaN, a dict that cannot be read.
            return _dump({name: value if name == "stackTrace" else text(value) for name, value in fields.items()})


_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, skipkeys=True, default=text).encode
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "aws_request_id", "asctime", "message", "taskName", "tenant_id", "trace_id",
}  # fmt: skip


def _stack(error: BaseException) -> list[str]:
    """The frames; the whole text if there is more to tell: a cause, or the errors of a group."""
    if has_more(error) or of_type(error, SyntaxError):
        return error_lines(error)
    return stack_lines(traceback_of(error))


def _location(record: logging.LogRecord, error: BaseException) -> str | None:
    if record.pathname:
        return f"{text(record.pathname)}:{text(record.funcName)}:{text(record.lineno)}"
    # A record of the runtime itself: the place that matters is where the error was raised.
    frame, innermost = traceback_of(error), None
    while frame is not None:
        frame, innermost = frame.tb_next, frame
    if innermost is None:
        return None
    code = innermost.tb_frame.f_code
    return f"{text(code.co_filename)}:{text(code.co_name)}:{innermost.tb_lineno}"


class StreamOutput:
    """A standard stream, looked up at each record: tests and apps replace it."""

    def __init__(self, name: str, one_line: bool = False) -> None:
        self._name = name
        self._one_line = one_line

    def write(self, text: str, level: int, is_json: bool) -> None:
        if self._one_line:
            text = text.replace("\r\n", "\n").replace("\n", "\r")
        for name in (self._name, "stderr"):
            try:
                _write_line(getattr(sys, name), text)
            except BaseException:  # noqa: S112 - there is nowhere to log it
                continue  # the app has closed or replaced it
            return


def _write_line(stream: Any, text: str) -> None:
    try:
        stream.write(text + "\n")
    except UnicodeEncodeError:
        stream.write(_in_ascii(text) + "\n")
    stream.flush()


def _in_ascii(text: str) -> str:
    """``text`` with all that is not ASCII escaped, in a way that leaves JSON what it is."""
    return "".join(character if character.isascii() else json.dumps(character)[1:-1] for character in text)


class TelemetryOutput:
    """The telemetry descriptor, and after its first failure stdout."""

    def __init__(self, frames: Frames, fallback: Output) -> None:
        self._frames: Frames | None = frames
        self._fallback = fallback

    def write(self, text: str, level: int, is_json: bool) -> None:
        if self._frames is not None:
            try:
                self._frames.write(frame_type(level, is_json), text)
            except OSError:
                self._frames = None  # the app has closed it
            else:
                return
        self._fallback.write(text, level, is_json)


# Until ``setup``, and where it is never called: in tests of an app.
_own = LambdaHandler(StreamOutput("stderr"), TextFormatter())
_on_root: logging.Handler | None = None


def setup(environ: Mapping[str, str] = os.environ) -> None:
    """Sets up logging as Lambda's variables say; to be called once, before the user's code is imported.

    Takes ``_LAMBDA_TELEMETRY_LOG_FD`` out of the process's environment. Never fails: what cannot be used is warned of.
    """
    global _own, _on_root, _one_at_a_time, _provider_socket
    managed_instances = "AWS_LAMBDA_MAX_CONCURRENCY" in environ
    as_json = managed_instances or environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
    level = _level(environ.get("AWS_LAMBDA_LOG_LEVEL", ""))
    if level is None and as_json:
        level = logging.INFO
    troubles = []
    _one_at_a_time = not managed_instances
    _provider_socket = environ.get(PROVIDER_SOCKET)
    if _provider_socket is not None:
        try:
            redirect_output(_provider_socket)
        except OSError as error:
            troubles.append(f"{PROVIDER_SOCKET}: {error}")
    if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
        reconfigure(line_buffering=True)
    output: Output = StreamOutput("stdout", one_line=not _is_read_by_people(environ))
    descriptor = environ.get(DESCRIPTOR)
    os.environ.pop(DESCRIPTOR, None)
    if descriptor is not None:
        try:
            output = TelemetryOutput(Frames(int(descriptor)), output)
        except (OSError, ValueError, OverflowError) as error:
            troubles.append(f"{DESCRIPTOR}={descriptor}: {error}")
    formatter = JsonFormatter() if as_json else TextFormatter()
    _own = LambdaHandler(output, formatter)
    root = logging.getLogger()
    if level is not None:
        root.setLevel(level)
        _own.setLevel(level)
    if _on_root is not None:
        root.removeHandler(_on_root)
    _on_root = LambdaHandler(output, formatter)
    root.addHandler(_on_root)
    for trouble in troubles:
        log("WARNING", f"Log records go to the standard streams instead: {trouble}")


def _level(name: str) -> int | None:
    name = name.upper()
    return logging.DEBUG if name == "TRACE" else logging.getLevelNamesMapping().get(name)


def _is_read_by_people(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("_ASGI_STREAM_LOCAL") or environ.get("AWS_SAM_LOCAL")) or os.isatty(1)


def reconnect() -> None:
    """To be called in the child of a fork: its stdout and stderr need connections of their own."""
    if _provider_socket is not None:
        try:
            redirect_output(_provider_socket)
        except BaseException as error:  # stdout may be the app's
            log("WARNING", f"Log records go to the parent's streams: {PROVIDER_SOCKET}: {text(error)}")


def flush() -> None:
    """Writes out what was printed without a line end; the environment may be frozen after an invocation."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # noqa: S112
            continue  # the app has closed or replaced it
