"""Every byte that HTTP allows in a field value arrives as it was sent, in both directions.

Methods of `str` take some of Latin-1 for white space, for digits and for capitals; HTTP does not.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from asgi_stream.config import Config
from asgi_stream.local.function_url import Request, build_event
from asgi_stream.local.prelude import parse_prelude
from asgi_stream.runtime.http11 import ReplyParser
from asgi_stream.sources.forwarded import read_client, read_scheme, read_server
from asgi_stream.testing import LambdaTransport, SyncLambdaTransport
from tests.support.dev import dev
from tests.support.mirror import ALLOWED, COOKIES, VALUES, app

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgi_stream.testing.transport import Source

pytestmark = pytest.mark.anyio

SENT = [*VALUES, (b"cookie", b"; ".join(COOKIES))]
SOURCES: list[Source] = ["function_url", "rest_api", "http_api", "alb", "lambda_edge"]
# What str.strip(), split() and splitlines() take for white space in Latin-1, beyond HTTP's space and tab.
ODD = "\x1c\x1d\x1e\x1f\x85\xa0"


def mirrored(fields: Iterable[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Returns the headers and the cookies that came back."""
    # A load balancer without multi-value headers gets each cookie under another spelling of the name.
    lower = [(name.lower(), value) for name, value in fields]
    return [pair for pair in lower if pair[0][:2] == b"x-"], [value for name, value in lower if name == b"set-cookie"]


@pytest.mark.parametrize("source", SOURCES)
async def test_through_each_event_source(source: Source) -> None:
    async with httpx.AsyncClient(transport=LambdaTransport(app, source=source), base_url="https://test") as client:
        response = await client.get("/", headers=SENT)
    assert mirrored(response.headers.raw) == (VALUES, COOKIES)


@pytest.mark.parametrize("source", SOURCES)
def test_through_the_synchronous_transport(source: Source) -> None:
    with httpx.Client(transport=SyncLambdaTransport(app, source=source), base_url="https://test") as client:
        response = client.get("/", headers=SENT)
    assert mirrored(response.headers.raw) == (VALUES, COOKIES)


def test_through_the_local_lambda() -> None:
    """By raw bytes: no client library may change them."""
    head = b"".join(b"%b: \t%b \t\r\n" % pair for pair in SENT)
    with dev(handler="tests.support.mirror:handler") as running:
        address = (running.client.base_url.host, running.client.base_url.port)
        with socket.create_connection(address) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n" + head + b"\r\n")
            received = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"mirrored" in body
    lines = [line.partition(b":")[::2] for line in head.split(b"\r\n")[1:]]
    assert mirrored((name, value.strip(b" \t")) for name, value in lines) == (VALUES, COOKIES)


@pytest.mark.parametrize("byte", ODD)
def test_only_spaces_and_tabs_are_around_a_value(byte: str) -> None:
    odd = byte.encode("latin-1")
    cookies = build_event(Request(method="GET", raw_path=b"/", headers=[(b"cookie", b"a=1; \t;%b; b" % odd)]))[
        "cookies"
    ]
    assert cookies == ["a=1", byte, "b"]
    if odd in ALLOWED:
        ((_, value),) = parse_prelude(b'{"headers": {"a": " \\u00%02x\\t"}}' % ord(byte)).headers
        assert value == odd
    text = build_event(
        Request(method="POST", raw_path=b"/", headers=[(b"content-type", b"text/plain" + odd)], body=b"a")
    )
    assert text["isBase64Encoded"] is False  # by its beginning
    assert build_event(
        Request(method="POST", raw_path=b"/", headers=[(b"content-type", odd + b"text/plain")], body=b"a")
    )["isBase64Encoded"]
    assert read_scheme({"x-forwarded-proto": f"http{byte}"}) == "https"
    assert read_client(f" {byte}1.2.3.4 , 5.6.7.8") == (f"{byte}1.2.3.4", 0)
    assert read_server(f"example.com{byte} ", "", "https") == (f"example.com{byte}", 443)


@pytest.mark.parametrize("digits", ["²", "8³", "¹443", "½"])
def test_digits_are_those_of_ascii(digits: str) -> None:
    assert read_server(f"example.com:{digits}", digits, "https") == ("example.com", 443)
    assert read_client(f"1.2.3.4:{digits}") == ("1.2.3.4", 0)


def test_a_reply_of_the_runtime_api_keeps_them_too() -> None:
    values = {f"x-{byte:02x}": bytes((byte, 0x61, byte)).strip(b" \t").decode("latin-1") for byte in ALLOWED}
    head = "".join(f"{name}: {value}\r\n" for name, value in values.items()).encode("latin-1")
    parser = ReplyParser()
    parser.receive_data(b"HTTP/1.1 200 OK\r\nConnection: close\xa0\r\n" + head + b"Content-Length: 0\r\n\r\n")
    reply = parser.next_reply()
    assert reply is not None
    connection, length = reply.headers["connection"], reply.headers["content-length"]
    assert dict(reply.headers) == values | {"connection": connection, "content-length": length}
    assert reply.keep_alive  # "close\xa0" is not "close"


def test_text_types_of_an_answer() -> None:
    assert Config().is_text(" \ttext/html", "")
    assert not Config().is_text("\xa0text/html", "")
