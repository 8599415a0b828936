"""REST APIs and HTTP APIs: stages and base paths, what stands in for what, and their answers."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from asgi_stream.errors import AnswerTooLarge, AppError, EventError
from asgi_stream.sinks import Prelude
from asgi_stream.sources import http_api, rest_api
from asgi_stream.testing.events import http_api_event, rest_api_event

CUSTOM = "api.example.com"
HEADERS = [
    (b"Content-Type", b"text/html"),
    (b"vary", b"a"),
    (b"Set-Cookie", b"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
    (b"Vary", b"b"),
    (b"set-cookie", b"b=2"),
    (b"x-latin", b"\xe9"),
    (b"connection", b"close"),
    (b"TE", b"trailers"),
]


@pytest.mark.parametrize(
    ("target", "stage", "domain", "path", "root_path"),
    [
        ("/items", "prod", None, "/prod/items", "/prod"),
        ("/", "prod", None, "/prod/", "/prod"),
        ("/prod/items", "prod", None, "/prod/prod/items", "/prod"),
        ("/production", "prod", None, "/prod/production", "/prod"),
    ],
)
@pytest.mark.parametrize("version", [None, "2.0", "1.0"])
def test_a_stage_is_the_root_path(
    version: Literal["2.0", "1.0"] | None, target: str, stage: str, domain: str | None, path: str, root_path: str
) -> None:
    where: dict[str, Any] = {"stage": stage} | ({"domain": domain} if domain else {})
    if version is None:
        request = rest_api.to_request(rest_api_event("GET", target, **where))
    else:
        request = http_api.to_request(http_api_event("GET", target, version=version, **where))
    assert (request.path, request.raw_path, request.root_path) == (path, path.encode(), root_path)


@pytest.mark.parametrize("target", ["/items", "/prod/items", "/"])
def test_on_a_custom_domain_only_payload_2_has_the_stage(target: str) -> None:
    where: dict[str, Any] = {"stage": "prod", "domain": CUSTOM}
    for request in (
        rest_api.to_request(rest_api_event("GET", target, **where)),
        http_api.to_request(http_api_event("GET", target, version="1.0", **where)),
    ):
        assert (request.path, request.raw_path, request.root_path) == (target, target.encode(), "")
    request = http_api.to_request(http_api_event("GET", target, **where))
    assert (request.path, request.root_path, request.root_path_in_url) == (f"/prod{target}", "/prod", False)


def routed(raw_path: str, route: str, parameters: Any = None, domain: str = CUSTOM, stage: str = "v1") -> str:
    """The root path of a payload 2.0 event."""
    event = http_api_event(domain=domain, stage=stage)
    event |= {"rawPath": raw_path, "routeKey": route, "pathParameters": parameters}
    return http_api.to_request(event).root_path


@pytest.mark.parametrize("domain", [CUSTOM, "abcdefghij.execute-api.us-east-1.amazonaws.com"])
@pytest.mark.parametrize(
    ("raw_path", "route", "parameters", "root_path"),
    [
        # The route fits with the stage or without.
        ("/v1/items", "GET /items", None, "/v1"),
        ("/v1/items", "GET /v1/items", None, ""),
        ("/v1/v1/items", "GET /v1/items", None, "/v1"),
        ("/v1", "GET /", None, "/v1"),
        ("/v1/", "GET /", None, "/v1"),
        ("/v1", "GET /{id}", None, ""),
        ("/v1", "GET /v1", None, ""),
        ("/v1/v1", "GET /{id}", None, "/v1"),
        ("/v1/items/7", "GET /items/{id}", None, "/v1"),
        ("/v1/items", "GET /{kind}/{id}", None, ""),
        ("/v1/items/7", "GET /{kind}/{id}", None, "/v1"),
        ("/v1/items/a/b", "ANY /items/{proxy+}", None, "/v1"),
        ("/v1/items/a/b", "ANY /v1/{proxy+}", None, ""),
        ("/v1/items", "$default", None, "/v1"),
        # It fits both ways: the parameters are what decides.
        ("/v1/items", "ANY /{proxy+}", {"proxy": "items"}, "/v1"),
        ("/v1/items", "ANY /{proxy+}", {"proxy": "v1/items"}, ""),
        ("/v1/v1/items", "ANY /{proxy+}", {"proxy": "v1/items"}, "/v1"),
        ("/v1/v1", "ANY /{proxy+}", {"proxy": "v1"}, "/v1"),
        ("/v1/v1", "ANY /{proxy+}", {"proxy": "v1/v1"}, ""),
        ("/v1/v1/x", "GET /{a}/{b+}", {"a": "v1", "b": "x"}, "/v1"),
        # Or nothing does, and a path that begins with the stage has it.
        ("/v1/items", "ANY /{proxy+}", None, "/v1"),
        ("/v1/items", "ANY /{proxy+}", {}, "/v1"),
        ("/v1/items", "ANY /{proxy+}", {"proxy": 7}, "/v1"),
        ("/v1/items", "ANY /{proxy+}", {"other": "items"}, "/v1"),
        ("/v1/a/b", "GET /{id}", {"id": "a%2Fb"}, "/v1"),  # an encoded slash, which rawPath has decoded
        ("/v1/items", "odd", None, "/v1"),
        ("/v1/items", "", None, "/v1"),
        # A whole segment, or none.
        ("/v10/items", "GET /items", None, ""),
        ("/v10", "GET /", None, ""),
        ("/items", "GET /items", None, ""),
        ("/V1/items", "GET /items", None, ""),
        ("", "GET /", None, ""),
    ],
)
def test_the_route_decides_whether_the_stage_is_in_the_path(
    raw_path: str, route: str, parameters: Any, root_path: str, domain: str
) -> None:
    assert routed(raw_path, route, parameters, domain) == root_path


def test_odd_routes_are_refused_by_name() -> None:
    with pytest.raises(EventError, match="the event's routeKey must be a str, not int"):
        routed("/v1/items", 7)  # type: ignore[arg-type]
    with pytest.raises(EventError, match="the event's pathParameters must be a dict, not list"):
        routed("/v1/items", "GET /items", [])


@pytest.mark.parametrize(
    ("raw_path", "stage", "root_path"),
    [
        ("/production/items", "prod", ""),
        ("/prod", "prod", "/prod"),
        ("/prod/", "prod", "/prod"),
        ("/items", "$default", ""),
        ("/$default/items", "$default", ""),
        ("/items", "", ""),
    ],
)
@pytest.mark.parametrize("version", ["2.0", "1.0"])
def test_a_stage_is_a_whole_segment(version: Literal["2.0", "1.0"], raw_path: str, stage: str, root_path: str) -> None:
    event = http_api_event(version=version)
    event["rawPath" if version == "2.0" else "path"] = raw_path
    event["requestContext"] |= {"stage": stage, "path": raw_path}
    request = http_api.to_request(event)
    assert (request.path, request.root_path) == (raw_path, root_path)


@pytest.mark.parametrize(
    ("path", "context_path", "root_path"),
    [
        ("/items", "/prod/items", "/prod"),
        ("/", "/prod", "/prod"),
        ("/", "/prod/", "/prod"),
        ("/base/items", "/base/items", ""),  # a custom domain: both have the mapping
        ("/items", "/a/b/items", "/a/b"),
        ("/items", "/myitems", ""),
        ("/a%20b", "/prod/a b", "/prod"),
        ("/items", "", ""),
        ("/items", "/other", ""),
        ("/items", "prod/items", ""),
        ("*", "/prod/*", ""),
        # Every path begins with a slash: in front of this one there has to be the stage.
        ("/", "/", ""),
        ("/", "/other", ""),
        ("/", "/prod/items", ""),
        ("/", "/items/", ""),
        ("/", "/production", ""),
        ("/", "/prod//", ""),
        ("/", "/%70rod/", "/prod"),
        ("/admin", "/prod//admin", "/prod"),
        ("/admin", "//admin", ""),
    ],
)
def test_the_root_path_of_a_rest_api(path: str, context_path: str, root_path: str) -> None:
    event = rest_api_event()
    event["path"] = path
    event["requestContext"]["path"] = context_path
    request = rest_api.to_request(event)
    assert request.root_path == root_path
    assert request.raw_path == (root_path + path).encode()
    event["requestContext"]["domainName"] = CUSTOM
    request = rest_api.to_request(event)
    assert (request.root_path, request.raw_path) == ("", path.encode())


@pytest.mark.parametrize("path", ["/a%2520b", "/a+b%2Bc", "/caf%C3%A9", "/%FF", "//a//"])
def test_a_rest_api_keeps_the_path_as_sent(path: str) -> None:
    assert rest_api.to_request(rest_api_event("GET", path)).raw_path == b"/prod" + path.encode()


@pytest.mark.parametrize(
    ("raw_path", "quoted"),
    [
        ("/a b", b"/a%20b"),
        ("/a%20b", b"/a%2520b"),
        ("/a+b", b"/a+b"),
        ("/café#?", b"/caf%C3%A9%23%3F"),
        ("/\ud800", b"/%ED%A0%80"),
    ],
)
@pytest.mark.parametrize("version", ["2.0", "1.0"])
def test_an_http_api_decodes_the_path_and_it_is_not_decoded_again(
    version: Literal["2.0", "1.0"], raw_path: str, quoted: bytes
) -> None:
    event = http_api_event(version=version)
    event["rawPath" if version == "2.0" else "path"] = raw_path
    request = http_api.to_request(event)
    assert (request.path, request.raw_path) == (raw_path, quoted)


def test_the_query_of_a_payload_1_is_encoded_again() -> None:
    event = rest_api_event("GET", "/?b=1&a=x+y&b=%2B&c=&d=%26%3D&caf%C3%A9=%2F")
    assert rest_api.to_request(event).query_string == b"b=1&b=%2B&a=x+y&c=&d=%26%3D&caf%C3%A9=%2F"


@pytest.mark.parametrize("multi", [None, {}])
def test_single_values_stand_in_for_lists(multi: dict[str, Any] | None) -> None:
    event = rest_api_event("GET", "/?a=1&a=2", [("X-Twice", "1"), ("X-Twice", "2")])
    event["multiValueHeaders"] = event["multiValueQueryStringParameters"] = multi
    request = rest_api.to_request(event)
    assert request.query_string == b"a=2"
    assert [value for name, value in request.headers if name == b"x-twice"] == [b"2"]


def test_the_client_without_an_identity() -> None:
    event = rest_api_event()
    event["requestContext"]["identity"] = None
    event["multiValueHeaders"]["x-forwarded-for"] = ["198.51.100.1, 192.0.2.7"]
    assert rest_api.to_request(event).client == ("198.51.100.1", 0)


def test_no_host_header() -> None:
    event = rest_api_event()
    del event["multiValueHeaders"]["Host"]
    assert rest_api.to_request(event).server == ("abcdefghij.execute-api.us-east-1.amazonaws.com", 443)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("path", 7, "the event's path must be a str, not int"),
        ("httpMethod", None, "the event's httpMethod is missing"),
        ("httpMethod", [], "the event's httpMethod must be a str"),
        ("multiValueHeaders", [], "the event's multiValueHeaders must be a dict, not list"),
        ("multiValueHeaders", {"a": "b"}, "the event's multiValueHeaders.a must be a list, not str"),
        ("multiValueHeaders", {"a": [1]}, "the event's multiValueHeaders.a must be a str, not int"),
        (
            "multiValueQueryStringParameters",
            {"a": [None]},
            "the event's multiValueQueryStringParameters.a must be a str",
        ),
        ("requestContext", {"path": 7}, "the event's requestContext.path must be a str"),
        ("requestContext", {"identity": 7}, "the event's requestContext.identity is not an object"),
    ],
)
def test_a_mangled_event_is_refused_by_name(key: str, value: object, sentence: str) -> None:
    event = rest_api_event()
    event[key] = value
    with pytest.raises(EventError, match=sentence):
        rest_api.to_request(event)


def test_the_prelude_of_a_rest_api() -> None:
    prelude = rest_api.to_prelude(201, HEADERS)
    assert prelude == Prelude(
        201,
        {"content-type": "text/html", "x-latin": "\xe9"},
        ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"],
        {"vary": ["a", "b"]},
    )
    assert b'"multiValueHeaders":{"vary":["a","b"]}' in prelude.encode()


def test_a_prelude_without_repeated_headers() -> None:
    assert rest_api.to_prelude(204, []).encode() == b'{"statusCode":204,"headers":{}}' + b"\x00" * 8


def test_the_limit_of_a_prelude() -> None:
    room = 16 * 1024 - len(rest_api.to_prelude(200, [(b"x", b"")]).encode())
    assert len(rest_api.to_prelude(200, [(b"x", b"a" * room)]).encode()) == 16 * 1024
    with pytest.raises(AppError, match=r"status and headers are 16385 bytes as a prelude, .* takes 16384 at most"):
        rest_api.to_prelude(200, [(b"x", b"a" * (room + 1))])


PAYLOAD_1 = {
    "statusCode": 200,
    "multiValueHeaders": {
        "content-type": ["text/html"],
        "vary": ["a", "b"],
        "set-cookie": ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"],
        "x-latin": ["\xe9"],
    },
    "body": "é",
    "isBase64Encoded": False,
}


def test_the_buffered_answer_of_a_rest_api() -> None:
    assert rest_api.to_answer(rest_api_event(), 200, HEADERS, "é".encode(), True) == PAYLOAD_1
    assert rest_api.to_answer(rest_api_event(), 200, [], b"\xff", True) == {
        "statusCode": 200,
        "multiValueHeaders": {},
        "body": "/w==",
        "isBase64Encoded": True,
    }
    with pytest.raises(AnswerTooLarge, match="REST API takes 6291456 at most"):
        rest_api.to_answer(rest_api_event(), 200, [], b"a" * (6 * 1024 * 1024), True)


def test_an_http_api_is_answered_in_its_own_format() -> None:
    assert http_api.to_answer(http_api_event(version="1.0"), 200, HEADERS, "é".encode(), True) == PAYLOAD_1
    assert http_api.to_answer(http_api_event(), 200, HEADERS, "é".encode(), True) == {
        "statusCode": 200,
        "headers": {"content-type": "text/html", "vary": "a, b", "x-latin": "\xe9"},
        "cookies": ["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"],
        "body": "é",
        "isBase64Encoded": False,
    }
    for version in ("1.0", "2.0"):
        with pytest.raises(AnswerTooLarge, match="HTTP API takes 6291456 at most"):
            http_api.to_answer({"version": version}, 200, [], b"a" * (6 * 1024 * 1024), True)
