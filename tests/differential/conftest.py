from __future__ import annotations

from collections import Counter

import pytest

from tests.differential.harness.breaks import BREAKS
from tests.differential.harness.differences import DIFFERENCES

# The property of a test's report with the documented differences that it has met.
EXCUSED = "excused"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--break", dest="fault", choices=sorted(BREAKS), default="", help="a fault to put in, to see it")


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> str:
    """The name of a deliberate fault of the adapter, empty for none."""
    name: str = request.config.getoption("fault")
    return name


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows how often each documented difference was met: a row that never is may go."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    properties = [pair for report in reports for pair in report.user_properties]
    met = Counter(name for key, names in properties if key == EXCUSED for name in names)
    if met:
        terminalreporter.section("documented differences")
        for row in DIFFERENCES:
            terminalreporter.line(f"{met[row.name]:5} {row.name}")
