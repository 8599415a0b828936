"""Application Load Balancers: odd clients, and answers in the shape of the event."""

from __future__ import annotations

import pytest

from asgi_stream.errors import AnswerTooLarge, AppError
from asgi_stream.sources import alb
from asgi_stream.testing.events import alb_event

HEADERS = [
    (b"content-type", b"text/html"),
    (b"vary", b"a"),
    (b"vary", b"b"),
    (b"set-cookie", b"a=1"),
    (b"set-cookie", b"b=2"),
    (b"set-cookie", b"c=3"),
    (b"keep-alive", b"1"),
]


@pytest.mark.parametrize("multi_value", [False, True])
@pytest.mark.parametrize("query", ["a+b=%2B&c=%20", "a=b=c", "%C3%A9=%E2%82%AC", "a=", ""])
def test_the_query_comes_as_sent(query: str, multi_value: bool) -> None:
    assert alb.to_request(alb_event("GET", f"/?{query}", multi_value=multi_value)).query_string == query.encode()


@pytest.mark.parametrize("path", ["/a%20b", "/a%2Fb", "/a%252Fb", "/a+b", "/%FF", "//a//"])
def test_the_path_comes_as_sent(path: str) -> None:
    assert alb.to_request(alb_event("GET", path)).raw_path == path.encode()


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("192.0.2.7", ("192.0.2.7", 0)),
        ("198.51.100.1, 192.0.2.7", ("198.51.100.1", 0)),
        ("192.0.2.7:4711", ("192.0.2.7", 4711)),
        ("[2001:db8::1]:4711, 192.0.2.7", ("2001:db8::1", 4711)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("unknown", ("unknown", 0)),
        ("192.0.2.7:odd", ("192.0.2.7", 0)),
        ("", None),
        (" , 192.0.2.7", ("192.0.2.7", 0)),
        (":4711", None),
    ],
)
def test_the_client_is_the_first_address(forwarded: str, client: tuple[str, int] | None) -> None:
    event = alb_event()
    event["headers"]["x-forwarded-for"] = forwarded
    assert alb.to_request(event).client == client


@pytest.mark.parametrize(
    ("host", "port", "server"),
    [
        ("10.0.0.7", "443", ("10.0.0.7", 443)),
        ("[2001:db8::1]:8443", "", ("2001:db8::1", 8443)),
        ("2001:db8::1", "odd", ("2001:db8::1", 443)),
        (":", "443", None),
        ("[:::]", "443", None),
        ("", "443", None),
        (" example.com ", "-1", ("example.com", 443)),
        ("caf\xe9.example", "\u0664", ("caf\xe9.example", 443)),
    ],
)
def test_odd_hosts_and_ports(host: str, port: str, server: tuple[str, int] | None) -> None:
    event = alb_event()
    event["headers"] |= {"host": host, "x-forwarded-port": port}
    request = alb.to_request(event)
    assert request.server == server
    assert request.scheme == "https"


def test_header_bytes_outside_ascii() -> None:
    event = alb_event()
    event["headers"] |= {"x-latin": "caf\xe9", "x-more": "€", "x-lone": "\ud800"}
    headers = dict(alb.to_request(event).headers)
    assert (headers[b"x-latin"], headers[b"x-more"]) == (b"caf\xe9", "€".encode())
    assert headers[b"x-lone"] == b"\xed\xa0\x80"


def test_an_answer_with_multi_value_headers() -> None:
    assert alb.to_answer(alb_event(multi_value=True), 200, HEADERS, b"hi", True) == {
        "statusCode": 200,
        "statusDescription": "200 OK",
        "multiValueHeaders": {
            "content-type": ["text/html"],
            "vary": ["a", "b"],
            "set-cookie": ["a=1", "b=2", "c=3"],
        },
        "body": "hi",
        "isBase64Encoded": False,
    }


def test_an_answer_without_multi_value_headers_loses_no_cookie() -> None:
    assert alb.to_answer(alb_event(), 404, HEADERS, b"\xff", False) == {
        "statusCode": 404,
        "statusDescription": "404 Not Found",
        "headers": {
            "content-type": "text/html",
            "vary": "a, b",
            "set-cookie": "a=1",
            "Set-cookie": "b=2",
            "sEt-cookie": "c=3",
        },
        "body": "/w==",
        "isBase64Encoded": True,
    }


def test_as_many_cookies_as_the_name_has_spellings() -> None:
    cookies = [(b"set-cookie", b"c=%d" % number) for number in range(513)]
    headers = alb.to_answer(alb_event(), 200, cookies[:512], b"", True)["headers"]
    assert len(headers) == 512
    assert {name.lower() for name in headers} == {"set-cookie"}
    with pytest.raises(AppError, match="513 cookies are too many"):
        alb.to_answer(alb_event(), 200, cookies, b"", True)
    answer = alb.to_answer(alb_event(multi_value=True), 200, cookies, b"", True)
    assert len(answer["multiValueHeaders"]["set-cookie"]) == 513


def test_a_status_without_a_name() -> None:
    assert alb.to_answer(alb_event(), 299, [], b"", True)["statusDescription"] == "299"


def test_the_limit() -> None:
    room = 1024 * 1024 - len(str(alb.to_answer({}, 200, [], b"", True)).replace(" ", "")) - 2
    assert alb.to_answer({}, 200, [], b"a" * room, True)["body"]
    with pytest.raises(AnswerTooLarge, match="an Application Load Balancer takes 1048576 at most"):
        alb.to_answer({}, 200, [], b"a" * (room + 10), True)
