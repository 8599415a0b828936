"""One record for each HTTP invocation: the setting ``access_log``. Imported where it is on.

A record is a line of JSON on stdout, which CloudWatch Logs keeps as one event in both of Lambda's log formats. With
``emf`` it is in CloudWatch's embedded metric format too, so that CloudWatch makes metrics of it without an agent.

Source: "Specification: Embedded metric format" in the Amazon CloudWatch User Guide.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from asgi_stream.errors import DeadlineExceeded, StatusError
from asgi_stream.foreign import get, type_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from asgi_stream.responders import StreamingResponder
    from asgi_stream.sinks import Buffer, Prelude

__all__ = ["NAMESPACE", "AccessRecord"]

NAMESPACE = "asgi-stream"
METRICS = (
    ("TimeToFirstByte", "Milliseconds"),
    ("Duration", "Milliseconds"),
    ("Chunks", "Count"),
    ("Bytes", "Bytes"),
    ("Errors", "Count"),
    ("ColdStarts", "Count"),
)
# CloudWatch bills a metric for each set of dimensions: routes are few, paths would not be.
DIMENSIONS = (["FunctionName"], ["FunctionName", "Route"])
MAX_TEXT = 1024  # characters of a path, a route or a method

_encode = json.JSONEncoder(separators=(",", ":")).encode
_is_first = True


class AccessRecord:
    """What is recorded of one invocation. ``form`` is ``json`` or ``emf``."""

    def __init__(self, form: str, scope: Mapping[str, Any], context: Any) -> None:
        global _is_first
        self._form = form
        # Read now: the scope is the app's to change.
        self._method, self._path = scope["method"][:MAX_TEXT], scope["path"][:MAX_TEXT]
        self._scope = scope
        self._context = context
        self._cold_start, _is_first = _is_first, False
        self._began = time.perf_counter()
        self._first_byte: float | None = None
        self._status: int | None = None
        self._chunks = 0
        self._bytes = 0
        self._end = "whole"
        self._error: str | None = None

    def watch(self, responder: StreamingResponder) -> None:
        """Counts what a streamed response sends from now on."""
        put, end = responder.put, responder.end

        def counted_put(data: Buffer) -> Awaitable[None] | None:
            self._count(data)
            return put(data)

        def counted_end(data: Buffer = b"") -> Awaitable[None]:
            self._count(data)
            return end(data)

        responder.call_at_start(self._start)
        responder.put = counted_put  # type: ignore[method-assign]
        responder.end = counted_end

    def _count(self, data: Buffer) -> None:
        if data:
            self._chunks += 1
            self._bytes += len(data)

    def _start(self, prelude: Prelude) -> None:
        self._status = prelude.status
        self._first_byte = time.perf_counter()

    def answer(self, status: int, size: int) -> None:
        """A buffered answer has been given, with a body of ``size`` bytes."""
        self._status = status
        self._first_byte = time.perf_counter()
        self._chunks, self._bytes = int(size > 0), size

    def fail(self, error: BaseException) -> None:
        """The invocation has failed with ``error``."""
        self._error = type_name(error)[:MAX_TEXT]
        self._end = "deadline" if isinstance(error, DeadlineExceeded) else "error"

    def close(self) -> None:
        """The deadline has closed an event stream, which is not a failure."""
        self._end = "deadline"

    def write(self, error_status: int = 0) -> None:
        """Writes the record; ``error_status`` is a status that counts as an error, else 0. Raises nothing."""
        if error_status and self._error is None:
            self._error, self._end = StatusError.__name__, "error"
        text = _encode(self._fields())
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.write(text + "\n")
                stream.flush()
            except BaseException:  # noqa: S112 - there is nowhere to log it
                continue  # the app has closed or replaced it
            return

    def _fields(self) -> dict[str, object]:
        now = time.perf_counter()
        # Starlette and FastAPI leave the route there; its path is a template, such as /items/{id}.
        route = _text(get(self._scope.get("route"), "path"))
        fields: dict[str, object] = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "level": "INFO",
            "type": "asgi_stream.access",
            "requestId": _text(get(self._context, "aws_request_id")),
            "method": self._method,
            "path": self._path,
            "route": route,
            "status": self._status,
            "timeToFirstByteMs": _milliseconds(self._first_byte and self._first_byte - self._began),
            "durationMs": _milliseconds(now - self._began),
            "chunks": self._chunks,
            "bytes": self._bytes,
            "end": self._end,
            "errorType": self._error,
            "coldStart": self._cold_start,
        }
        if self._form == "emf":
            fields |= {
                "_aws": {
                    "Timestamp": int(time.time() * 1000),
                    "CloudWatchMetrics": [
                        {
                            "Namespace": NAMESPACE,
                            "Dimensions": DIMENSIONS if route else DIMENSIONS[:1],
                            "Metrics": [
                                {"Name": name, "Unit": unit}
                                for name, unit in METRICS
                                if name != "TimeToFirstByte" or self._first_byte is not None
                            ],
                        }
                    ],
                },
                "FunctionName": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local"),
                "Route": route,
                "TimeToFirstByte": fields["timeToFirstByteMs"],
                "Duration": fields["durationMs"],
                "Chunks": self._chunks,
                "Bytes": self._bytes,
                "Errors": int(self._error is not None),
                "ColdStarts": int(self._cold_start),
            }
        return {name: value for name, value in fields.items() if value is not None}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _text(value: object) -> str | None:
    return value[:MAX_TEXT] if type(value) is str else None
