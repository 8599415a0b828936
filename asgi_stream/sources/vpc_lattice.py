"""VPC Lattice: the events of a target group of type Lambda, versions V1 and V2, in, an answer out. It does not stream.

Source: "Lambda functions as targets in VPC Lattice" in AWS's VPC Lattice User Guide. Beyond the guide: the path is
percent-encoded and carries the query in both versions, as in the events of Envoy's AWS Lambda filter, whose shape V1
has. ``x-forwarded-for`` is the one forwarded header that Lattice adds, so that the scheme is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_stream.sources.answers import LAMBDA_LIMIT, check_size, encode_body, join_headers, reason_phrase
from asgi_stream.sources.forwarded import read_client
from asgi_stream.sources.percent import unquote
from asgi_stream.sources.request import (
    as_text,
    build_request,
    encode,
    object_field,
    read_body,
    read_headers,
    read_method,
    text_field,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_stream.sources.request import HttpRequest

__all__ = ["limit", "matches", "name", "streams", "to_answer", "to_request"]

name = "vpc_lattice"
streams = False
limit = LAMBDA_LIMIT

# What a parameter can hold as the client sent it: visible ASCII, but for what ends a parameter or the query.
_SENT = frozenset(map(chr, range(0x21, 0x7F))) - {"&", "#"}


def matches(event: Mapping[str, Any]) -> bool:
    """True for V1 by its ``raw_path``, for V2 by the service in its context."""
    context = event.get("requestContext")
    if context is None:
        return "raw_path" in event and "method" in event
    return event.get("version") == "2.0" and isinstance(context, dict) and "serviceArn" in context


def to_request(event: Mapping[str, Any]) -> HttpRequest:
    """Returns the request in a Lattice event. Raises EventError that names the invalid field.

    The query is the one in the path; an event whose path has none has it in its parameters, as the client sent them.
    A character there that would end a parameter or the query was decoded on its way, and is encoded again.
    """
    if _is_v1(event):
        path, parameters, base64_flag = "raw_path", "query_string_parameters", "is_base64_encoded"
    else:
        path, parameters, base64_flag = "path", "queryStringParameters", "isBase64Encoded"
    raw_path, _, query = text_field(event, path).partition("?")
    raw_path = raw_path or "/"
    headers = read_headers(_pairs(event, "headers"))
    pairs = _pairs(event, parameters)
    return build_request(
        method=read_method(event, "method"),
        path=unquote(raw_path),
        raw_path=encode(raw_path),
        query_string=encode(query or "&".join(f"{_sent(name)}={_sent(value)}" for name, value in pairs)),
        headers=headers,
        body=read_body(event, base64_flag),
        client=read_client(headers.first.get("x-forwarded-for", "")),
    )


def _sent(text: str) -> str:
    if _SENT.issuperset(text):
        return text
    from urllib.parse import quote

    return quote(text.encode("utf-8", "surrogatepass"), safe="".join(_SENT))


def _is_v1(event: Mapping[str, Any]) -> bool:
    return event.get("requestContext") is None


def _pairs(event: Mapping[str, Any], key: str) -> list[tuple[str, str]]:
    """(name, value) pairs of an object whose values are text or lists of text."""
    return [
        (name, as_text(value, f"{key}.{name}"))
        for name, values in object_field(event, key).items()
        for value in (values if type(values) is list else (values,))
    ]


def to_answer(
    event: Mapping[str, Any], status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, is_text: bool
) -> dict[str, Any]:
    """Returns the answer, at most 6 MB of JSON. Raises AnswerTooLarge.

    Repeated headers are joined with a comma. The guide shows one cookie, in ``headers``, and no shape for several: they
    are a list there for V2, whose headers are lists, and ``cookies`` for V1, as in the answers to Envoy's filter.
    """
    text, is_base64 = encode_body(body, is_text)
    joined, cookies = join_headers(headers)
    answer: dict[str, Any] = {
        "statusCode": status,
        "statusDescription": f"{status} {reason_phrase(status)}".rstrip(),
        "headers": joined,
        "body": text,
        "isBase64Encoded": is_base64,
    }
    if len(cookies) > 1 and _is_v1(event):
        answer["cookies"] = cookies
    elif cookies:
        answer["headers"] = joined | {"set-cookie": cookies if len(cookies) > 1 else cookies[0]}
    return check_size(answer, limit, "VPC Lattice")
