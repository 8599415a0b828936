"""The tests have the same environment on every machine, and in CI none of them is skipped."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import FIXED
from tests.local import support
from tests.local.support import make_gate, open_gate, opened
from tests.support.dev import CHECKOUT, environment

if TYPE_CHECKING:
    from pathlib import Path

PRINTS = """
import os
def test_prints():
    for name in sorted(os.environ):
        print(f"{name}={os.environ[name]}")
"""

HOSTILE = {
    "AWS_LAMBDA_MAX_CONCURRENCY": "2",
    "AWS_PROFILE": "mine",
    "ASGI_STREAM_LIFESPAN": "on",
    "ASGI_STREAM_NO_SETTING": "1",
    "COLUMNS": "40",
    "DJANGO_SETTINGS_MODULE": "mine",
    "EXAMPLE_TABLE": "mine",
    "LC_ALL": "C",
    "NO_COLOR": "1",
    "PYTHONUNBUFFERED": "1",
    "TZ": "Asia/Kolkata",
    "_HANDLER": "mine",
}


SKIPS = {
    "mark": "@pytest.mark.skipif(True, reason='no such tool')\ndef test_it(): ...",
    "call": "def test_it(): pytest.skip('no such tool')",
    "fixture": "@pytest.fixture\ndef tool(): pytest.skip('no such tool')\ndef test_it(tool): ...",
    "module": "pytest.skip('no such tool', allow_module_level=True)",
    "import": "pytest.importorskip('no_such_module', reason='no such tool')",
    "unittest": "import unittest\nclass Test(unittest.TestCase):\n    def test_it(self): self.skipTest('no such tool')",
}
NO_SKIP = "@pytest.mark.xfail\ndef test_it(): raise ValueError"


def run(folder: Path, *options: str, **variables: str) -> str:
    """Runs these tests under the conftest.py of all others, on a hostile machine; returns what pytest prints."""
    for name, text in {**SKIPS, "no_skip": NO_SKIP, "prints": PRINTS}.items():
        (folder / f"test_{name}.py").write_text(f"import pytest\n{text}\n")
    (folder / "pytest.ini").touch()
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-rA", "--continue-on-collection-errors"]
    env = environment(**HOSTILE, PIP_INDEX_URL="kept", no_proxy="kept", **variables)
    return subprocess.run([*command, *options], cwd=folder, env=env, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run(tmp_path_factory.mktemp("here"), CI="")


@pytest.fixture(scope="module")
def in_ci(tmp_path_factory: pytest.TempPathFactory) -> str:
    """In a process of pytest-xdist's, as all tests run there."""
    return run(tmp_path_factory.mktemp("in_ci"), "-n", "1", CI="true")


@pytest.mark.parametrize("where", ["here", "in_ci"])
def test_nothing_that_a_user_has_set_reaches_the_tests(where: str, request: pytest.FixtureRequest) -> None:
    lines = request.getfixturevalue(where).splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    assert found["PIP_INDEX_URL"] == "kept"
    assert found["no_proxy"].startswith("kept,127.0.0.1,")
    assert {name: found.get(name) for name in HOSTILE} == {name: FIXED.get(name) for name in HOSTILE}


def test_a_skip_is_a_failure_in_ci_alone(here: str, in_ci: str) -> None:
    assert "1 passed, 6 skipped, 1 xfailed in" in here
    assert "no such tool" in here
    line = r"^With CI=true no test may be skipped\. test_(\w+)\.py\S*: Skipped: no such tool$"
    found = re.findall(line, in_ci, re.MULTILINE)
    assert sorted(found) == sorted(SKIPS)
    assert "2 failed, 1 passed, 1 xfailed, 4 errors in" in in_ci


class TestFifo:
    """A test never waits for ever for the other end of a FIFO."""

    @pytest.mark.parametrize("mode", ["rb", "wb"])
    def test_the_other_end_never_comes(self, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
        gate = make_gate(tmp_path)
        with pytest.raises(AssertionError, match="was not opened"):
            opened(gate, mode, alive=lambda: False)
        monkeypatch.setattr(support, "OTHER_END_LIMIT", 0.0)
        with pytest.raises(AssertionError, match="was not opened"):
            opened(gate, mode)

    def test_both_come(self, tmp_path: Path) -> None:
        gate = make_gate(tmp_path)
        with subprocess.Popen(["cat", gate], stdout=subprocess.PIPE) as process:
            open_gate(gate)
            assert process.communicate()[0] == b""
        with subprocess.Popen(["sh", "-c", 'echo there >"$1"', "sh", gate]), opened(gate, "rb") as reader:
            assert reader.read() == b"there\n"


def test_each_fifo_is_opened_by_what_has_a_limit() -> None:
    """`os.mkfifo` is called in one place, so that each test finds what goes with it."""
    found = [path for path in CHECKOUT.glob("tests/**/*.py") if "mkfifo" in path.read_text(encoding="utf-8")]
    assert [path.relative_to(CHECKOUT).as_posix() for path in sorted(found)] == [
        "tests/local/support.py",
        "tests/test_surroundings.py",
    ]
