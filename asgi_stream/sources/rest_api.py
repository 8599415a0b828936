"""API Gateway REST APIs: the proxy event (version 1) in, a streamed or buffered answer out.

Sources: "Lambda proxy integrations in API Gateway" and "Lambda proxy integration with payload response streaming" in
AWS's API Gateway Developer Guide. Beyond the guide: ``path`` is percent-encoded and has no stage,
``requestContext.path`` has it; header values and query parameters are decoded. Behind a custom domain both paths
begin with the base path mapping, and nothing in the event tells where it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_stream.errors import AppError
from asgi_stream.sinks import Prelude
from asgi_stream.sources.answers import LAMBDA_LIMIT, answer_1, group_headers, split_headers
from asgi_stream.sources.payloads import context_prefix, is_authorizer, request_1
from asgi_stream.sources.percent import quote_path, unquote
from asgi_stream.sources.request import encode, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_stream.sources.request import HttpRequest

__all__ = ["limit", "matches", "name", "streams", "to_answer", "to_prelude", "to_request"]

name = "rest_api"
streams = True
limit = LAMBDA_LIMIT

PRELUDE_LIMIT = 16 * 1024  # bytes; AWS looks for the delimiter in the first 16 KB


def matches(event: Mapping[str, Any]) -> bool:
    """True for a REST API's proxy event, not for the event of its authorizer."""
    context = event.get("requestContext")
    return (
        isinstance(context, dict)
        and "elb" not in context
        and "resource" in event
        and "httpMethod" in event
        and event.get("version") is None
        and not is_authorizer(event)
    )


def to_request(event: Mapping[str, Any]) -> HttpRequest:
    """Returns the request in a REST API's event. Raises EventError that names the field at fault."""
    raw_path = field(event, "path", str, "") or "/"
    path = unquote(raw_path)
    root_path = context_prefix(event, path)
    return request_1(
        event, path=root_path + path, raw_path=quote_path(root_path) + encode(raw_path), root_path=root_path
    )


def to_prelude(status: int, headers: Sequence[tuple[bytes, bytes]]) -> Prelude:
    """Returns the prelude, repeated headers in ``multi_value_headers``. Raises AppError where it exceeds 16 KB."""
    grouped = group_headers(headers)
    cookies = grouped.pop("set-cookie", [])
    single, repeated = split_headers(grouped)
    prelude = Prelude(status, single, cookies, repeated or None)
    size = len(prelude.encode())
    if size > PRELUDE_LIMIT:
        raise AppError(
            f"status and headers are {size} bytes as a prelude, an API Gateway REST API takes {PRELUDE_LIMIT} at most"
        )
    return prelude


def to_answer(
    event: Mapping[str, Any], status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, is_text: bool
) -> dict[str, Any]:
    """Returns the answer of a REST API that does not stream, at most 6 MB of JSON. Raises AnswerTooLarge."""
    return answer_1(status, headers, body, is_text, "a buffered API Gateway REST API")
