"""Function URL events become requests; responses become preludes."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from asgi_stream.errors import AnswerTooLarge, EventError
from asgi_stream.sinks import Prelude
from asgi_stream.sources import function_url
from tests.support.events import function_url_event


def with_headers(**headers: str) -> dict[str, Any]:
    event = function_url_event()
    event["headers"].update({name.replace("_", "-"): value for name, value in headers.items()})
    return event


def test_a_request() -> None:
    request = function_url.to_request(function_url_event("get", "/a/b", "x=1", body="hi"))
    assert request.method == "GET"
    assert request.path == "/a/b"
    assert request.raw_path == b"/a/b"
    assert request.query_string == b"x=1"
    assert request.body == b"hi"
    assert request.client == ("192.0.2.7", 0)
    assert request.server == ("abcdefgh.lambda-url.eu-central-1.on.aws", 443)
    assert request.scheme == "https"
    assert request.http_version == "1.1"
    assert (b"user-agent", b"test") in request.headers


@pytest.mark.parametrize(
    ("raw_path", "path"),
    [
        ("/", "/"),
        ("", "/"),
        ("/a%20b", "/a b"),
        ("/a%2Fb", "/a/b"),
        ("/a%252Fb", "/a%2Fb"),
        ("/a+b", "/a+b"),
        ("/caf%C3%A9", "/café"),
        ("/%FF", "/\ufffd"),
        ("//a//", "//a//"),
    ],
)
def test_the_path_is_decoded_once_and_kept_as_sent(raw_path: str, path: str) -> None:
    event = function_url_event(path=raw_path)
    event["requestContext"]["http"]["path"] = "what AWS decoded is not read"
    request = function_url.to_request(event)
    assert request.path == path
    assert request.raw_path == (raw_path or "/").encode()


@pytest.mark.parametrize("query", ["", "a=1&a=2&b=", "a+b=%2B&c=%20", "a=b=c&&", "%C3%A9"])
def test_the_query_is_kept_as_sent(query: str) -> None:
    event = function_url_event(query=query, queryStringParameters={"a": "1,2"})
    assert function_url.to_request(event).query_string == query.encode()


def test_cookies_come_once() -> None:
    event = function_url_event(cookies=["a=1", "b=2"])
    event["headers"]["Cookie"] = "a=1; b=2"
    headers = function_url.to_request(event).headers
    assert [pair for pair in headers if pair[0] == b"cookie"] == [(b"cookie", b"a=1; b=2")]


def test_cookies_that_stand_in_the_headers_alone() -> None:
    assert (b"cookie", b"a=1") in function_url.to_request(with_headers(cookie="a=1")).headers


def test_header_names_are_lower_case_and_values_bytes() -> None:
    headers = function_url.to_request(with_headers(X_Custom="caf\xe9", X_More="€")).headers
    assert (b"x-custom", b"caf\xe9") in headers
    assert (b"x-more", "€".encode()) in headers


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({}, b""),
        ({"body": None}, b""),
        ({"body": ""}, b""),
        ({"body": "é"}, "é".encode()),
        ({"body": base64.b64encode(b"\x00\xff").decode(), "isBase64Encoded": True}, b"\x00\xff"),
        ({"body": "", "isBase64Encoded": True}, b""),
    ],
)
def test_bodies(changes: dict[str, Any], body: bytes) -> None:
    assert function_url.to_request(function_url_event(**changes)).body == body


@pytest.mark.parametrize(
    ("headers", "server", "scheme"),
    [
        ({"host": "example.com", "x_forwarded_port": "443"}, ("example.com", 443), "https"),
        (
            {"host": "localhost:9000", "x_forwarded_port": "9000", "x_forwarded_proto": "http"},
            ("localhost", 9000),
            "http",
        ),
        ({"host": "example.com", "x_forwarded_port": "", "x_forwarded_proto": "http"}, ("example.com", 80), "http"),
        ({"host": "example.com:8080", "x_forwarded_port": "9443"}, ("example.com", 9443), "https"),
        ({"host": "example.com:8080", "x_forwarded_port": "odd"}, ("example.com", 8080), "https"),
        ({"host": "example.com:odd", "x_forwarded_port": "99999"}, ("example.com", 443), "https"),
        ({"host": "[2001:db8::1]:8443", "x_forwarded_port": ""}, ("2001:db8::1", 8443), "https"),
        ({"host": "2001:db8::1", "x_forwarded_port": ""}, ("2001:db8::1", 443), "https"),
        ({"host": "[2001:db8::1", "x_forwarded_port": ""}, ("2001:db8::1", 443), "https"),
        ({"host": "", "x_forwarded_proto": "HTTPS, http"}, ("abcdefgh.lambda-url.eu-central-1.on.aws", 443), "https"),
        ({"host": " "}, ("abcdefgh.lambda-url.eu-central-1.on.aws", 443), "https"),
        ({"host": ":80"}, None, "https"),
        *(
            ({"host": host, "x_forwarded_port": ""}, ("abcdefgh.lambda-url.eu-central-1.on.aws", 443), "https")
            for host in (
                *(
                    "[:::]",
                    "[:::]:8080",
                    " [:::] ",
                    "[",
                    "[]",
                    "[]:80",
                    "[::g]",
                    "[1:2]",
                    "[:]",
                    "1:2:3",
                    ":::",
                    "::::1",
                ),
                *("[example.com]", "[127.0.0.1]", "[v1.a]", "[2001:db8::1::]", "[12345::]", "[::1%]", "[ ::1]"),
            )
        ),
        ({"host": "[::]", "x_forwarded_port": ""}, ("::", 443), "https"),
        ({"host": "[::ffff:192.0.2.7]:80", "x_forwarded_port": ""}, ("::ffff:192.0.2.7", 80), "https"),
        ({"host": "[fe80::1%25eth0]", "x_forwarded_port": ""}, ("fe80::1%25eth0", 443), "https"),
        ({"host": "example.com", "x_forwarded_port": "8443, 80"}, ("example.com", 8443), "https"),
        (
            {"host": "example.com", "x_forwarded_port": "80", "x_forwarded_proto": "gopher"},
            ("example.com", 80),
            "https",
        ),
    ],
)
def test_server_and_scheme(headers: dict[str, str], server: tuple[str, int] | None, scheme: str) -> None:
    request = function_url.to_request(with_headers(**headers))
    assert request.server == server
    assert request.scheme == scheme


@pytest.mark.parametrize(
    ("protocol", "version"),
    [("HTTP/1.1", "1.1"), ("HTTP/1.0", "1.0"), ("HTTP/2.0", "2"), ("HTTP/2", "2"), ("?", "1.1")],
)
def test_http_versions(protocol: str, version: str) -> None:
    event = function_url_event()
    event["requestContext"]["http"]["protocol"] = protocol
    assert function_url.to_request(event).http_version == version


def test_no_client_address() -> None:
    event = function_url_event()
    del event["requestContext"]["http"]["sourceIp"]
    assert function_url.to_request(event).client is None


def mangled(path: str, value: object) -> dict[str, Any]:
    event = function_url_event()
    *folders, name = path.split(".")
    place = event
    for folder in folders:
        place = place[folder]
    place[name] = value
    return event


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("rawPath", 7, "the event's rawPath must be a str, not int"),
        ("rawQueryString", {}, "the event's rawQueryString must be a str"),
        ("headers", [], "the event's headers must be a dict, not list"),
        ("headers.host", 7, "the event's headers.host must be a str, not int"),
        ("headers.x", None, "the event's headers.x must be a str, not NoneType"),
        ("cookies", "a=1", "the event's cookies must be a list, not str"),
        ("cookies", [7], "the event's cookies must be a list of str"),
        ("body", {}, "the event's body must be a str, not dict"),
        ("isBase64Encoded", "true", "the event's isBase64Encoded must be a bool, not str"),
        ("requestContext.http", 7, "the event's requestContext.http must be a dict, not int"),
        ("requestContext.http", {}, r"requestContext\.http\.method is missing"),
        ("requestContext.http.method", 7, "requestContext.http.method must be a str"),
        ("requestContext.http.sourceIp", True, "requestContext.http.sourceIp must be a str, not bool"),
    ],
)
def test_a_mangled_event_is_refused_by_name(path: str, value: object, sentence: str) -> None:
    with pytest.raises(EventError, match=sentence):
        function_url.to_request(mangled(path, value))


@pytest.mark.parametrize("body", ["%", "abc", "YQ==YQ==", "é", "YQ==\n"])
def test_broken_base64(body: str) -> None:
    with pytest.raises(EventError, match="base64"):
        function_url.to_request(function_url_event(body=body, isBase64Encoded=True))


def test_a_prelude() -> None:
    headers = [
        (b"Content-Type", b"text/html"),
        (b"vary", b"a"),
        (b"Set-Cookie", b"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
        (b"Vary", b"b"),
        (b"set-cookie", b"b=2"),
        (b"x-latin", b"\xe9"),
        (b"Transfer-Encoding", b"chunked"),
        (b"connection", b"close"),
        (b"keep-alive", b"1"),
        (b"TE", b"trailers"),
        (b"trailer", b"x"),
        (b"upgrade", b"h2c"),
        (b"proxy-authenticate", b"x"),
        (b"content-length", b"5"),
    ]
    prelude = function_url.to_prelude(201, headers)
    assert prelude == Prelude(
        201,
        {"content-type": "text/html", "vary": "a, b", "x-latin": "\xe9", "content-length": "5"},
        ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"],
    )
    assert prelude.encode() == (
        b'{"statusCode":201,'
        b'"headers":{"content-type":"text/html","vary":"a, b","x-latin":"\\u00e9","content-length":"5"},'
        b'"cookies":["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT","b=2"]}' + b"\x00" * 8
    )


def test_a_bare_prelude() -> None:
    assert function_url.to_prelude(204, []).encode() == b'{"statusCode":204,"headers":{}}' + b"\x00" * 8


def test_a_buffered_answer() -> None:
    headers = [
        (b"Content-Type", b"text/html"),
        (b"set-cookie", b"a=1"),
        (b"vary", b"a"),
        (b"set-cookie", b"b=2"),
        (b"vary", b"b"),
    ]
    assert function_url.to_answer(function_url_event(), 200, headers, "é".encode(), True) == {
        "statusCode": 200,
        "headers": {"content-type": "text/html", "vary": "a, b"},
        "cookies": ["a=1", "b=2"],
        "body": "é",
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize(("body", "is_text"), [(b"\x00\xff", False), (b"\x00\xff", True), (b"text", False)])
def test_a_binary_answer(body: bytes, is_text: bool) -> None:
    assert function_url.to_answer(function_url_event(), 200, [], body, is_text) == {
        "statusCode": 200,
        "headers": {},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def test_an_empty_answer_is_no_base64() -> None:
    assert function_url.to_answer(function_url_event(), 204, [], b"", False)["isBase64Encoded"] is False


def test_the_limit_of_a_buffered_answer_is_on_its_json() -> None:
    frame = len('{"statusCode":200,"headers":{},"body":"","isBase64Encoded":false}')
    room = 6 * 1024 * 1024 - frame
    assert len(function_url.to_answer({}, 200, [], b"a" * room, True)["body"]) == room
    with pytest.raises(AnswerTooLarge, match=r"the answer is 6291457 bytes of JSON, .* takes 6291456 at most"):
        function_url.to_answer({}, 200, [], b"a" * (room + 1), True)
    with pytest.raises(AnswerTooLarge):  # base64 makes it a third longer
        function_url.to_answer({}, 200, [], b"a" * (room - 1000), False)
