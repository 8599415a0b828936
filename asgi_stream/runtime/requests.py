"""The requests of Lambda's Runtime API and Extensions API, one pure function per endpoint, and what replies mean.

Source: "Using the Lambda runtime API for custom runtimes", "Response streaming" and "Using the Lambda Extensions API"
in AWS's Lambda Developer Guide; what the guide leaves open was observed on AWS's own Runtime API server.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, TypeAlias

from asgi_stream import __version__
from asgi_stream.runtime.http11 import CRLF, ProtocolError, Reply, header_lines, last_chunk, request_line

if TYPE_CHECKING:
    from asgi_stream.runtime.reports import ErrorReport

    Fields: TypeAlias = tuple[tuple[str, str], ...]

__all__ = [
    "HTTP_RESPONSE",
    "Invocation",
    "Request",
    "Verdict",
    "buffered_response",
    "init_error",
    "invocation_error",
    "next_extension_event",
    "next_invocation",
    "parse_invocation",
    "parse_registration",
    "register_extension",
    "restore_error",
    "restore_next",
    "stream_end",
    "stream_response",
    "verdict",
]

API = "/2018-06-01/runtime"
EXTENSION_API = "/2020-01-01/extension"
EXTENSION_NAME = "asgi-stream"
HTTP_RESPONSE = "application/vnd.awslambda.http-integration-response"
ERROR_HEADERS = (("Content-Type", "application/vnd.aws.lambda.error+json"),)
CLEAN_END = last_chunk()
USER_AGENT = f"asgi-stream/{__version__} Python/{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}"


class Request:
    """A request of which all is known but the host. ``body`` is None where a chunked body follows the head.

    ``headers`` are those that every such request has, ``more`` those of this one. Raises ProtocolError for an id that
    cannot stand in a path.
    """

    __slots__ = ("body", "headers", "line", "method", "more")

    def __init__(self, method: str, target: str, headers: Fields, body: bytes | None, more: Fields = ()) -> None:
        self.method = method
        self.line = request_line(method, target)
        self.headers = headers
        self.body = body
        self.more = more

    def encode(self, host: str) -> bytes:
        """Returns the bytes on the wire. Raises ProtocolError for an id that cannot stand in a header."""
        lines = self.line + _usual(host, self.headers)
        if self.more:
            lines += header_lines(self.more)
        if self.method == "GET":
            return lines + CRLF
        if self.body is None:
            return lines + b"Transfer-Encoding: chunked\r\n\r\n"
        return lines + b"Content-Length: %d\r\n\r\n" % len(self.body) + self.body


# The same ones again and again: kept, they take 2 µs less of the 140 of an invocation (Python 3.11 and 3.13).
@functools.lru_cache(maxsize=32)
def _usual(host: str, headers: Fields) -> bytes:
    return header_lines((("Host", host), ("User-Agent", USER_AGENT), *headers))


class Invocation:
    """What ``/next`` gave. Fields that Lambda left out are None.

    ``deadline_ms`` is in milliseconds since the epoch; ``event`` is the raw body.
    """

    __slots__ = (
        "client_context", "cognito_identity", "deadline_ms", "event", "function_arn", "invocation_id", "request_id",
        "tenant_id", "trace_id",
    )  # fmt: skip

    def __init__(
        self,
        request_id: str,
        event: bytes,
        deadline_ms: int | None = None,
        function_arn: str | None = None,
        trace_id: str | None = None,
        client_context: str | None = None,
        cognito_identity: str | None = None,
        tenant_id: str | None = None,
        invocation_id: str | None = None,
    ) -> None:
        self.request_id = request_id
        self.event = event
        self.deadline_ms = deadline_ms
        self.function_arn = function_arn
        self.trace_id = trace_id
        self.client_context = client_context
        self.cognito_identity = cognito_identity
        self.tenant_id = tenant_id
        self.invocation_id = invocation_id


_NEXT = Request("GET", f"{API}/invocation/next", (), b"")


# GET /2018-06-01/runtime/invocation/next
def next_invocation() -> Request:
    """Asks for the next invocation; the reply may take hours."""
    return _NEXT


def parse_invocation(reply: Reply) -> Invocation:
    """Returns the invocation that a 200 reply to ``/next`` carries.

    Raises ProtocolError if the reply has no request id that can stand in a path: nothing can be answered without it.
    Empty headers count as absent, as they may come on Managed Instances.
    """
    get = reply.headers.get
    request_id = get("lambda-runtime-aws-request-id")
    if not request_id or not request_id.isascii() or not request_id.isprintable() or " " in request_id:
        raise ProtocolError(f"/next came without a usable Lambda-Runtime-Aws-Request-Id: {request_id!r:.100}")
    deadline = get("lambda-runtime-deadline-ms") or ""
    return Invocation(
        request_id,
        reply.body,
        int(deadline) if deadline.isascii() and deadline.isdigit() and len(deadline) <= 18 else None,
        get("lambda-runtime-invoked-function-arn") or None,
        get("lambda-runtime-trace-id") or None,
        get("lambda-runtime-client-context") or None,
        get("lambda-runtime-cognito-identity") or None,
        get("lambda-runtime-aws-tenant-id") or None,
        get("lambda-runtime-invocation-id") or None,
    )


# POST /2018-06-01/runtime/invocation/{request id}/response
def stream_response(invocation: Invocation, content_type: str = HTTP_RESPONSE) -> Request:
    """Begins a streamed response. Both error trailers are announced: Lambda drops trailers that were not."""
    return Request(
        "POST",
        f"{API}/invocation/{invocation.request_id}/response",
        (
            ("Content-Type", content_type),
            ("Lambda-Runtime-Function-Response-Mode", "streaming"),
            ("Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"),
        ),
        None,
        _echo(invocation),
    )


def buffered_response(invocation: Invocation, payload: bytes, content_type: str = "application/json") -> Request:
    """Gives a whole answer: what a function returns on AWS's managed runtimes."""
    return Request(
        "POST",
        f"{API}/invocation/{invocation.request_id}/response",
        (("Content-Type", content_type),),
        payload,
        _echo(invocation),
    )


def stream_end(report: ErrorReport | None = None) -> bytes:
    """Returns the end of a streamed response: clean, or in an error by trailers."""
    return CLEAN_END if report is None else last_chunk(report.to_trailers())


# POST /2018-06-01/runtime/invocation/{request id}/error
def invocation_error(invocation: Invocation, report: ErrorReport) -> Request:
    """Reports an error; only before a response has begun."""
    return Request(
        "POST",
        f"{API}/invocation/{invocation.request_id}/error",
        ERROR_HEADERS,
        report.to_json(),
        (_error_type(report), *_echo(invocation)),
    )


# POST /2018-06-01/runtime/init/error
def init_error(report: ErrorReport) -> Request:
    """Reports that the function could not be started; the process must exit non-zero after it."""
    return Request("POST", f"{API}/init/error", ERROR_HEADERS, report.to_json(), (_error_type(report),))


# GET /2018-06-01/runtime/restore/next
def restore_next() -> Request:
    """Says that the snapshot may be taken (SnapStart); the reply, 200 and empty, comes in each restored environment."""
    return Request("GET", f"{API}/restore/next", (), b"")


# POST /2018-06-01/runtime/restore/error
def restore_error(report: ErrorReport) -> Request:
    """Reports that the function cannot go on after the restore; the process must exit non-zero after it."""
    return Request("POST", f"{API}/restore/error", ERROR_HEADERS, report.to_json(), (_error_type(report),))


# POST /2020-01-01/extension/register
def register_extension() -> Request:
    """Registers this process as an internal extension, for no event: Lambda refuses SHUTDOWN to internal ones."""
    return Request(
        "POST",
        f"{EXTENSION_API}/register",
        (("Content-Type", "application/json"), ("Lambda-Extension-Name", EXTENSION_NAME)),
        b'{"events":[]}',
    )


def parse_registration(reply: Reply) -> str:
    """Returns the identifier that a reply to ``/register`` gave. Raises ProtocolError for a reply without one."""
    identifier = reply.headers.get("lambda-extension-identifier")
    if reply.status != 200 or not identifier:
        raise ProtocolError(f"no extension identifier: status {reply.status}, {reply.body[:500]!r}")
    return identifier


# GET /2020-01-01/extension/event/next
def next_extension_event(identifier: str) -> Request:
    """Says that the extension is ready, and asks for an event; Lambda's init lasts until this has been asked."""
    return Request("GET", f"{EXTENSION_API}/event/next", (("Lambda-Extension-Identifier", identifier),), b"")


def _error_type(report: ErrorReport) -> tuple[str, str]:
    return ("Lambda-Runtime-Function-Error-Type", report.kind)


def _echo(invocation: Invocation) -> Fields:
    # Sent since July 2026: echoed when it came, left out otherwise; a wrong value is answered with 410.
    if invocation.invocation_id is None:
        return ()
    return (("Lambda-Runtime-Invocation-Id", invocation.invocation_id),)


class Verdict:
    """What a reply to ``/response`` or ``/error`` means for the process."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # this invocation is lost; it is logged, and the next one is asked for
    FATAL = "fatal"  # the platform calls it non-recoverable: exit promptly, non-zero


def verdict(reply: Reply) -> str:
    """Judges a reply to ``/response`` or ``/error``; one of :class:`Verdict`.

    400 (truncated, wrong request id), 403 (second response), 410 (late) and 413 (too large) leave the environment
    able to go on; where it is not, ``/next`` says so. 5xx is documented as non-recoverable.
    """
    if 200 <= reply.status < 300:
        return Verdict.ACCEPTED
    if 400 <= reply.status < 500:
        return Verdict.REFUSED
    return Verdict.FATAL
