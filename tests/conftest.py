from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from asgi_stream.runtime.deadline import Countdown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

# It has a virtual environment for itself, and is run by scripts/differential.
collect_ignore = ["differential"]

# No test asserts a time, so none fails for one. In CI the examples are the same in each run: what decides whether work
# lands must not depend on chance, and the runs on people's machines go on searching.
settings.register_profile("project", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("project")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of every async test: what Lambda runs."""
    return "asyncio"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Callable[[], None]]]:
    """The steps of countdowns, each with the seconds that are to be left then; they do not come by themselves."""
    steps: list[tuple[float, Callable[[], None]]] = []

    def at(_: Countdown, left: float, step: Callable[[], None]) -> asyncio.TimerHandle:
        steps.append((left, step))
        return asyncio.TimerHandle(0, step, (), asyncio.get_running_loop())  # which nobody has scheduled

    monkeypatch.setattr(Countdown, "_at", at)
    return steps


@pytest.fixture
def time_runs_out(steps: list[tuple[float, Callable[[], None]]]) -> Callable[[], None]:
    """In place of a clock; to be called in the event loop: the handler is told, and cancelled."""

    def tell_and_cancel() -> None:
        for _ in range(2):
            _, step = steps[-1]
            step()

    return tell_and_cancel


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes what was captured fit for the wire between pytest-xdist's processes: some tests log half a character."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
