"""What a function reports when it fails, by whichever way: `/error`, `/init/error`, or a stream's trailers."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

ReportedBy = Literal["response", "error"]

ERROR_TYPE = "lambda-runtime-function-error-type"
ERROR_BODY = "lambda-runtime-function-error-body"


@dataclass(frozen=True, slots=True)
class FunctionError:
    """What went wrong in the function.

    `details` is the decoded JSON (`errorType`, `errorMessage`, `stackTrace`), empty if it was no JSON object.
    `reported_by` names the endpoint that told it; None means the platform noticed (exit, truncated body).
    """

    error_type: str
    details: Mapping[str, Any] = field(default_factory=dict)
    reported_by: ReportedBy | None = None

    def __str__(self) -> str:
        """Returns type, message and stack trace as lines for the terminal."""
        message = self.details.get("errorMessage")
        head = str(self.details.get("errorType") or self.error_type) + (f": {message}" if message else "")
        trace = self.details.get("stackTrace")
        lines = [str(entry).rstrip("\n") for entry in trace] if isinstance(trace, list) else []
        return "\n".join([head, *lines])


def _json_object(data: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(data)
        if isinstance(value, dict):
            return value
    return {}


def from_body(error_type: str | None, body: bytes) -> FunctionError:
    """Reads a post to `/error` or `/init/error`; `error_type` is its header."""
    details = _json_object(body)
    error_type = error_type or str(details.get("errorType") or "Runtime.Unknown")
    return FunctionError(error_type, details, "error")


def from_trailers(trailers: Mapping[str, str]) -> FunctionError | None:
    """Reads the trailers (lower-case names) of a streamed response; None if they tell of no error."""
    if not (ERROR_TYPE in trailers or ERROR_BODY in trailers):
        return None
    details: dict[str, Any] = {}
    with contextlib.suppress(binascii.Error, ValueError):
        details = _json_object(base64.b64decode(trailers.get(ERROR_BODY, ""), validate=True))
    return FunctionError(trailers.get(ERROR_TYPE) or "Runtime.Unknown", details, "response")
