"""Each package under uvicorn and through Lambda: its clients see the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.differential.conftest import EXCUSED
from tests.differential.harness.compare import compare
from tests.differential.harness.packages import find_packages
from tests.differential.harness.run import ChildFailed, run
from tests.differential.harness.targets import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES = find_packages()


@pytest.mark.parametrize(
    ("name", "target"),
    [
        # A group stays in one process of the tests: what uvicorn gave is recorded once for all targets. The large
        # groups come first, so that no process is left with one of them at the end.
        pytest.param(name, target, id=f"{name}-{target}", marks=pytest.mark.xdist_group(name))
        for name, package in sorted(PACKAGES.items(), key=lambda item: -len(item[1].targets))
        for target in package.targets
    ],
)
def test_a_package_behaves_as_under_uvicorn(
    name: str, target: str, fault: str, record_property: Callable[[str, object], None]
) -> None:
    try:
        one, other = run(name, REFERENCE), run(name, target, fault)
    except ChildFailed as error:
        pytest.fail(str(error), pytrace=False)
    excused: list[str] = []
    reports = compare(one, other, target=target, volatile=PACKAGES[name].volatile, excused=excused)
    record_property(EXCUSED, excused)
    assert one.responses or one.notes
    if reports:
        pytest.fail(f"{name} on {target}: {len(reports)} differences\n\n" + "\n\n".join(reports), pytrace=False)
