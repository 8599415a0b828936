"""Any HTTP request, turned into a source's event and back, is the same request, but for what the event loses.

What it loses is the table in docs/event-sources.md; ``Loss`` says the same in code, and all else is compared exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote_plus, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asgi_stream.asgi.scope import http_scope
from asgi_stream.sources import find_source
from asgi_stream.sources.percent import quote_path
from asgi_stream.testing import events

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ["X-One", "x-two", "accept", "User-Agent", "content-type"]
# RFC 9110, 5.5: every byte that HTTP allows in a field value, spaces and tabs at its ends aside.
FIELD_VALUE = "\t " + "".join(map(chr, (*range(0x21, 0x7F), *range(0x80, 0x100))))
VALUES = st.text(st.sampled_from(FIELD_VALUE), max_size=8).map(lambda text: text.strip(" \t"))
COOKIES = VALUES.map(lambda text: text.replace(";", "").strip(" \t")).filter(bool)
# Each of those bytes at both ends of a header's value and of a cookie, and between its halves.
EVERY_BYTE = {f"x-{ord(byte):02x}": f"{byte}a{byte}b{byte}".strip(" \t") for byte in FIELD_VALUE}
EVERY_COOKIE = "; ".join(value for value in EVERY_BYTE.values() if ";" not in value)
PIECES = st.sampled_from(
    ["a", "Z", "%20", "%2F", "%2520", "+", "%2B", "%C3%A9", "~", "%E2%82%AC", ".", ":", "/", "%26", "%3D"]
)
TEXT = st.lists(PIECES, max_size=5).map("".join)


class Sent(NamedTuple):
    """A request as its client sends it."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes


requests = st.builds(
    Sent,
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]),
    TEXT.map(lambda text: "/" + text),
    st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=4).map(lambda qs: "&".join(f"{n}={v}" for n, v in qs)),
    st.builds(
        lambda pairs, cookies: pairs + ([("Cookie", "; ".join(cookies))] if cookies else []),
        st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=5),
        st.lists(st.sampled_from(["a=1", "b=x y", "c="]) | COOKIES, max_size=3),
    ),
    st.binary(max_size=20) | st.text(max_size=10).map(str.encode),
)


def joined(pairs: list[tuple[str, str]], separator: str = ",") -> list[tuple[str, str]]:
    values: dict[str, str] = {}
    for name, value in pairs:
        values[name] = f"{values[name]}{separator}{value}" if name in values else value
    return list(values.items())


def last(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(dict(pairs).items())


def grouped(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    names = list(dict.fromkeys(name for name, _ in pairs))
    return [(name, value) for wanted in names for name, value in pairs if name == wanted]


def same(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return pairs


def split(query: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (part.partition("=") for part in query.split("&") if part)]


def as_sent(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in pairs)


def encoded_again(query: str) -> str:
    decoded = grouped(parse_qsl(query, keep_blank_values=True))
    return as_sent([(quote_plus(name), quote_plus(value)) for name, value in decoded])


def decoded_path(path: str) -> bytes:
    return quote_path(unquote(path).partition("?")[0])


class Loss(NamedTuple):
    """What a source's event does to the headers, the raw query and the raw path."""

    headers: Callable[[list[tuple[str, str]]], list[tuple[str, str]]]
    query: Callable[[str], str] = str
    raw_path: Callable[[str], bytes] = str.encode
    root_path: str = ""


SOURCES: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any], Loss]] = {
    "function_url": (events.function_url_event, {}, Loss(joined)),
    "http_api 2.0": (events.http_api_event, {}, Loss(joined, raw_path=decoded_path)),
    "http_api 2.0, stage": (events.http_api_event, {"stage": "v1"}, Loss(joined, str, decoded_path, "/v1")),
    "http_api 1.0": (events.http_api_event, {"version": "1.0"}, Loss(grouped, encoded_again, decoded_path)),
    "rest_api": (events.rest_api_event, {"stage": "v1"}, Loss(grouped, encoded_again, root_path="/v1")),
    "rest_api, custom domain": (events.rest_api_event, {"domain": "example.com"}, Loss(grouped, encoded_again)),
    "alb": (events.alb_event, {}, Loss(last, lambda query: as_sent(last(split(query))))),
    "alb, multi-value": (
        events.alb_event,
        {"multi_value": True},
        Loss(grouped, lambda query: as_sent(grouped(split(query)))),
    ),
    "vpc_lattice V2": (events.vpc_lattice_event, {}, Loss(grouped)),
    "vpc_lattice V1": (events.vpc_lattice_event, {"version": "V1"}, Loss(lambda pairs: joined(pairs, ", "))),
    "viewer-request": (events.lambda_edge_event, {}, Loss(grouped)),
    "origin-request": (events.lambda_edge_event, {"event_type": "origin-request"}, Loss(grouped)),
}


@pytest.mark.parametrize("name", SOURCES)
@given(sent=requests)
@example(sent=Sent("GET", "/", "", [*EVERY_BYTE.items(), ("Cookie", EVERY_COOKIE)], b""))
def test_there_and_back(name: str, sent: Sent) -> None:
    build, settings, loss = SOURCES[name]
    target = f"{sent.path}?{sent.query}" if sent.query else sent.path
    event = build(sent.method, target, sent.headers, sent.body, source_ip="198.51.100.3", **settings)
    request = find_source(event).to_request(event)
    raw_path = loss.root_path.encode() + loss.raw_path(sent.path)
    assert request.method == sent.method
    assert request.raw_path == raw_path
    assert request.path == unquote(raw_path.decode())
    assert request.root_path == loss.root_path
    # The stage is left out, and nothing else is.
    scope = http_scope(request, {})
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == (
        unquote(loss.raw_path(sent.path).decode()),
        loss.raw_path(sent.path),
        "",
    )
    scope = http_scope(request, {}, strip=False)
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == (request.path, raw_path, loss.root_path)
    assert request.query_string == loss.query(sent.query).encode()
    assert request.body == sent.body
    assert request.client == ("198.51.100.3", 0)
    assert request.scheme == "https"
    lower = [(field.lower(), value) for field, value in sent.headers]
    expected = [(field.encode(), value.encode("latin-1")) for field, value in loss.headers(lower)]
    names = {field for field, _ in expected}
    assert sorted(pair for pair in request.headers if pair[0] in names) == sorted(expected)
    for field in names:  # the order of one header's values is kept
        assert [v for n, v in request.headers if n == field] == [v for n, v in expected if n == field]
    # What AWS adds, and nothing else.
    added = {n.decode() for n, _ in request.headers} - {n.decode() for n in names}
    assert added <= {"host", "content-length"} | {n for n in added if n.startswith(("x-forwarded-", "x-amzn-"))}
