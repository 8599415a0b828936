"""What a client gets for an answer in one piece, and for what a REST API adds to a prelude. No I/O."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from asgi_stream.local.prelude import ResponseStart, parse_prelude

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["add_multi_values", "read_answer", "read_payload", "remap_headers"]

# AWS, API Gateway: "Amazon API Gateway important notes for REST APIs", the table's column for responses of Lambda.
# HTTP APIs have no such table. API Gateway sends its own Date and Server, whose values are not known here.
REMAPPED = frozenset(
    (
        b"authorization",
        b"connection",
        b"content-md5",
        b"date",
        b"max-forwards",
        b"server",
        b"user-agent",
        b"www-authenticate",
    )
)
DROPPED = frozenset(
    (b"expect", b"host", b"proxy-authenticate", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"via")
)


def remap_headers(start: ResponseStart) -> ResponseStart:
    """Returns ``start`` as a REST API's client gets it: some headers under ``x-amzn-remapped-`` and their name."""
    return ResponseStart(
        start.status,
        [
            (b"x-amzn-remapped-" + name if name in REMAPPED else name, value)
            for name, value in start.headers
            if name not in DROPPED
        ],
    )


def add_multi_values(start: ResponseStart | None, prelude: Mapping[str, Any]) -> ResponseStart | None:
    """Returns ``start`` with its prelude's ``multiValueHeaders``, which win over ``headers``. Raises InvalidPrelude."""
    grouped = prelude.get("multiValueHeaders")
    if start is None or not grouped:
        return start
    more = [
        pair
        for name, values in grouped.items()
        for value in values
        for pair in parse_prelude(json.dumps({"headers": {name: value}}).encode()).headers
    ]
    replaced = {name.lower().encode("latin-1") for name in grouped}
    return ResponseStart(start.status, [pair for pair in start.headers if pair[0] not in replaced] + more)


def read_payload(payload: bytes, content_type: str) -> tuple[Any, ResponseStart, bytes]:
    """Returns the JSON of a function's answer, and what its client gets: by status, headers and body, or as it is.

    AWS: "Lambda function URLs", response payloads: without a status code the whole answer is the body, and the quotes
    of a text are left out. What is no JSON stands for itself.
    """
    try:
        answer = json.loads(payload)
    except ValueError:
        return None, ResponseStart(200, [(b"content-type", content_type.encode("latin-1"))]), payload
    if isinstance(answer, dict) and ("statusCode" in answer or "status" in answer):
        return answer, *read_answer(answer)
    body = answer.encode() if isinstance(answer, str) else payload
    return answer, ResponseStart(200, [(b"content-type", b"application/json")]), body


def read_answer(answer: Mapping[str, Any]) -> tuple[ResponseStart, bytes]:
    """Returns status, headers and body of a buffered answer: Lambda@Edge's shape, or that of all others."""
    if "status" in answer:
        pairs = [(name, entry["value"]) for name, entries in answer["headers"].items() for entry in entries]
        is_base64 = answer.get("bodyEncoding") == "base64"
    else:
        grouped = answer.get("multiValueHeaders") or {}
        replaced = {name.lower() for name in grouped}
        pairs = [
            (name, value)
            for name, values in answer.get("headers", {}).items()
            if name.lower() not in replaced
            for value in (values if isinstance(values, list) else (values,))  # lists: VPC Lattice
        ]
        pairs += [(name, value) for name, values in grouped.items() for value in values]
        pairs += [("set-cookie", cookie) for cookie in answer.get("cookies", ())]
        is_base64 = answer.get("isBase64Encoded", False)
    status = int(answer.get("status") or answer.get("statusCode", 200))
    text = answer.get("body") or ""
    return ResponseStart(status, list(_encode(pairs))), base64.b64decode(text) if is_base64 else text.encode()


def _encode(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in pairs:
        yield name.lower().encode("latin-1"), value.encode("latin-1")
