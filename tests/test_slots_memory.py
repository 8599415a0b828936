"""The memory of 32 streams that are open at once, in one process; measured by `benchmarks/slots_memory.py`."""

from __future__ import annotations

import sys

import pytest

from benchmarks.slots_memory import MOST, Measured, Memory, measure, why_no_aws_client

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory is read from /proc, which is Linux's"),
]


@pytest.mark.parametrize("app", ["raw", "fastapi"])
async def test_32_open_streams_take_at_most_a_fifth_more_than_one(app: str) -> None:
    measured = await measure(app, 32)
    assert (measured.one.processes, measured.all.processes) == (1, 1)
    assert MOST == 1.20
    assert measured.all.rss <= 1.20 * measured.one.rss, measured


async def test_the_same_under_awss_own_client_takes_a_process_for_each() -> None:
    if why_not := why_no_aws_client():
        pytest.skip(why_not)
    measured = await measure("raw", 3, aws_client=True)
    assert measured.all.processes == 4


def test_growth() -> None:
    assert Measured(Memory(1, 100, 90), Memory(1, 130, 110)).growth == 1.3
