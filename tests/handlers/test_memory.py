"""A pipeline of 200 MB in a real process, whose reader stands still for a while: nothing piles up anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apps.handlers import LARGE_PIECE, LARGE_PIECES
from tests.support.dev import CHECKOUT, dev
from tests.test_end_to_end import peak_memory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process's memory is read from /proc")
@pytest.mark.parametrize("source", ["file", "generator"])
def test_memory_stays_flat_for_a_slow_reader_of_a_large_source(source: str) -> None:
    """The reader stops after its first piece until another environment has started and answered, then reads on."""
    with dev(handler=f"tests.apps.handlers:large_{source}", folder=CHECKOUT) as running:
        received = 0
        before = [0, peak_memory(running.process.pid)]
        with running.client.stream("GET", "/") as response:
            for data in response.iter_raw(65_536):
                if not received:
                    pids = [int(response.headers["x-pid"]), running.process.pid]
                    before[0] = int(response.headers["x-peak-kb"]) * 1024
                    assert running.client.head("/").headers["x-pid"] != str(pids[0])
                received += len(data)
        growth = [peak_memory(pid) - start for pid, start in zip(pids, before, strict=True)]
    assert received == LARGE_PIECES * LARGE_PIECE >= 200_000_000
    assert max(growth) < 8 * 1024 * 1024
