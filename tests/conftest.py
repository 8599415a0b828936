from __future__ import annotations

import asyncio
import fnmatch
import os
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from asgi_stream.runtime.deadline import Countdown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

# It has a virtual environment for itself, and is run by scripts/differential.
collect_ignore = ["differential"]


# CI runs every test there is, on the same examples each time: what decides whether work lands must depend neither on
# chance nor on what a machine lacks. The runs on people's machines go on searching, and skip what cannot run there.
CI = os.environ.get("CI") == "true"

# No test asserts a time, so none fails for one.
settings.register_profile("project", deadline=None, derandomize=CI)
settings.load_profile("project")

# By these pip, uv and npm reach an index; .ci/run has the same list.
INDEX = (
    "[a-z]*_proxy", "[A-Z]*_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
    "PIP_*", "UV_*", "npm_config_*", "NPM_CONFIG_*", "XDG_CONFIG_HOME",
)  # fmt: skip
# Besides: where programs, libraries and a home are, and what pytest and coverage set for their own processes. TMPDIR is
# not among them: the path of a Unix socket has room for 107 bytes.
INHERITED = (*INDEX, "PATH", "LD_LIBRARY_PATH", "HOME", "CI", "PYTEST_*", "COV_*", "COVERAGE_*")
# The same everywhere: no SDK of AWS's reads a file of the user's, and a command's help is 80 columns wide.
FIXED = {
    "LANG": "C.UTF-8",
    "COLUMNS": "80",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.hookimpl(trylast=True)  # how pytest colours its own output is the user's choice, and has been read by now
def pytest_configure() -> None:
    """Gives the tests, and all processes that they start, an environment that is the same on each machine."""
    for name in [name for name in os.environ if not any(fnmatch.fnmatchcase(name, kept) for kept in INHERITED)]:
        del os.environ[name]
    tempfile.tempdir = None  # to be found without TMPDIR
    os.environ.update(FIXED)
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost", "::1"]))


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


@pytest.fixture
def untraced() -> Iterator[None]:
    """No function that starts in the test is traced. (pytest-cov's own mark leaves the tracer of xdist's processes.)"""
    trace, of_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    yield
    threading.settrace(of_threads)
    sys.settrace(trace)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes what was captured fit for the wire between pytest-xdist's processes: some tests log half a character."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_skipped(report)
    return report


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """In CI nothing is skipped. A test that is not meant for some platform or Python is not collected there."""
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"With CI=true no test may be skipped. {report.nodeid}: {reason}"
