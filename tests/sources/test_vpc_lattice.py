"""VPC Lattice: events of both versions, in all the shapes that are documented or reported, and their answers."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_stream import StreamingAdapter
from asgi_stream.errors import AnswerTooLarge, EventError
from asgi_stream.sources import find_source, vpc_lattice
from asgi_stream.testing import LambdaRefused, SyncLambdaTransport, events, exchange, vpc_lattice_event
from asgi_stream.testing.answers import read_answer
from tests.sources.recorded import recorded
from tests.sources.test_round_trip import Sent, requests
from tests.support.wire import serve

if TYPE_CHECKING:
    Version = Literal["V1", "V2"]

VERSIONS: list[Version] = ["V1", "V2"]
NAMES = {
    "V1": ("raw_path", "query_string_parameters", "is_base64_encoded"),
    "V2": ("path", "queryStringParameters", "isBase64Encoded"),
}
HEADERS = [
    (b"Content-Type", b"text/html"),
    (b"vary", b"a"),
    (b"Vary", b"b"),
    (b"x-latin", b"\xe9"),
    (b"connection", b"close"),
    (b"transfer-encoding", b"chunked"),
]
COOKIES = [(b"Set-Cookie", b"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"), (b"set-cookie", b"b=2")]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("target", "raw_path", "query"),
    [
        ("/a%20b?x=1&x=2", b"/a%20b", b"x=1&x=2"),
        ("/a%2Fb%3Fc?x=a+b%2B", b"/a%2Fb%3Fc", b"x=a+b%2B"),
        ("/?", b"/", b""),
        ("/?x", b"/", b"x"),
        ("/?x=1?y=2", b"/", b"x=1?y=2"),
        ("?x=1", b"/", b"x=1"),
        ("", b"/", b""),
        ("/caf%C3%A9//", b"/caf%C3%A9//", b""),
    ],
)
def test_the_path_carries_the_query(version: Version, target: str, raw_path: bytes, query: bytes) -> None:
    path, parameters, _ = NAMES[version]
    event = vpc_lattice_event(version=version) | {path: target, parameters: {}}
    request = vpc_lattice.to_request(event)
    assert (request.raw_path, request.query_string, request.root_path) == (raw_path, query, "")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("parameters", "query"),
    [
        ({"a": "1", "b": "a%20b+%2B"}, b"a=1&b=a%20b+%2B"),
        ({"a": ["1", "2"], "b": "3"}, b"a=1&a=2&b=3"),
        ({"a": [], "b": [None, "1"], "c": None}, b"b=&b=1&c="),
        ({"caf%C3%A9": ""}, b"caf%C3%A9="),
        ({"q": "a&b=1", "x y": ["caf\u00e9#1", "100%"]}, b"q=a%26b=1&x%20y=caf%C3%A9%231&x%20y=100%"),
        (None, b""),
        ({}, b""),
    ],
)
def test_a_path_without_a_query_has_it_in_the_parameters(version: Version, parameters: object, query: bytes) -> None:
    event = vpc_lattice_event(target="/orders", version=version) | {NAMES[version][1]: parameters}
    request = vpc_lattice.to_request(event)
    assert (request.raw_path, request.query_string) == (b"/orders", query)


@pytest.mark.parametrize("version", VERSIONS)
def test_headers_are_text_or_lists(version: Version) -> None:
    event = vpc_lattice_event(version=version)
    event["headers"] = {
        "Host": ["example.com:8443"],
        "X-Many": ["1", None, "2"],
        "x-one": "a, b",
        "x-null": None,
        "x-empty": [],
        "cookie": ["a=1", "b=2"],
        "x-forwarded-for": ["2001:db8::1", "192.0.2.1"],
        "x-forwarded-proto": ["http"],
    }
    request = vpc_lattice.to_request(event)
    assert request.headers == [
        (b"host", b"example.com:8443"),
        (b"x-many", b"1"),
        (b"x-many", b""),
        (b"x-many", b"2"),
        (b"x-one", b"a, b"),
        (b"x-null", b""),
        (b"x-forwarded-for", b"2001:db8::1"),
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"x-forwarded-proto", b"http"),
        (b"cookie", b"a=1; b=2"),
    ]
    assert (request.client, request.server, request.scheme) == (
        ("2001:db8::1", 0),
        ("example.com", 8443),
        "http",
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_no_headers_at_all(version: Version) -> None:
    request = vpc_lattice.to_request(vpc_lattice_event(version=version) | {"headers": None})
    assert (request.headers, request.client, request.server) == ([], None, None)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("body", "flag", "expected"),
    [
        ("Grüße", False, "Grüße".encode()),
        ("AP8=", True, b"\x00\xff"),
        ("AP8=\r\n", True, b"\x00\xff"),
        ("AP8=", None, b"AP8="),
        (None, True, b""),
        ("", True, b""),
    ],
)
def test_bodies(version: Version, body: str | None, flag: bool | None, expected: bytes) -> None:
    event = vpc_lattice_event("POST", version=version) | {"body": body, NAMES[version][2]: flag}
    assert vpc_lattice.to_request(event).body == expected
    del event["body"]
    assert vpc_lattice.to_request(event).body == b""


@pytest.mark.parametrize(
    ("version", "key", "value", "sentence"),
    [
        ("V1", "raw_path", 7, "the event's raw_path must be a str, not int"),
        ("V2", "path", {}, "the event's path must be a str, not dict"),
        ("V1", "method", None, "the event's method is missing"),
        ("V2", "method", ["GET"], "the event's method must be a str, not list"),
        ("V1", "headers", [], "the event's headers must be a dict, not list"),
        ("V2", "headers", {"a": [1]}, "the event's headers.a must be a str, not int"),
        ("V2", "headers", {"a": [["1"]]}, "the event's headers.a must be a str, not list"),
        ("V1", "headers", {"a": {}}, "the event's headers.a must be a str, not dict"),
        ("V1", "query_string_parameters", {"a": True}, "the event's query_string_parameters.a must be a str, not bool"),
        ("V2", "queryStringParameters", "a=1", "the event's queryStringParameters must be a dict, not str"),
        ("V1", "body", 7, "the event's body must be a str, not int"),
        ("V1", "is_base64_encoded", "true", "the event's is_base64_encoded must be a bool, not str"),
        ("V2", "isBase64Encoded", 1, "the event's isBase64Encoded must be a bool, not int"),
    ],
)
def test_a_mangled_event_is_refused_by_name(version: Version, key: str, value: object, sentence: str) -> None:
    event = vpc_lattice_event("POST", "/?a=1", body=b"x", version=version) | {key: value}
    with pytest.raises(EventError, match=sentence):
        find_source(event).to_request(event)


def test_broken_base64() -> None:
    event = vpc_lattice_event("POST", body=b"\xff", version="V1") | {"body": "%"}
    with pytest.raises(EventError, match="the event's body says that it is base64"):
        vpc_lattice.to_request(event)


@given(sent=requests, data=st.data())
def test_the_shapes_mean_the_same(sent: Sent, data: st.DataObject) -> None:
    """V1 and V2, single values as text or in a list, the query in the path or in the parameters alone."""
    target = f"{sent.path}?{sent.query}" if sent.query else sent.path
    v2 = vpc_lattice_event(sent.method, target, sent.headers, sent.body)
    wanted = vpc_lattice.to_request(v2)
    for key in ("headers", "queryStringParameters"):
        v2[key] = {
            name: values[0] if len(values) == 1 and data.draw(st.booleans()) else values
            for name, values in v2[key].items()
        }
    assert vpc_lattice.to_request(v2) == wanted
    v1 = vpc_lattice.to_request(vpc_lattice_event(sent.method, target, sent.headers, sent.body, version="V1"))
    joined: dict[bytes, bytes] = {}
    for name, value in wanted.headers:
        joined[name] = b"%b, %b" % (joined[name], value) if name in joined else value
    assert dict(v1.headers) == joined | {b"x-amzn-lattice-network": f"SourceVpcArn={events.SOURCE_VPC}".encode()}
    assert v1._replace(headers=[]) == wanted._replace(headers=[])
    v2["path"] = sent.path
    pairs = [part.partition("=")[::2] for part in sent.query.split("&") if part]
    names = list(dict.fromkeys(name for name, _ in pairs))
    grouped = "&".join(f"{name}={value}" for wanted_name in names for name, value in pairs if name == wanted_name)
    assert vpc_lattice.to_request(v2) == wanted._replace(query_string=grouped.encode())


@pytest.mark.parametrize(
    ("content_type", "body", "text", "is_base64"),
    [
        ("text/plain", b"a", "a", False),
        ("Application/JSON; charset=utf-8", b"{}", "{}", False),
        ("application/x-www-form-urlencoded", b"a=1", "YT0x", True),
        ("application/problem+json", b"{}", "e30=", True),
        ("text/plain", b"\xff", "/w==", True),
        ("", b"", "", False),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_builder_encodes_as_lattice_does(
    version: Version, content_type: str, body: bytes, text: str, is_base64: bool
) -> None:
    event = vpc_lattice_event("POST", "/", [("Content-Type", content_type)], body, version=version)
    assert (event["body"], event[NAMES[version][2]]) == (text, is_base64)


def answer(
    version: Version, headers: list[tuple[bytes, bytes]], body: bytes = b"", text: bool = True
) -> dict[str, Any]:
    return vpc_lattice.to_answer(vpc_lattice_event(version=version), 201, headers, body, text)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_answer(version: Version) -> None:
    assert answer(version, HEADERS, "é".encode()) == {
        "statusCode": 201,
        "statusDescription": "201 Created",
        "headers": {"content-type": "text/html", "vary": "a, b", "x-latin": "\xe9"},
        "body": "é",
        "isBase64Encoded": False,
    }
    assert answer(version, COOKIES[1:], b"\xff", False) == {
        "statusCode": 201,
        "statusDescription": "201 Created",
        "headers": {"set-cookie": "b=2"},
        "body": "/w==",
        "isBase64Encoded": True,
    }


def test_several_cookies() -> None:
    cookies = [value.decode() for _, value in COOKIES]
    v1, v2 = answer("V1", COOKIES), answer("V2", COOKIES)
    assert (v1["headers"], v1["cookies"]) == ({}, cookies)
    assert (v2["headers"], "cookies" in v2) == ({"set-cookie": cookies}, False)
    for either in (v1, v2):
        start, _ = read_answer(either)
        assert start.headers == [(b"set-cookie", value) for _, value in COOKIES]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_limit_is_6_mb_of_json(version: Version) -> None:
    room = 6 * 1024 * 1024 - len(json.dumps(answer(version, []), separators=(",", ":")))
    assert len(answer(version, [], b"a" * room)["body"]) == room
    with pytest.raises(AnswerTooLarge, match="the answer is 6291457 bytes of JSON, VPC Lattice takes 6291456 at most"):
        answer(version, [], b"a" * (room + 1))


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = (await receive())["body"]
    if scope["path"] == "/fails":
        raise ValueError("boom")
    if scope["path"] == "/large":
        body = b"a" * (6 * 1024 * 1024)
    headers = [(b"content-type", b"application/octet-stream"), *COOKIES, (b"x-query", scope["query_string"])]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
    await send({"type": "http.response.body", "body": body[len(body) // 2 :]})


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["vpc_lattice_v1", "vpc_lattice_v2"])
async def test_a_recorded_event_is_answered_buffered_through_the_runtime(name: str) -> None:
    handler = StreamingAdapter(app, lifespan="off")
    api = await serve(handler, recorded(name))
    received = api.answers[0]
    assert received.headers["content-type"] == "application/json"
    assert "lambda-runtime-function-response-mode" not in received.headers
    got = json.loads(received.body)
    assert handler(recorded(name), None) == got
    handler.close()
    assert base64.b64decode(got["body"]) == vpc_lattice.to_request(recorded(name)).body
    assert got["headers"]["x-query"] == "parameter1=value1&parameter1=value2&parameter2=a+b%2B"
    assert (got.get("cookies") or got["headers"]["set-cookie"]) == [value.decode() for _, value in COOKIES]


@pytest.mark.parametrize("path", ["/fails", "/large"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_page_for_an_app_that_fails(version: Version, path: str) -> None:
    handler = StreamingAdapter(app, lifespan="off")
    got = handler(vpc_lattice_event(target=path, version=version), None)
    handler.close()
    assert (got["statusCode"], got["body"], got["isBase64Encoded"]) == (500, "Internal Server Error", False)


def build(version: Version) -> Any:
    return lambda *request: vpc_lattice_event(*request, version=version)


@pytest.mark.parametrize("source", ["vpc_lattice", build("V1"), build("V2")])
def test_by_a_client(source: Any) -> None:
    with httpx.Client(transport=SyncLambdaTransport(app, source=source), base_url="https://testserver") as client:
        response = client.post("/a%20b?x=1&x=%2B", content=b"\x00\xff")
        assert response.content == b"\x00\xff"
        assert response.headers["x-query"] == "x=1&x=%2B"
        assert response.headers.get_list("set-cookie") == [value.decode() for _, value in COOKIES]
        assert exchange(response).answer["statusDescription"] == "200 OK"
        with pytest.raises(LambdaRefused, match="6291456 bytes of JSON"):
            client.post("/", content=b"a" * (6 * 1024 * 1024))
