from __future__ import annotations

import pytest

from tests.differential.harness.breaks import BREAKS


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--break", dest="fault", choices=sorted(BREAKS), default="", help="a fault to put in, to see it")


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> str:
    """The name of a deliberate fault of the adapter, empty for none."""
    name: str = request.config.getoption("fault")
    return name
