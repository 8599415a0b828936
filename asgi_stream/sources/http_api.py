"""API Gateway HTTP APIs: payload formats 2.0 and 1.0 in, an answer of the same format out. They do not stream.

Source: "Create AWS Lambda proxy integrations for HTTP APIs" in AWS's API Gateway Developer Guide. Beyond the guide:
the path is decoded in both formats, so that what the client sent can only be told up to its encoding; a named stage
is the path's first segment where API Gateway's own domain was called, and in format 2.0, by most reports, on any other
domain too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_stream.sources.answers import LAMBDA_LIMIT, answer_1, answer_2
from asgi_stream.sources.payloads import (
    context_prefix,
    is_authorizer,
    is_custom_domain,
    is_function_url,
    is_payload_2,
    request_1,
    request_2,
    stage_prefix,
)
from asgi_stream.sources.percent import quote_path
from asgi_stream.sources.request import field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_stream.sources.request import HttpRequest

__all__ = ["limit", "matches", "name", "streams", "to_answer", "to_request"]

name = "http_api"
streams = False
limit = LAMBDA_LIMIT

TAKER = "an API Gateway HTTP API"


def matches(event: Mapping[str, Any]) -> bool:
    """True for a request in payload format 1.0, or in 2.0 where no Function URL sent it."""
    if event.get("version") == "1.0":
        return isinstance(event.get("requestContext"), dict) and "httpMethod" in event and not is_authorizer(event)
    return is_payload_2(event) and not is_function_url(event)


def to_request(event: Mapping[str, Any]) -> HttpRequest:
    """Returns the request in an HTTP API's event. Raises EventError that names the field at fault."""
    if event.get("version") != "1.0":
        route = field(event, "routeKey", str, "").partition(" ")[2]  # "GET /items/{id}", or "$default"
        root_path = stage_prefix(event, field(event, "rawPath", str, ""), route)
        return request_2(event, decoded=True, root_path=root_path, root_path_in_url=not is_custom_domain(event))
    path = field(event, "path", str, "") or "/"
    root_path = context_prefix(event, path)
    if root_path:
        path = root_path + path
    elif not is_custom_domain(event):
        root_path = stage_prefix(event, path)
    return request_1(event, path=path, raw_path=quote_path(path), root_path=root_path)


def to_answer(
    event: Mapping[str, Any], status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, is_text: bool
) -> dict[str, Any]:
    """Returns the answer in the event's own payload format, at most 6 MB of JSON. Raises AnswerTooLarge."""
    encode = answer_1 if event.get("version") == "1.0" else answer_2
    return encode(status, headers, body, is_text, TAKER)
