"""Mangum as an oracle: the same event through its handlers and through our sources.

What differs on purpose is the table DIFFERENCES, with the reason; everything else must be equal.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mangum import Mangum
from mangum.handlers import ALB, APIGateway, HTTPGateway, LambdaAtEdge

from asgi_stream import StreamingAdapter
from asgi_stream.asgi.scope import http_scope
from asgi_stream.sources import find_source
from asgi_stream.testing import events
from tests.sources.recorded import NAMES, recorded
from tests.sources.test_round_trip import SOURCES, Sent, requests

if TYPE_CHECKING:
    from collections.abc import Iterator

HANDLERS: Any = (ALB, HTTPGateway, APIGateway, LambdaAtEdge)
CONFIG: Any = {"api_gateway_base_path": "/", "text_mime_types": [], "exclude_headers": []}

# key of the scope -> why it is not compared as it stands; `comparable` says what is compared instead
DIFFERENCES = {
    "asgi": "we offer HTTP 2.3, as uvicorn does, and Mangum 2.0",
    "raw_path": "Mangum has none; ours is what the client sent, where the event tells it",
    "path": "decoded once: Mangum decodes what is decoded already (payload 2.0), and does not decode a uri of Edge; "
    "an HTTP API's stage is in Mangum's",
    "query_string": "+ and %2F survive at a load balancer, where Mangum decodes and encodes again: equal once decoded",
    "headers": "repeated headers stay apart, which Mangum joins (API Gateway) or takes the first of (Edge); cookies "
    "come once, at the end; values are Latin-1 bytes, as ASGI has them, not UTF-8",
    "server": "the port where no header tells it is the scheme's, not always 80; no host is None, not 'mangum'",
    "client": "an address of several in x-forwarded-for is the first; none is None, not an empty str",
    "state": "Mangum's lifespan adds it elsewhere",
    "extensions": "Mangum has none",
    "http_version": "the one in the event, where Mangum says 1.1",
}


def mangum_scope(event: dict[str, Any], config: Any = CONFIG) -> dict[str, Any]:
    for handler in HANDLERS:
        if handler.infer(event, None, config):
            scope: dict[str, Any] = handler(event, None, config).scope
            return scope
    raise AssertionError("Mangum does not know the event")


def compare(event: dict[str, Any]) -> None:
    source = find_source(event)
    request = source.to_request(event)
    theirs = mangum_scope(event)
    ours = http_scope(request, {})
    for key in theirs.keys() | ours.keys():
        if key not in DIFFERENCES and not key.startswith("aws."):
            assert ours[key] == theirs[key], key
    edge = source.name == "lambda_edge"
    # What their path would be, decoded as often as ours.
    their_path = {"lambda_edge": request.raw_path.decode(), "http_api": request.root_path + ours["path"]}
    if "%" not in request.path:
        assert theirs["path"] == their_path.get(source.name, ours["path"])
    if source.name == "alb":
        decoded = [parse_qsl(scope["query_string"].decode(), keep_blank_values=True) for scope in (ours, theirs)]
        raw_names = {part.partition(b"=")[0] for part in ours["query_string"].split(b"&") if part}
        if len(raw_names) == len({name for name, _ in decoded[0]}):
            assert decoded[0] == decoded[1]
        else:
            # Names that are the same only when decoded: Mangum keeps the last of them, we keep all.
            assert dict(decoded[0]) == dict(decoded[1])
    else:
        assert ours["query_string"] == theirs["query_string"]
    assert folded(ours["headers"], edge, "latin-1") == folded(theirs["headers"], edge, "utf-8")
    if "x-forwarded-port" in folded(ours["headers"], edge, "latin-1"):
        assert theirs["server"] == ours["server"]
    elif ours["server"] is not None and "host" in folded(ours["headers"], edge, "latin-1"):
        assert theirs["server"][0] == ours["server"][0]
    if ours["client"] is not None:
        assert theirs["client"] == ours["client"]


def folded(headers: Any, first: bool, charset: str) -> dict[str, str]:
    """Headers with one value each: the first, or all of them joined without regard to the separator."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.decode(), []).append(value.decode(charset))
    if first:
        return {name: found[0].partition("; ")[0] if name == "cookie" else found[0] for name, found in values.items()}
    return {name: ",".join(found).replace(", ", ",").replace("; ", ",") for name, found in values.items()}


# recorded event -> why Mangum has no scope for it
NOT_READ = {
    "rest_api_two_maps": "it fails on headers that are null",
    **{name: "it does not know VPC Lattice" for name in NAMES if name.startswith("vpc_lattice")},
}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_READ])
def test_documented_events(name: str) -> None:
    compare(recorded(name))


@pytest.mark.parametrize("name", NOT_READ)
def test_events_that_mangum_does_not_read(name: str) -> None:
    with pytest.raises((AttributeError, AssertionError, KeyError, TypeError)):
        mangum_scope(recorded(name))


@pytest.mark.parametrize("name", [name for name in SOURCES if not name.startswith("vpc_lattice")])
@given(sent=requests)
def test_any_request(name: str, sent: Sent) -> None:
    build, settings, _ = SOURCES[name]
    target = f"{sent.path}?{sent.query}" if sent.query else sent.path
    compare(build(sent.method, target, sent.headers, sent.body, **settings))


def both(event: dict[str, Any], key: str) -> tuple[Any, Any]:
    return http_scope(find_source(event).to_request(event), {})[key], mangum_scope(event)[key]


def several_addresses() -> dict[str, Any]:
    event = recorded("alb")
    event["headers"]["x-forwarded-for"] = "198.51.100.1, 192.0.2.7"
    return event


def over_http_2() -> dict[str, Any]:
    event = recorded("function_url")
    event["requestContext"]["http"]["protocol"] = "HTTP/2.0"
    return event


HEADER_LISTS = st.lists(
    st.tuples(
        st.sampled_from([b"set-cookie", b"Set-Cookie", b"vary", b"X-One", b"link"]),
        st.sampled_from([b"", b"a", b"b, c"]),
    ),
    max_size=5,
)


@pytest.fixture(scope="module")
def current_loop() -> Iterator[None]:
    """An event loop for Mangum to find: one of its own stays open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.usefixtures("current_loop")
@pytest.mark.parametrize("name", ["rest_api", "http_api_1"])
@given(
    headers=HEADER_LISTS,
    content_type=st.sampled_from([b"text/plain", b"application/json", b"image/png", b""]),
    body=st.binary(max_size=5),
)
def test_the_answer_to_a_payload_1_is_the_same(
    name: str, headers: list[tuple[bytes, bytes]], content_type: bytes, body: bytes
) -> None:
    """Whole, so that a user's assertions on any part of it hold."""
    if content_type:
        headers = [*headers, (b"content-type", content_type)]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    handler = StreamingAdapter(app, lifespan="off", invoke_mode="buffered")
    theirs = Mangum(app, lifespan="off")(recorded(name), None)  # type: ignore[arg-type]
    assert handler(recorded(name), None) == theirs
    handler.close()


REPEATED = [("Host", "h"), ("a", "1"), ("a", "2")]
ADDRESS = "d111111abcdef8.cloudfront.net"
DEMONSTRATED = [
    ("path", events.function_url_event("GET", "/a%252520b"), "/a%2520b", "/a%20b"),
    ("path", events.lambda_edge_event("GET", "/a%20b"), "/a b", "/a%20b"),
    ("path", events.http_api_event("GET", "/a", stage="prod"), "/a", "/prod/a"),
    ("raw_path", events.function_url_event("GET", "/a%2Fb"), b"/a%2Fb", None),
    ("query_string", events.alb_event("GET", "/?a=%20&b=~%2f"), b"a=%20&b=~%2f", b"a=+&b=~%2F"),
    (
        "headers",
        events.lambda_edge_event("GET", "/", REPEATED),
        [(b"host", b"h"), (b"a", b"1"), (b"a", b"2")],
        [[b"host", b"h"], [b"a", b"1"]],
    ),
    (
        "headers",
        events.lambda_edge_event("GET", "/", [("Host", "\xe9")]),
        [(b"host", b"\xe9")],
        [[b"host", b"\xc3\xa9"]],
    ),
    ("client", recorded("alb_health_check"), None, ("", 0)),
    ("client", several_addresses(), ("198.51.100.1", 0), ("198.51.100.1, 192.0.2.7", 0)),
    ("server", recorded("alb_health_check"), None, ("mangum", 80)),
    ("server", recorded("lambda_edge_viewer"), (ADDRESS, 443), (ADDRESS, 80)),
    ("http_version", over_http_2(), "2", "1.1"),
]


@pytest.mark.parametrize(("key", "event", "ours", "theirs"), DEMONSTRATED)
def test_the_differences_are_there(key: str, event: dict[str, Any], ours: Any, theirs: Any) -> None:
    assert both(event, key) == (ours, theirs)


def test_each_difference_has_a_reason_and_is_shown_or_is_about_a_key_that_mangum_lacks() -> None:
    event = recorded("rest_api")
    theirs = mangum_scope(event)
    ours = http_scope(find_source(event).to_request(event), {})
    assert all(DIFFERENCES.values())
    shown = {key for key, *_ in DEMONSTRATED} | (ours.keys() - theirs.keys()) | {"asgi"}
    assert DIFFERENCES.keys() == shown
    assert ours["asgi"] != theirs["asgi"]


@pytest.mark.parametrize(
    "event",
    [
        events.rest_api_event("GET", "/v1/items/a%20b", stage="prod"),
        events.rest_api_event("GET", "/v10/items", stage="prod"),
        events.http_api_event("GET", "/v1/items"),
        events.http_api_event("GET", "/v1/items", version="1.0"),
        events.http_api_event("GET", "/other"),
    ],
)
def test_a_base_path_means_the_same_to_the_app(event: dict[str, Any]) -> None:
    scope = http_scope(find_source(event).to_request(event), {}, base_path="/v1")
    theirs = mangum_scope(event, {**CONFIG, "api_gateway_base_path": "/v1"})["path"]
    if theirs.startswith("0/"):
        theirs = f"/v1{theirs}"  # without segment boundaries /v1 eats of /v10
    assert (scope["path"], scope["root_path"]) == (theirs, "")
