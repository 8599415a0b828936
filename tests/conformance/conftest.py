"""The platforms that run the real ``bootstrap``, for every module of this folder."""

from __future__ import annotations

import pytest

from tests.support.emulator import EmulatorPlatform, ManagedInstancesPlatform, why_no_emulator, why_no_managed_instances
from tests.support.platforms import OwnPlatform


@pytest.fixture(scope="module", params=["own", "emulator", "emulator-managed-instances"])
def make_platform(request: pytest.FixtureRequest) -> type[OwnPlatform | EmulatorPlatform]:
    """The class of a platform that can run here."""
    if request.param == "own":
        return OwnPlatform
    reason = why_no_emulator() if request.param == "emulator" else why_no_managed_instances()
    if reason is not None:
        pytest.skip(reason)
    return EmulatorPlatform if request.param == "emulator" else ManagedInstancesPlatform
