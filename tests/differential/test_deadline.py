"""What happens at a deadline, through the whole local Lambda. uvicorn has none: docs/behavior.md has the expectations.

Each package of these has `at_the_deadline`: requests for streams and answers that never end, and one more after them.
"""

from __future__ import annotations

import pytest

from tests.differential.harness.packages import find_packages
from tests.differential.harness.run import ChildFailed, run

EVENT_STREAMS = ["fastapi", "fasthtml", "sanic", "sse_starlette", "strawberry"]

# Of the local Lambda and of the runtime, where an environment did not survive.
LOST = ("Runtime.ExitError", "Sandbox.Timedout", "fault of asgi-stream", "tries again")


def record(name: str) -> tuple[list[tuple[str, int, bytes]], str]:
    """The responses as label, status and body, and what was written to the terminal."""
    try:
        recording = run(name, "deadline")
    except ChildFailed as error:
        pytest.fail(str(error), pytrace=False)
    ((_, terminal),) = recording.notes
    return [(response.label, response.status, response.body) for response in recording.responses], terminal


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in EVENT_STREAMS])
def test_an_event_stream_that_never_ends_is_closed_and_is_no_error(name: str) -> None:
    *streams, after = record(name)[0]
    terminal = record(name)[1]
    for label, status, body in streams:
        assert (label, status) == (label, 200)
        assert b"one" in body, label
    assert after[1] < 500
    assert "DeadlineExceeded" not in terminal, terminal
    assert not [line for line in terminal.splitlines() if any(word in line for word in LOST)], terminal


@pytest.mark.xdist_group("asyncpg")
def test_a_query_that_never_ends_is_cancelled_and_the_process_stays() -> None:
    (_, _, first), slow, (_, _, last) = record("asyncpg")[0]
    terminal = record("asyncpg")[1]
    assert slow == ("GET /slow", 500, b"Internal Server Error"), terminal
    assert "DeadlineExceeded" in terminal
    assert not [line for line in terminal.splitlines() if any(word in line for word in LOST)], terminal
    assert first == last, terminal


def test_each_package_with_a_deadline_is_tested() -> None:
    packages = find_packages().values()
    named = {package.name for package in packages if package.has_deadline}
    assert named == {*EVENT_STREAMS, "asyncpg"}
