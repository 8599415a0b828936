from __future__ import annotations

import os

import pytest
from hypothesis import settings

# No test asserts a time, so none fails for one. In CI the examples are the same in each run: what decides whether work
# lands must not depend on chance, and the runs on people's machines go on searching.
settings.register_profile("project", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("project")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of every async test: what Lambda runs."""
    return "asyncio"
