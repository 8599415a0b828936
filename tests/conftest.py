from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of every async test: what Lambda runs."""
    return "asyncio"
