"""Lambda@Edge: CloudFront's viewer and origin requests in, a generated response out. It does not stream.

Sources: "Lambda@Edge event structure", "Generate HTTP responses in request triggers", "Restrictions on all edge
functions" and "Quotas on Lambda@Edge" in AWS's CloudFront Developer Guide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_stream.errors import EventError
from asgi_stream.sources.answers import check_size, encode_body, group_headers, reason_phrase
from asgi_stream.sources.percent import unquote
from asgi_stream.sources.request import as_text, build_request, decode_base64, encode, field, read_headers, read_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_stream.sources.request import HttpRequest

__all__ = ["limit", "matches", "name", "streams", "to_answer", "to_request"]

name = "lambda_edge"
streams = False

# event type -> bytes of a generated response, headers and body
LIMITS = {"viewer-request": 40 * 1024, "origin-request": 1024 * 1024}
limit = max(LIMITS.values())

# A response that has one of these is refused by CloudFront with a 502; hop-by-hop ones are gone before.
DISALLOWED = frozenset(
    {
        "content-length",
        "expect",
        "host",
        "via",
        "x-accel-buffering",
        "x-accel-charset",
        "x-accel-limit-rate",
        "x-accel-redirect",
        "x-amzn-auth",
        "x-amzn-cf-billing",
        "x-amzn-cf-id",
        "x-amzn-cf-xff",
        "x-amzn-errortype",
        "x-amzn-fle-profile",
        "x-amzn-header-count",
        "x-amzn-header-order",
        "x-amzn-lambda-integration-tag",
        "x-amzn-requestid",
        "x-cache",
        "x-forwarded-proto",
        "x-real-ip",
    }
)
DISALLOWED_PREFIXES = ("x-amz-cf-", "x-edge-")


def matches(event: Mapping[str, Any]) -> bool:
    """True for an event of CloudFront, whatever it is about."""
    records = event.get("Records")
    return isinstance(records, list) and bool(records) and isinstance(records[0], dict) and "cf" in records[0]


def to_request(event: Mapping[str, Any]) -> HttpRequest:
    """Returns the request in CloudFront's event.

    Raises EventError that names the field at fault, for a body that CloudFront has cut short, and for an event that is
    about a response.
    """
    record = event["Records"][0]
    kind = field(record, "cf.config.eventType", str, "")
    if kind not in LIMITS:
        raise EventError(f"a Lambda@Edge event must be one of {', '.join(LIMITS)}, not {kind or 'without eventType'}")
    raw_path = field(record, "cf.request.uri", str, "") or "/"
    client = field(record, "cf.request.clientIp", str, "")
    return build_request(
        method=read_method(field(record, "cf.request", dict, {}), "method", "cf.request."),
        path=unquote(raw_path),
        raw_path=encode(raw_path),
        query_string=encode(field(record, "cf.request.querystring", str, "")),
        headers=read_headers(_header_pairs(record)),
        body=_body(record),
        client=(client, 0) if client else None,
        host=field(record, "cf.config.distributionDomainName", str, ""),
    )


def _header_pairs(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = []
    for name, entries in field(record, "cf.request.headers", dict, {}).items():
        if not isinstance(entries, list):
            raise EventError(f"the event's cf.request.headers.{name} must be a list, not {type(entries).__name__}")
        for entry in entries:
            if not isinstance(entry, dict) or "value" not in entry:
                raise EventError(f"the event's cf.request.headers.{name} must hold objects with a str as value")
            pairs.append((name, as_text(entry["value"], f"cf.request.headers.{name}")))
    return pairs


def _body(record: Mapping[str, Any]) -> bytes:
    if field(record, "cf.request.body.inputTruncated", bool, False):
        raise EventError("the event's cf.request.body.inputTruncated is true: CloudFront has cut the body short")
    data = field(record, "cf.request.body.data", str, "")
    encoding = field(record, "cf.request.body.encoding", str, "base64")
    if encoding == "base64":
        return decode_base64(data, "cf.request.body.data")
    if encoding == "text":
        return encode(data)
    raise EventError(f"the event's cf.request.body.encoding must be base64 or text, not {encoding!r:.100}")


def to_answer(
    event: Mapping[str, Any], status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, is_text: bool
) -> dict[str, Any]:
    """Returns the generated response, without the headers that CloudFront refuses. Raises AnswerTooLarge.

    At most 40 KB for a viewer request, 1 MB for an origin request.
    """
    kind = field(event["Records"][0], "cf.config.eventType", str, "")
    text, is_base64 = encode_body(body, is_text)
    answer = {
        "status": str(status),
        "statusDescription": reason_phrase(status),
        "headers": {
            name: [{"key": name, "value": value} for value in values]
            for name, values in group_headers(headers).items()
            if name not in DISALLOWED and not name.startswith(DISALLOWED_PREFIXES)
        },
        "body": text,
        "bodyEncoding": "base64" if is_base64 else "text",
    }
    return check_size(answer, LIMITS[kind], f"a Lambda@Edge {kind}")
