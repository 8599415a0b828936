"""The README's two commands on machines that lack something: one clear line that names the remedy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import asgi_stream

CHECKOUT = Path(asgi_stream.__file__).parent.parent
COMMANDS = ("cat", "dirname", "rm", "sh")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the scripts need, so that no virtual environment is in reach, and a PATH with no Python on it."""
    shutil.copytree(CHECKOUT / "scripts", tmp_path / "scripts")
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    (tmp_path / "bin").mkdir()
    for name in COMMANDS:
        found = shutil.which(name)
        assert found
        (tmp_path / "bin" / name).symlink_to(found)
    return tmp_path


def run(checkout: Path, script: str, **environ: str) -> str:
    """Runs a script that fails; returns what it says."""
    process = subprocess.run(
        [str(checkout / "scripts" / script)],
        env={"PATH": str(checkout / "bin"), "PYENV_ROOT": str(checkout), **environ},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"{script}: ")
    return line


def python(checkout: Path, name: str, program: str) -> Path:
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("script", ["differential", "run", "test"])
class TestMissing:
    def test_any_python(self, checkout: Path, script: str) -> None:
        if Path("/opt/python").exists():
            pytest.skip("a Python in /opt/python is found on this machine, as it should be")
        assert "needs Python 3.11 or newer and found none. Install it" in run(checkout, script)

    def test_a_python_that_is_new_enough(self, checkout: Path, script: str) -> None:
        if Path("/opt/python").exists():
            pytest.skip("a Python in /opt/python is found on this machine, as it should be")
        python(checkout, "python3", '[ "$1" = --version ] && echo Python 3.9.2 || exit 1')
        line = run(checkout, script)
        assert "needs Python 3.11 or newer; python3 here is Python 3.9.2" in line
        assert "PYTHON=/path/to/python3.12" in line

    def test_the_python_that_was_named(self, checkout: Path, script: str) -> None:
        assert "PYTHON=nothing is not a Python 3.11 or newer that runs" in run(checkout, script, PYTHON="nothing")

    def test_venv(self, checkout: Path, script: str) -> None:
        """As Debian's Python says it without the package python3-venv."""
        message = "The virtual environment was not created successfully because ensurepip is not available."
        program = f'case $2 in venv) echo "{message}"; exit 1 ;; *print*) echo "$0" ;; esac'
        named = str(python(checkout, "python3", program))
        assert f"{named} has no module venv" in run(checkout, script, PYTHON=named)
        assert "apt install python3-venv" in run(checkout, script, PYTHON=named)
        assert not (checkout / ".venv" / script).exists()
