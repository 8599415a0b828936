"""Application Load Balancers: the target group's event in, an answer of the same header shape out. They do not stream.

Source: "Use Lambda functions as targets of an Application Load Balancer" in AWS's Elastic Load Balancing guide. Paths
and query parameters come as the client sent them; whether headers and parameters come as values or as lists is the
target group's ``lambda.multi_value_headers.enabled``, and the answer must follow it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_stream.errors import AppError
from asgi_stream.sources.answers import check_size, encode_body, group_headers, join_headers, reason_phrase
from asgi_stream.sources.forwarded import read_client
from asgi_stream.sources.payloads import read_pairs
from asgi_stream.sources.percent import unquote
from asgi_stream.sources.request import build_request, encode, field, read_body, read_headers, read_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_stream.sources.request import HttpRequest

__all__ = ["limit", "matches", "name", "streams", "to_answer", "to_request"]

name = "alb"
streams = False

limit = 1024 * 1024  # bytes of JSON
SET_COOKIE = "set-cookie"
LETTERS = [index for index, letter in enumerate(SET_COOKIE) if letter.isalpha()]


def matches(event: Mapping[str, Any]) -> bool:
    """True for an event whose context names a target group."""
    context = event.get("requestContext")
    return isinstance(context, dict) and "elb" in context


def to_request(event: Mapping[str, Any]) -> HttpRequest:
    """Returns the request, or health check, in a load balancer's event. Raises EventError naming the field at fault."""
    raw_path = field(event, "path", str, "") or "/"
    headers = read_headers(read_pairs(event, "headers", "multiValueHeaders", fold=str.lower))
    query = read_pairs(event, "queryStringParameters", "multiValueQueryStringParameters")
    return build_request(
        method=read_method(event, "httpMethod"),
        path=unquote(raw_path),
        raw_path=encode(raw_path),
        query_string=encode("&".join(f"{name}={value}" for name, value in query)),
        headers=headers,
        body=read_body(event),
        client=read_client(headers.first.get("x-forwarded-for", "")),
    )


def to_answer(
    event: Mapping[str, Any], status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, is_text: bool
) -> dict[str, Any]:
    """Returns the answer, at most 1 MB of JSON. Raises AnswerTooLarge.

    Raises AppError for more cookies than there are ways to write the header's name.
    """
    text, is_base64 = encode_body(body, is_text)
    answer: dict[str, Any] = {
        "statusCode": status,
        "statusDescription": f"{status} {reason_phrase(status)}".rstrip(),
        "body": text,
        "isBase64Encoded": is_base64,
    }
    if isinstance(event.get("multiValueHeaders"), dict):
        answer["multiValueHeaders"] = group_headers(headers)
    else:
        joined, cookies = join_headers(headers)
        answer["headers"] = joined | _spell_cookies(cookies)
    return check_size(answer, limit, "an Application Load Balancer")


def _spell_cookies(cookies: list[str]) -> dict[str, str]:
    """One value a name is all that the shape has room for; a name in other letters is another name to it."""
    if len(cookies) > 2 ** len(LETTERS):
        raise AppError(f"{len(cookies)} cookies are too many for a load balancer without multi-value headers")
    return {_spell(number): cookie for number, cookie in enumerate(cookies)}


def _spell(number: int) -> str:
    letters = list(SET_COOKIE)
    for bit, index in enumerate(LETTERS):
        if number >> bit & 1:
            letters[index] = letters[index].upper()
    return "".join(letters)
