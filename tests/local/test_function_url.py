"""The event that a Function URL makes of a request."""

from __future__ import annotations

import base64
import json
import re

import pytest

from asgi_stream.local.function_url import Request, build_event

CONTENT = b"content-type"


def test_the_whole_event_of_a_plain_request() -> None:
    event = build_event(
        Request(
            method="GET",
            raw_path=b"/a%20b/%2520",
            query=b"q=a+b&q=%2B&empty=",
            headers=[(b"Host", b"127.0.0.1:9000"), (b"User-Agent", b"test/1"), (b"X-Amzn-Trace-Id", b"Root=1-x")],
            source_ip="203.0.113.9",
            port=9000,
        ),
        request_id="the-id",
    )
    context = event["requestContext"]
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", context.pop("time"))
    assert type(context.pop("timeEpoch")) is int
    assert event == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/a%20b/%2520",
        "rawQueryString": "q=a+b&q=%2B&empty=",
        "queryStringParameters": {"q": "a b,+", "empty": ""},
        "headers": {
            "host": "127.0.0.1:9000",
            "user-agent": "test/1",
            "x-amzn-trace-id": "Root=1-x",
            "x-forwarded-for": "203.0.113.9",
            "x-forwarded-port": "9000",
            "x-forwarded-proto": "http",
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "asgistreamlocal",
            "domainName": "asgistreamlocal.lambda-url.us-east-1.on.aws",
            "domainPrefix": "asgistreamlocal",
            "http": {
                "method": "GET",
                "path": "/a b/%20",
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.9",
                "userAgent": "test/1",
            },
            "requestId": "the-id",
            "routeKey": "$default",
            "stage": "$default",
        },
        "isBase64Encoded": False,
    }


def test_a_trace_id_is_made_if_none_came() -> None:
    event = build_event(Request(method="GET", raw_path=b"/"))
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", event["headers"]["x-amzn-trace-id"])


def test_duplicate_headers_are_joined_and_cookies_stand_in_both_places() -> None:
    headers = [(b"Accept", b"a"), (b"cookie", b"x=1; y=2"), (b"accept", b"b"), (b"Cookie", b"z=3")]
    event = build_event(Request(method="GET", raw_path=b"/", headers=headers))
    assert event["headers"]["accept"] == "a,b"
    assert event["headers"]["cookie"] == "x=1; y=2; z=3"
    assert event["cookies"] == ["x=1", "y=2", "z=3"]


def test_hop_by_hop_headers_stay_behind_and_a_chunked_body_gets_its_length() -> None:
    headers = [(b"connection", b"close"), (b"transfer-encoding", b"chunked"), (b"proxy-authorization", b"x")]
    event = build_event(Request(method="POST", raw_path=b"/", headers=headers, body=b"abc"))
    assert event["headers"].keys() == {
        "content-length",
        "x-amzn-trace-id",
        "x-forwarded-for",
        "x-forwarded-port",
        "x-forwarded-proto",
    }
    assert event["headers"]["content-length"] == "3"


@pytest.mark.parametrize(
    "content_type",
    [b"text/html; charset=utf-8", b"application/json", b"application/problem+json", b"IMAGE/svg+xml"],
)
def test_text_bodies_are_verbatim(content_type: bytes) -> None:
    event = build_event(Request(method="POST", raw_path=b"/", headers=[(CONTENT, content_type)], body="ä".encode()))
    assert (event["body"], event["isBase64Encoded"]) == ("ä", False)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([(CONTENT, b"application/x-www-form-urlencoded")], b"a=1"),
        ([(CONTENT, b"application/octet-stream")], b"a"),
        ([], b"a"),
        ([(CONTENT, b"text/plain")], b"\xff"),
        ([(CONTENT, b"text/plain"), (b"content-encoding", b"gzip")], b"a"),
    ],
)
def test_all_other_bodies_are_base64(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    event = build_event(Request(method="POST", raw_path=b"/", headers=headers, body=body))
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == body


def test_an_empty_body_is_absent() -> None:
    assert "body" not in build_event(Request(method="POST", raw_path=b"/"))


def test_bytes_that_were_not_encoded_are_and_the_event_is_json() -> None:
    event = build_event(Request(method="GET", raw_path=b"/\xc3\xa4", headers=[(b"x", b"\xe4")]))
    assert event["rawPath"] == "/%C3%A4"
    assert event["requestContext"]["http"]["path"] == "/ä"
    assert json.loads(json.dumps(event)) == event
