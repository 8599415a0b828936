"""What a client gets for answers in one piece, and for the headers that a REST API's prelude adds."""

from __future__ import annotations

from typing import Any

import pytest

from asgi_stream.local.prelude import InvalidPrelude, ResponseStart
from asgi_stream.testing.answers import add_multi_values, read_answer


def test_multi_value_headers_win_over_headers() -> None:
    start = ResponseStart(200, [(b"x-a", b"single"), (b"x-b", b"3")])
    assert add_multi_values(start, {"multiValueHeaders": {"X-A": ["1", "2"]}}) == ResponseStart(
        200, [(b"x-b", b"3"), (b"x-a", b"1"), (b"x-a", b"2")]
    )
    assert add_multi_values(start, {}) is start


def test_illegal_multi_value_headers() -> None:
    with pytest.raises(InvalidPrelude):
        add_multi_values(ResponseStart(200, []), {"multiValueHeaders": {"x": ["a\r\nb"]}})


@pytest.mark.parametrize(
    ("answer", "headers", "body"),
    [
        ({"statusCode": 201}, [], b""),
        ({"statusCode": 201, "body": None}, [], b""),
        ({"statusCode": 201, "body": "\u2603", "headers": {"X-A": "1"}}, [(b"x-a", b"1")], b"\xe2\x98\x83"),
        ({"statusCode": 201, "body": "AP8=", "isBase64Encoded": True}, [], b"\x00\xff"),
        ({"statusCode": 201, "cookies": ["a=1", "b=2"]}, [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")], b""),
        (
            {"statusCode": 201, "headers": {"x-a": "0", "x-b": "3"}, "multiValueHeaders": {"X-A": ["1", "2"]}},
            [(b"x-b", b"3"), (b"x-a", b"1"), (b"x-a", b"2")],
            b"",
        ),
        (
            {
                "status": "201",
                "headers": {"x-a": [{"key": "X-A", "value": "1"}, {"key": "X-A", "value": "2"}]},
                "body": "AP8=",
                "bodyEncoding": "base64",
            },
            [(b"x-a", b"1"), (b"x-a", b"2")],
            b"\x00\xff",
        ),
        ({"status": "201", "headers": {}, "body": "text", "bodyEncoding": "text"}, [], b"text"),
    ],
)
def test_answers_in_one_piece(answer: dict[str, Any], headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    assert read_answer(answer) == (ResponseStart(201, headers), body)
