"""The example handlers, each in a real process behind the real front end, as `asgi-stream dev` runs it.

The handshake: the function is told to pause for an hour after its first piece, and that piece is read. Where nothing
pauses, the function is held by its reader, and a second request finds the one environment busy.
"""

from __future__ import annotations

import asyncio
import importlib
import zlib

import pytest

from asgi_stream.recognise import as_handler
from tests.support.dev import CHECKOUT, dev
from tests.support.wire import serve

FOREVER = {"delay": "3600"}
AT_ONCE = {"delay": "0"}

HEADINGS = [f"<h{number}>Heading {number}</h{number}>\n".encode() for number in range(1, 6)]
PAGE = [b"<!doctype html>\n<title>Streaming</title>\n", *HEADINGS, b"<p>That is all.\n"]
WORDS = [b"Bytes\n", b"without\n", b"status\n", b"and\n", b"headers\n"]
LINE = b"All work and no play makes Jack a dull boy.\n"


@pytest.mark.parametrize(
    ("name", "content_type", "pieces", "first"),
    [("headings", "text/html; charset=utf-8", PAGE, 2), ("raw", "text/plain", WORDS, 1)],
)
def test_what_was_written_is_read_while_the_function_waits(
    name: str, content_type: str, pieces: list[bytes], first: int
) -> None:
    with dev(handler=f"example_app.handlers.{name}:handler", folder=CHECKOUT) as running:
        with running.client.stream("GET", "/", params=FOREVER) as response:
            parts = response.iter_raw()
            assert [next(parts) for _ in range(first)] == pieces[:first]
        with running.client.stream("GET", "/", params=AT_ONCE) as response:
            assert list(response.iter_raw()) == pieces
        assert (response.status_code, response.headers["content-type"]) == (200, content_type)
        assert response.headers.get("x-custom-header") == ("some-value" if name == "headings" else None)
        assert "Traceback" not in running.stop()


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["headings", "large", "compressed", "raw"])
async def test_an_event_without_a_query(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """REST APIs say null there, Function URLs nothing."""

    async def at_once(seconds: float) -> None: ...

    monkeypatch.setattr(asyncio, "sleep", at_once)
    handler = as_handler(importlib.import_module(f"example_app.handlers.{name}").handler)
    api = await serve(handler, {"queryStringParameters": None}, {})
    assert [answer.kind for answer in api.answers] == ["response", "response"]
    assert api.answers[0].body == api.answers[1].body != b""


def test_a_compressed_line_is_read_while_the_function_waits() -> None:
    with dev(handler="example_app.handlers.compressed:handler", folder=CHECKOUT) as running:
        with running.client.stream("GET", "/", params=FOREVER) as response:
            assert response.headers["content-encoding"] == "gzip"
            reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
            assert reader.decompress(next(response.iter_raw())) == b"line 1\n"
        response = running.client.get("/", params=AT_ONCE)
        assert response.text == "".join(f"line {number}\n" for number in range(1, 6))
        assert "Traceback" not in running.stop()


def test_a_large_text_is_read_while_the_function_sends_it() -> None:
    """More than all buffers on the way can take: the function waits for this reader, and its environment is busy."""
    with dev("--concurrency", "1", handler="example_app.handlers.large:handler", folder=CHECKOUT) as running:
        with running.client.stream("GET", "/", params={"megabytes": "64"}) as response:
            parts = response.iter_raw()
            received = next(parts)
            assert running.client.get("/").status_code == 429
            received += b"".join(parts)
        assert response.headers["content-type"] == "text/plain"
        assert received == LINE * (64_000_000 // len(LINE))
        assert len(running.client.get("/").content) == 8_000_000 // len(LINE) * len(LINE)
        assert "Traceback" not in running.stop()
