"""Lambda Function URLs: payload format 2.0 in, the HTTP integration prelude out.

Source: "Invoking Lambda function URLs" in AWS's Lambda Developer Guide. Beyond the guide: ``rawPath`` stays
percent-encoded while ``requestContext.http.path`` is decoded, so the path is decoded here, once, from the former;
cookies stand twice, in ``cookies`` and in ``headers.cookie``.
"""

from __future__ import annotations

from urllib.parse import unquote

from asgi_stream.errors import EventError
from asgi_stream.sinks import Prelude
from asgi_stream.sources.request import HttpRequest, encode, encode_header, field, read_body, read_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

__all__ = ["matches", "to_prelude", "to_request"]

# RFC 9110, 7.6.1: these speak of one connection, and Lambda's is not the client's.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def matches(event: Mapping[str, Any]) -> bool:
    """True for a payload of format 2.0 with an HTTP request context."""
    context = event.get("requestContext")
    return event.get("version") == "2.0" and isinstance(context, dict) and "http" in context


def to_request(event: Mapping[str, Any]) -> HttpRequest:
    """Returns the request in a Function URL's event. Raises EventError that names the field at fault."""
    raw_path = field(event, "rawPath", str, "") or "/"
    headers, cookies = _headers(event)
    scheme = headers.get("x-forwarded-proto", "https").partition(",")[0].strip().lower() or "https"
    host = headers.get("host") or field(event, "requestContext.domainName", str, "")
    pairs = [(encode_header(name), encode_header(value)) for name, value in headers.items()]
    if cookies:
        pairs.append((b"cookie", encode_header("; ".join(cookies))))
    source_ip = field(event, "requestContext.http.sourceIp", str, "")
    method = field(event, "requestContext.http.method", str, "")
    if not method:
        raise EventError("the event's requestContext.http.method is missing")
    return HttpRequest(
        method=method.upper(),
        path=unquote(raw_path),
        raw_path=encode(raw_path),
        query_string=encode(field(event, "rawQueryString", str, "")),
        headers=pairs,
        body=read_body(event),
        client=(source_ip, 0) if source_ip else None,
        server=read_server(host, headers.get("x-forwarded-port", ""), scheme),
        scheme=scheme,
        http_version=_http_version(field(event, "requestContext.http.protocol", str, "")),
    )


def _headers(event: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """The headers without ``cookie`` where ``cookies`` has them too, and the cookies."""
    headers = {}
    for name, value in field(event, "headers", dict, {}).items():
        if not isinstance(value, str):
            raise EventError(f"the event's header {name} must be a str, not {type(value).__name__}")
        headers[name.lower()] = value
    cookies = field(event, "cookies", list, [])
    if not all(isinstance(cookie, str) for cookie in cookies):
        raise EventError("the event's cookies must be a list of str")
    if cookies:
        headers.pop("cookie", None)
    return headers, cookies


def _http_version(protocol: str) -> str:
    version = protocol.removeprefix("HTTP/").removesuffix(".0") if protocol != "HTTP/1.0" else "1.0"
    return version if version in ("1.0", "1.1", "2", "3") else "1.1"


def to_prelude(status: int, headers: Sequence[tuple[bytes, bytes]]) -> Prelude:
    """Returns the prelude: repeated headers joined with a comma, each ``set-cookie`` apart, no hop-by-hop headers."""
    joined: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name == "set-cookie":
            cookies.append(value)
        elif name not in HOP_BY_HOP:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return Prelude(status, joined, cookies)
