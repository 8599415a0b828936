"""How buffered answers are encoded: the parts that the sources share.

A buffered answer is one JSON object. Its size, which every source limits, is that of the object as compact JSON in
UTF-8, with the body as it stands in it: base64 makes four bytes of three.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from asgi_stream.errors import AnswerTooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "HOP_BY_HOP",
    "answer_1",
    "answer_2",
    "check_size",
    "encode_body",
    "group_headers",
    "join_headers",
    "split_headers",
]

# RFC 9110, 7.6.1: these speak of one connection, and Lambda's is not the client's.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

LAMBDA_LIMIT = 6 * 1024 * 1024  # bytes; AWS: the payload of a synchronous invocation


# The figure is in `asgi.response`.
@functools.lru_cache(maxsize=128)
def _name(raw: bytes) -> str:
    """The name as text in lower case, empty for a header that goes no further."""
    name = raw.decode("latin-1").lower()
    return "" if name in HOP_BY_HOP or name.startswith("proxy-") else name


def join_headers(headers: Sequence[tuple[bytes, bytes]]) -> tuple[dict[str, str], list[str]]:
    """Returns (headers, cookies): repeated headers joined with a comma, each ``set-cookie`` apart, none hop-by-hop."""
    joined: dict[str, str] = {}
    cookies: list[str] = []
    for raw_name, raw_value in headers:
        name, value = _name(raw_name), raw_value.decode("latin-1")
        if name == "set-cookie":
            cookies.append(value)
        elif name:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined, cookies


def group_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    """Returns every header's values in their order, cookies too, none hop-by-hop."""
    grouped: dict[str, list[str]] = {}
    for raw_name, value in headers:
        if name := _name(raw_name):
            grouped.setdefault(name, []).append(value.decode("latin-1"))
    return grouped


def split_headers(grouped: dict[str, list[str]]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Returns (single, repeated) of :func:`group_headers`: the headers with one value, and those with several."""
    single = {name: values[0] for name, values in grouped.items() if len(values) == 1}
    return single, {name: values for name, values in grouped.items() if len(values) > 1}


def encode_body(body: bytes, is_text: bool) -> tuple[str, bool]:
    """Returns (body, is base64). Text that is no UTF-8 is binary, whatever its content type says."""
    if is_text or not body:
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    from binascii import b2a_base64  # few answers need it

    return b2a_base64(body, newline=False).decode("ascii"), True


def check_size(answer: dict[str, Any], limit: int, taker: str) -> dict[str, Any]:
    """Returns the answer. Raises AnswerTooLarge where its JSON is longer than ``limit`` bytes."""
    size = len(json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode())
    if size > limit:
        raise AnswerTooLarge(f"the answer is {size} bytes of JSON, {taker} takes {limit} at most")
    return answer


def answer_2(
    status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, is_text: bool, taker: str
) -> dict[str, Any]:
    """Returns a payload 2.0 answer: ``statusCode``, ``headers``, ``cookies``, ``body``, ``isBase64Encoded``."""
    joined, cookies = join_headers(headers)
    text, is_base64 = encode_body(body, is_text)
    answer: dict[str, Any] = {"statusCode": status, "headers": joined, "body": text, "isBase64Encoded": is_base64}
    if cookies:
        answer["cookies"] = cookies
    return check_size(answer, LAMBDA_LIMIT, taker)


def answer_1(
    status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, is_text: bool, taker: str
) -> dict[str, Any]:
    """Returns a payload 1.0 answer: ``statusCode``, ``headers``, ``multiValueHeaders``, ``body``, ``isBase64Encoded``.

    A header with one value is in ``headers``, a repeated one in ``multiValueHeaders``; API Gateway sends both. Tests of
    apps that come from Mangum read them there.
    """
    text, is_base64 = encode_body(body, is_text)
    single, repeated = split_headers(group_headers(headers))
    answer = {
        "statusCode": status,
        "headers": single,
        "multiValueHeaders": repeated,
        "body": text,
        "isBase64Encoded": is_base64,
    }
    return check_size(answer, LAMBDA_LIMIT, taker)


def reason_phrase(status: int) -> str:
    """Returns "Not Found" for 404, an empty str for a code without a name."""
    # Only load balancers, VPC Lattice and Lambda@Edge want it, and it costs others a start.
    from http import HTTPStatus

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
