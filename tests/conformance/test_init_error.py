"""Functions that cannot start, on the platforms that show why.

The emulator's Managed Instances mode is left out: its function must stand in the checkout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.emulator import EmulatorPlatform, why_no_emulator
from tests.support.platforms import OwnPlatform

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.platforms import Outcome

pytestmark = pytest.mark.anyio

RAISES = """\
def read_setting():
    raise KeyError("no such setting")

read_setting()
"""


@pytest.fixture(params=["own", "emulator"])
def make_platform(request: pytest.FixtureRequest) -> type[OwnPlatform | EmulatorPlatform]:
    """The class of a platform that can run here."""
    if request.param == "own":
        return OwnPlatform
    if (reason := why_no_emulator()) is not None:
        pytest.skip(reason)
    return EmulatorPlatform


async def invoke(make_platform: type[OwnPlatform | EmulatorPlatform], folder: Path, source: str | None) -> Outcome:
    """Starts ``main.handler`` of a folder, which is ``source`` (None: there is no such file), and invokes it once."""
    if source is not None:
        folder.joinpath("main.py").write_text(source, encoding="utf-8")
    async with make_platform("main.handler", folder) as platform:
        outcome = await platform.invoke(b"{}")
        if isinstance(platform, OwnPlatform):
            # The emulator keeps the child's exit status to its log.
            assert await platform.exit_status() == 1
            assert outcome.reported_by == "error"
    return outcome


async def test_the_module_raises(make_platform: type[OwnPlatform | EmulatorPlatform], tmp_path: Path) -> None:
    """The stack starts in the user's file: nothing of ours or of the import system stands before it."""
    outcome = await invoke(make_platform, tmp_path, RAISES)
    assert outcome.error is not None, outcome.body
    assert outcome.error["errorType"] == "KeyError"
    assert outcome.error["errorMessage"] == "'no such setting'"
    stack = outcome.error["stackTrace"]
    assert [frame.splitlines()[0] for frame in stack] == [
        f'  File "{tmp_path}/main.py", line 4, in <module>',
        f'  File "{tmp_path}/main.py", line 2, in read_setting',
    ]
    if make_platform.shows_error_type:
        assert outcome.error_type == "Function.KeyError"


async def test_an_import_in_the_module_fails(
    make_platform: type[OwnPlatform | EmulatorPlatform], tmp_path: Path
) -> None:
    """The most common init error: a dependency that was not packaged."""
    outcome = await invoke(make_platform, tmp_path, "import not_in_the_package\n")
    assert outcome.error is not None, outcome.body
    assert outcome.error["errorType"] == "Runtime.ImportModuleError"
    assert "not_in_the_package" in outcome.error["errorMessage"]
    assert outcome.error["stackTrace"][0].startswith(f'  File "{tmp_path}/main.py", line 1, in <module>')
    if make_platform.shows_error_type:
        assert outcome.error_type == "Runtime.ImportModuleError"


async def test_the_module_is_missing(make_platform: type[OwnPlatform | EmulatorPlatform], tmp_path: Path) -> None:
    """No line of the user's has run: the stack is empty."""
    outcome = await invoke(make_platform, tmp_path, None)
    assert outcome.error is not None, outcome.body
    assert outcome.error["errorType"] == "Runtime.ImportModuleError"
    assert "'main'" in outcome.error["errorMessage"]
    assert outcome.error["stackTrace"] == []
    if make_platform.shows_error_type:
        assert outcome.error_type == "Runtime.ImportModuleError"
