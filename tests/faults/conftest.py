from __future__ import annotations

import pytest

from asgi_stream.runtime import loop


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Managed Instances' pollers: how often they try is asserted, not how long they wait."""
    monkeypatch.setattr(loop, "FIRST_PAUSE", 0.0)
