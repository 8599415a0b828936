"""Through every real part: HTTP client, front end, Runtime API, bootstrap in a child process, app."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.local.support import make_gate, open_gate
from tests.support.dev import CHECKOUT, Dev, dev

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        headings = [f"<h1>{word}</h1>\n".encode() for word in ("Serverless", "Is", "Way", "More", "Mature")]
        assert [part.lstrip() for part in parts[1:-1]] == headings
        assert parts[0].startswith(b"<!doctype html>")
        assert parts[-1].endswith(b"</html>")

    def test_json(self, example: Dev) -> None:
        response = example.client.get("/hello")
        assert (response.status_code, response.json()) == (200, {"message": "Hello from asgi-stream"})

    def test_a_delay_that_is_none(self, example: Dev) -> None:
        assert example.client.get("/?delay=long").status_code == 422

    def test_head(self, example: Dev) -> None:
        response = httpx.head(example.client.base_url)
        assert (response.status_code, response.content) == (405, b"")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process's memory is read from /proc")
def test_memory_stays_flat_for_a_slow_reader() -> None:
    """Of 48 MiB that go through, the child, the Runtime API server and the front end keep next to nothing.

    The reader stops after its first piece until another environment has started and answered: time enough for all of
    it to pile up somewhere, if anything took it.
    """
    with dev(handler="tests.apps.streaming:endless", folder=CHECKOUT) as running:
        pids: list[int] = []
        before: list[int] = []
        received = 0
        with running.client.stream("GET", "/") as response:
            for data in response.iter_raw(65_536):
                if not received:
                    pids = [int(response.headers["x-pid"]), running.process.pid]
                    before = [peak_memory(pid) for pid in pids]
                    assert running.client.head("/").headers["x-pid"] != str(pids[0])
                received += len(data)
        growth = [peak_memory(pid) - start for pid, start in zip(pids, before, strict=True)]
    assert received == 48 * 1024 * 1024
    assert max(growth) < 8 * 1024 * 1024


def peak_memory(pid: int) -> int:
    """The most that a process has held in memory so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
