"""Lambda Function URLs: payload format 2.0 in, the HTTP integration prelude or a payload 2.0 answer out.

Source: "Invoking Lambda function URLs" in AWS's Lambda Developer Guide. Beyond the guide: ``rawPath`` stays
percent-encoded while ``requestContext.http.path`` is decoded, so the path is decoded here, once, from the former;
cookies stand twice, in ``cookies`` and in ``headers.cookie``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_stream.sinks import Prelude
from asgi_stream.sources.answers import LAMBDA_LIMIT, answer_2, join_headers
from asgi_stream.sources.payloads import is_function_url, is_payload_2, request_2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_stream.sources.request import HttpRequest

__all__ = ["limit", "matches", "name", "streams", "to_answer", "to_prelude", "to_request"]

name = "function_url"
streams = True
limit = LAMBDA_LIMIT


def matches(event: Mapping[str, Any]) -> bool:
    """True for a payload of format 2.0 that a Function URL sent."""
    return is_payload_2(event) and is_function_url(event)


def to_request(event: Mapping[str, Any]) -> HttpRequest:
    """Returns the request in a Function URL's event. Raises EventError that names the field at fault."""
    return request_2(event, decoded=False)


def to_prelude(status: int, headers: Sequence[tuple[bytes, bytes]]) -> Prelude:
    """Returns the prelude: repeated headers joined with a comma, each ``set-cookie`` apart, no hop-by-hop headers."""
    joined, cookies = join_headers(headers)
    return Prelude(status, joined, cookies)


def to_answer(
    event: Mapping[str, Any], status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, is_text: bool
) -> dict[str, Any]:
    """Returns the answer of a Function URL in buffered mode, at most 6 MB of JSON. Raises AnswerTooLarge."""
    return answer_2(status, headers, body, is_text, "a buffered Lambda Function URL")
