"""Through every real part: HTTP client, front end, Runtime API, bootstrap in a child process, app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.local.support import make_gate, open_gate
from tests.support.dev import CHECKOUT, Dev, dev

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize("kind", ["raw", "fastapi"])
def test_each_message_is_read_before_the_app_sends_the_next(kind: str, tmp_path: Path) -> None:
    """A handshake: the app goes on only when this client, having read a message, opens the gate."""
    gate = make_gate(tmp_path)
    with dev(handler=f"tests.apps.streaming:{kind}", folder=CHECKOUT) as running:
        with running.client.stream("GET", "/", params={"gate": str(gate)}) as response:
            parts = response.iter_raw()
            for message in (b"one", b"two", b"three"):
                assert next(parts) == message
                open_gate(gate)
            assert list(parts) == []
        assert "Traceback" not in running.stop()


@pytest.fixture(scope="module")
def example() -> Iterator[Dev]:
    with dev(handler="example_app.main:handler", folder=CHECKOUT) as running:
        yield running


class TestExample:
    def test_the_page_arrives_in_parts(self, example: Dev) -> None:
        with example.client.stream("GET", "/?delay=0") as response:
            parts = list(response.iter_raw())
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        headings = [part for part in parts if part.startswith(b"<h1>")]
        assert headings == [f"<h1>{word}</h1>\n".encode() for word in ("Serverless", "Is", "Way", "More", "Mature")]
        assert len(parts) == 7

    def test_json(self, example: Dev) -> None:
        response = example.client.get("/hello")
        assert (response.status_code, response.json()) == (200, {"message": "Hello from asgi-stream"})

    def test_a_delay_that_is_none(self, example: Dev) -> None:
        assert example.client.get("/?delay=long").status_code == 422

    def test_head(self, example: Dev) -> None:
        response = httpx.head(example.client.base_url)
        assert (response.status_code, response.content) == (405, b"")
