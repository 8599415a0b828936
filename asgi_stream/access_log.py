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
from asgi_stream.foreign import get, of_type, text, type_name

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
        self._is_written = False

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
        self._end = "deadline" if of_type(error, DeadlineExceeded) else "error"

    def close(self) -> None:
        """The deadline has closed an event stream, which is not a failure."""
        self._end = "deadline"

    def abandon(self, error: BaseException | None) -> None:
        """The invocation ends with ``error``, None for an event stream that was left open, and its app goes on."""
        if error is None:
            self.close()
        else:
            self.fail(error)
        self.write()

    def write(self, error_status: int = 0) -> None:
        """Writes the record, once; ``error_status`` is a status that counts as an error, else 0. Raises nothing."""
        if self._is_written:
            return
        self._is_written = True
        if error_status and self._error is None:
            self._error, self._end = StatusError.__name__, "error"
        record = _encode(self._fields())
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.write(record + "\n")
                stream.flush()
            except BaseException:  # noqa: S112 - there is nowhere to log it
                continue  # the app has closed or replaced it
            return

    def _fields(self) -> dict[str, object]:
        now = time.perf_counter()
        route = _route(self._scope)
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


def _route(scope: Mapping[str, Any]) -> str | None:
    """The template of the route that Starlette or FastAPI has chosen, such as ``/items/{id}``, below its mounts."""
    route = scope.get("route")
    template = get(route, "path")
    # Newer versions of FastAPI keep the prefix of a router that is included apart from its routes.
    fastapi = scope.get("fastapi")
    included = fastapi.get("effective_route_context") if type(fastapi) is dict else None
    if included is not None and get(included, "original_route") is route:
        template = get(included, "path")
    if get(route, "routes") is not None:
        template = ""  # a mount, whose path is in the root path
    if type(template) is not str:
        return None
    outer, root_path = scope.get("app_root_path"), scope.get("root_path")
    if type(outer) is str and type(root_path) is str and root_path.startswith(outer):
        template = _mount(root_path[len(outer) :], template, scope.get("path_params")) + template
    return template[:MAX_TEXT]


def _mount(path: str, template: str, parameters: object) -> str:
    """The path of the mounts, parameters by their names, not their values: CloudWatch bills each route."""
    if type(parameters) is dict:
        for name, value in parameters.items():
            if type(name) is str and f"{{{name}}}" not in template and f"{{{name}:" not in template:
                path = f"{path}/".replace(f"/{text(value)}/", f"/{{{name}}}/", 1)[:-1]
    return path


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _text(value: object) -> str | None:
    return value[:MAX_TEXT] if type(value) is str else None
