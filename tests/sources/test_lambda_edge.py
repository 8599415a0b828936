"""Lambda@Edge: what of CloudFront's event is refused, and generated responses."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from asgi_stream.errors import AnswerTooLarge, EventError
from asgi_stream.sources import find_source, lambda_edge
from asgi_stream.testing.events import lambda_edge_event


def request_of(event: dict[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = event["Records"][0]["cf"]["request"]
    return request


def test_a_body_that_was_cut_short() -> None:
    for event_type, limit in (("viewer-request", 40_000), ("origin-request", 1_000_000)):
        kind: Any = event_type
        whole = lambda_edge_event("POST", body=b"a" * limit, event_type=kind)
        assert lambda_edge.to_request(whole).body == b"a" * limit
        with pytest.raises(EventError, match="inputTruncated is true: CloudFront has cut the body short"):
            lambda_edge.to_request(lambda_edge_event("POST", body=b"a" * (limit + 1), event_type=kind))


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (None, b""),
        ({"encoding": "text", "data": "é"}, "é".encode()),
        ({"encoding": "base64", "data": "AP8="}, b"\x00\xff"),
        ({"encoding": "base64", "data": ""}, b""),
    ],
)
def test_bodies(body: dict[str, Any] | None, content: bytes) -> None:
    event = lambda_edge_event()
    request_of(event)["body"] = body
    assert lambda_edge.to_request(event).body == content


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"uri": 7}, "the event's cf.request.uri must be a str, not int"),
        ({"method": None}, "the event's cf.request.method is missing"),
        ({"headers": {"host": "x"}}, "the event's cf.request.headers.host must be a list, not str"),
        ({"headers": {"host": ["x"]}}, "the event's cf.request.headers.host must hold objects with a str as value"),
        ({"headers": {"host": [{"key": "Host"}]}}, "cf.request.headers.host must hold objects with a str as value"),
        ({"body": {"encoding": "base64", "data": "%"}}, "cf.request.body.data says that it is base64 and is not"),
        ({"body": {"encoding": "gzip", "data": ""}}, "encoding must be base64 or text, not 'gzip'"),
        ({"body": {"inputTruncated": "yes"}}, "cf.request.body.inputTruncated must be a bool, not str"),
    ],
)
def test_a_mangled_event_is_refused_by_name(changes: dict[str, Any], sentence: str) -> None:
    event = lambda_edge_event()
    request_of(event).update(changes)
    with pytest.raises(EventError, match=sentence):
        lambda_edge.to_request(event)


@pytest.mark.parametrize("kind", ["viewer-response", "origin-response", None])
def test_an_event_about_a_response(kind: str | None) -> None:
    event = lambda_edge_event()
    event["Records"][0]["cf"]["config"]["eventType"] = kind
    with pytest.raises(EventError, match="must be one of viewer-request, origin-request, not"):
        find_source(event).to_request(event)


def test_a_header_that_is_null_is_empty() -> None:
    event = lambda_edge_event()
    request_of(event)["headers"] = {"x-a": [{"key": "X-A", "value": None}]}
    assert lambda_edge.to_request(event).headers == [(b"x-a", b"")]


def test_a_body_with_line_ends() -> None:
    event = lambda_edge_event(body=b"abcdefghia")
    request_of(event)["body"]["data"] = "YWJjZGVm\r\nZ2hpYQ==\r\n"
    assert lambda_edge.to_request(event).body == b"abcdefghia"


def test_no_host_and_several_cookies() -> None:
    event = lambda_edge_event()
    request_of(event)["headers"] = {"cookie": [{"key": "Cookie", "value": "a=1"}, {"value": "b=2"}]}
    request = lambda_edge.to_request(event)
    assert request.headers == [(b"cookie", b"a=1; b=2")]
    assert request.server == ("d111111abcdef8.cloudfront.net", 443)


def test_an_answer() -> None:
    headers = [(b"Content-Type", b"text/html"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    assert lambda_edge.to_answer(lambda_edge_event(), 404, headers, "é".encode(), True) == {
        "status": "404",
        "statusDescription": "Not Found",
        "headers": {
            "content-type": [{"key": "content-type", "value": "text/html"}],
            "set-cookie": [{"key": "set-cookie", "value": "a=1"}, {"key": "set-cookie", "value": "b=2"}],
        },
        "body": "é",
        "bodyEncoding": "text",
    }
    binary = lambda_edge.to_answer(lambda_edge_event(), 200, [], b"\xff", False)
    assert (binary["body"], binary["bodyEncoding"]) == ("/w==", "base64")


REFUSED = (
    "connection content-length expect host keep-alive proxy-authenticate te trailer transfer-encoding upgrade via "
    "x-accel-buffering x-amz-cf-id x-amz-cf-pop x-amzn-requestid x-cache x-edge-location x-forwarded-proto x-real-ip"
)


@pytest.mark.parametrize("name", REFUSED.split())
def test_a_header_that_cloudfront_refuses_is_left_out(name: str) -> None:
    headers = [(name.upper().encode(), b"1"), (b"x-amzn-trace-id", b"2"), (b"x-cached", b"3")]
    answer = lambda_edge.to_answer(lambda_edge_event(), 200, headers, b"", True)
    assert sorted(answer["headers"]) == ["x-amzn-trace-id", "x-cached"]


@pytest.mark.parametrize(("event_type", "limit"), [("viewer-request", 40 * 1024), ("origin-request", 1024 * 1024)])
def test_limits(event_type: Literal["viewer-request", "origin-request"], limit: int) -> None:
    event = lambda_edge_event(event_type=event_type)
    assert lambda_edge.to_answer(event, 200, [], b"a" * (limit - 100), True)
    with pytest.raises(AnswerTooLarge, match=f"a Lambda@Edge {event_type} takes {limit} at most"):
        lambda_edge.to_answer(event, 200, [], b"a" * limit, True)
