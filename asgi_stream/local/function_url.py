"""The event of a Function URL, from the request that asked for it. No I/O.

Source: the Lambda developer guide, "Invoking Lambda function URLs", payload format 2.0.
"""

from __future__ import annotations

import base64
import re
import secrets
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

URL_ID = "asgistreamlocal"
REGION = "us-east-1"

# RFC 9110, 5.6.3: what may be around a field value. Without it, str.strip() also takes the obs-text 0x85 and 0xA0.
OWS = " \t"

# A client writes this header, and Lambda hands its value to the function's process in a header. X-Ray's have 75 bytes.
_TRACE_ID = re.compile(r"[\x20-\x7e]{1,1024}")
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "te", "trailer", "trailers", "transfer-encoding", "upgrade", "expect")
)
_TEXT_TYPES = frozenset(("application/json", "application/javascript", "application/xml", "application/x-javascript"))


def new_trace_id() -> str:
    """Returns an X-Ray trace header, `Root=1-<8 hex: epoch seconds>-<24 hex>`."""
    return f"Root=1-{int(datetime.now(UTC).timestamp()):08x}-{secrets.token_hex(12)}"


def trace_id_of(event: Mapping[str, Any]) -> str:
    """Returns the trace of the invocation for an event: that of its header, or a new one where that is not usable."""
    trace_id: str = event["headers"]["x-amzn-trace-id"]
    return trace_id if _TRACE_ID.fullmatch(trace_id) else new_trace_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An HTTP request as it stood on the wire.

    `raw_path` is percent-encoded, without the query; `query` is without its `?`. Header names may have any
    case.
    """

    method: str
    raw_path: bytes
    query: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""
    source_ip: str = "127.0.0.1"
    port: int = 80
    scheme: str = "http"
    protocol: str = "HTTP/1.1"


def build_event(request: Request, *, request_id: str | None = None) -> dict[str, Any]:
    """Returns the payload 2.0 event that a Function URL without IAM sends for `request`; JSON-serialisable.

    `request_id` is Lambda's id of the invocation, a fresh one if None.
    """
    headers, cookies = _event_headers(request)
    now = datetime.now(UTC)
    raw_path = _ascii(request.raw_path)
    raw_query = _ascii(request.query)
    domain = f"{URL_ID}.lambda-url.{REGION}.on.aws"
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw_path,
        "rawQueryString": raw_query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": URL_ID,
            "domainName": domain,
            "domainPrefix": URL_ID,
            "http": {
                "method": request.method,
                "path": unquote(raw_path),
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id or str(uuid.uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if raw_query:
        event["queryStringParameters"] = _lossy_query(raw_query)
    if request.body:
        event["body"], event["isBase64Encoded"] = _event_body(request.body, headers)
    return event


def _ascii(target: bytes) -> str:
    """Raw bytes that a sloppy client did not percent-encode are encoded; all else stays as sent."""
    return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in target)


def _event_headers(request: Request) -> tuple[dict[str, str], list[str]]:
    """Returns (lower-case headers, cookies).

    `host` stays what the browser sent, where AWS writes the URL's own domain: links and redirects that an app
    builds from it must lead back to this machine.
    """
    headers: dict[str, str] = {}
    cookie_headers = []
    chunked = False
    for raw_name, raw_value in request.headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name == "cookie":
            cookie_headers.append(value)
        elif is_hop_by_hop(name):
            chunked = chunked or name == "transfer-encoding"
        else:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    if cookie_headers:
        headers["cookie"] = "; ".join(cookie_headers)
    if chunked:
        # The event carries the whole body, so its length is known, whatever the framing was.
        headers["content-length"] = str(len(request.body))
    headers["x-forwarded-for"] = request.source_ip
    headers["x-forwarded-port"] = str(request.port)
    headers["x-forwarded-proto"] = request.scheme
    headers.setdefault("x-amzn-trace-id", new_trace_id())
    parts = [part.strip(OWS) for header in cookie_headers for part in header.split(";")]
    return headers, [part for part in parts if part]


def is_hop_by_hop(name: str) -> bool:
    """Whether the header (lower-case) belongs to one connection, and is not forwarded."""
    return name in _HOP_BY_HOP or name.startswith("proxy-")


def _lossy_query(raw_query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(raw_query, keep_blank_values=True, errors="replace"):
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters


def _event_body(body: bytes, headers: dict[str, str]) -> tuple[str, bool]:
    """Returns (`body`, `isBase64Encoded`). Form posts are base64, as on AWS."""
    media_type = headers.get("content-type", "").partition(";")[0].strip(OWS).lower()
    is_text = media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith(("+json", "+xml"))
    if is_text and "content-encoding" not in headers:
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode("ascii"), True
