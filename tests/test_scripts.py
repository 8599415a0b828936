"""The README's two commands and `.ci/run`: on machines that lack something, and after runs that left something."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import asgi_stream
from tests.conftest import INDEX

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


# A Python in whose virtual environments programs note their arguments in `log`, and fail as `fails` says.
PYTHON = """
case "$*" in
    -c*executable*) echo "$0" ;;
    -c*version_info*) echo 3.13 ;;
    -c*) cat "$CHECKOUT/version" ;;
    "-m venv "*) mkdir -p "$3/bin"; for name in python ruff mypy; do cp "$0" "$3/bin/$name"; done ;;
    *) echo "${0##*/} $*" >>"$CHECKOUT/log"; case "$*" in "$(cat "$CHECKOUT/fails")"*) exit 3 ;; esac ;;
esac
"""


@pytest.fixture
def machine(checkout: Path) -> Path:
    """As `checkout`, with a Python that works as far as the scripts see."""
    for name in ("cp", "mkdir"):
        (checkout / "bin" / name).symlink_to(shutil.which(name) or "")
    python(checkout, "python3", PYTHON)
    (checkout / "version").write_text("1")
    (checkout / "fails").write_text("nothing")
    return checkout


def script(machine: Path, name: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    (machine / "log").write_text("")
    return subprocess.run(
        [machine / name, *arguments],
        env={"PATH": str(machine / "bin"), "PYENV_ROOT": str(machine), "CHECKOUT": str(machine), **environ},
        capture_output=True,
        text=True,
    )


def log(machine: Path) -> list[str]:
    return (machine / "log").read_text().splitlines()


def installed(machine: Path) -> bool:
    return any("pip install" in line for line in log(machine))


class TestLeftovers:
    """An environment is used again only where all of it is known to be there, for what is wanted now."""

    @pytest.fixture
    def left(self, machine: Path) -> Path:
        """A file in the environment that an earlier run has made."""
        assert script(machine, "scripts/test", "--quick").returncode == 0
        assert installed(machine)
        left = machine / ".venv" / "test" / "left"
        left.touch()
        assert script(machine, "scripts/test", "--quick").returncode == 0
        assert not installed(machine)
        assert left.exists()
        return left

    @pytest.mark.parametrize("changed", ["pyproject.toml", "version", ".venv/test/.installed"])
    def test_other_requirements_or_another_python(self, machine: Path, left: Path, changed: str) -> None:
        with (machine / changed).open("a") as file:
            file.write("changed")
        assert script(machine, "scripts/test", "--quick").returncode == 0
        assert installed(machine)
        assert not left.exists()

    def test_an_installation_that_broke_off(self, machine: Path, left: Path) -> None:
        """Also where what is wanted afterwards is what was there before it."""
        before = (machine / "pyproject.toml").read_text()
        (machine / "pyproject.toml").write_text("another")
        (machine / "fails").write_text("-m pip install")
        run = script(machine, "scripts/test", "--quick")
        assert run.returncode == 1
        assert "the installation into .venv/test failed" in run.stderr
        (machine / "fails").write_text("nothing")
        (machine / "pyproject.toml").write_text(before)
        left.touch()
        assert script(machine, "scripts/test", "--quick").returncode == 0
        assert installed(machine)
        assert not left.exists()

    def test_the_requirements_of_the_example(self, machine: Path) -> None:
        requirements = machine / "example_app" / "requirements.txt"
        requirements.parent.mkdir()
        for text, again in (("jinja2", True), ("jinja2", False), ("jinja2>=3", True)):
            requirements.write_text(text)
            script(machine, "scripts/run")
            assert installed(machine) is again


class TestQuick:
    def test_it_runs_in_parallel_and_prints_what_it_leaves_out(self, machine: Path) -> None:
        run = script(machine, "scripts/test", "--quick", "-k", "logs")
        (tests,) = (line for line in log(machine) if "-m pytest" in line)
        _, _, left_out = run.stdout.partition("== left out by --quick\n")
        assert "-n auto" in tests
        assert tests.endswith(" -k logs")
        paths = [line for line in left_out.splitlines() if line.startswith("tests/")]
        assert {"tests/acceptance", "tests/packaging", "tests/node", "tests/test_benchmarks.py"} <= set(paths)
        assert all((CHECKOUT / path).exists() for path in paths)
        assert [f"--ignore {path}" in tests for path in paths] == [True] * len(paths)
        assert tests.count("--ignore") == len(paths)
        assert "AWS's Node.js runtime" in left_out
        assert not any("node.py" in line for line in log(machine))

    def test_it_fails_with_its_tests(self, machine: Path) -> None:
        (machine / "fails").write_text("-m pytest")
        assert script(machine, "scripts/test", "--quick").returncode == 3


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
class TestUnavailable:
    """What cannot be had is a failure in CI alone; the reason is printed everywhere."""

    def test_the_template_tools(self, machine: Path, ci: str, code: int) -> None:
        (machine / "fails").write_text("-m pip install")
        run = script(machine, "scripts/lint-templates", CI=ci)
        assert "The templates are not checked" in run.stdout
        assert run.returncode == code

    @pytest.mark.parametrize("name", ["emulator", "node"])
    def test_a_program(self, checkout: Path, name: str, ci: str, code: int) -> None:
        """There is no pip that reaches an index, and no npm."""
        run = subprocess.run(
            [sys.executable, checkout / "scripts" / f"{name}.py"],
            env={"PATH": "", "CI": ci, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull},
            capture_output=True,
            text=True,
        )
        assert " is not available: " in run.stdout
        assert run.stdout == (checkout / ".cache" / name / "why-not").read_text()
        assert run.returncode == code


class TestContinuousIntegration:
    PROGRAMS = ("unshare", "node", "npm", "autoconf", "automake", "libtoolize", "cmake", "make", "c++")

    @pytest.fixture
    def ci(self, checkout: Path) -> Path:
        """`.ci/run` and a test command that prints its environment, on a machine that has all programs."""
        shutil.copytree(CHECKOUT / ".ci", checkout / ".ci")
        (checkout / "scripts" / "test").write_text("#!/bin/sh\nenv\n")
        for name in ("bash", "env"):
            (checkout / "bin" / name).symlink_to(shutil.which(name) or "")
        python(checkout, "id", "echo 0")
        python(checkout, "apt-get", 'echo "$*" >>"$CHECKOUT/log"')
        for name in self.PROGRAMS:
            python(checkout, name, "")
        return checkout

    def test_the_tests_have_an_empty_environment(self, ci: Path) -> None:
        """But for what leads to programs, to a home and to a package index."""
        kept = {name.replace("*", "x").replace("[a-z]", "a").replace("[A-Z]", "A"): "kept as it is" for name in INDEX}
        kept |= {"HOME": "/home/user", "LANG": "C.UTF-8"}
        dropped = ("AWS_REGION", "ASGI_STREAM_STAGE", "PYTHONUNBUFFERED", "TMPDIR", "CI_SERVER", "LC_ALL", "TZ", "USER")
        run = script(ci, ".ci/run", **kept, **dict.fromkeys(dropped, "dropped"))
        assert (run.returncode, log(ci)) == (0, [])
        environ = dict(line.split("=", 1) for line in run.stdout.splitlines())
        environ.pop("_", None)
        environ.pop("PWD", None)  # the shell's own
        environ.pop("SHLVL", None)
        assert environ == {**kept, "PATH": str(ci / "bin"), "CI": "true"}

    def test_what_is_missing_is_installed(self, ci: Path) -> None:
        for name in ("libtoolize", "npm"):
            (ci / "bin" / name).unlink()
        assert script(ci, ".ci/run").returncode == 0
        update, install = log(ci)
        assert update.startswith("update")
        assert install.startswith("install ")
        assert install.endswith(" npm libtool")


@pytest.mark.parametrize("arguments", [["--keep"], ["--newest", "--keep", "django"]])
def test_no_versions_are_pinned_that_not_every_package_has_passed_with(checkout: Path, arguments: list[str]) -> None:
    process = subprocess.run(
        [str(checkout / "scripts" / "differential"), *arguments],
        env={"PATH": str(checkout / "bin"), "PYENV_ROOT": str(checkout)},
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stdout) == (1, "")
    assert "--keep pins what every package has passed with" in process.stderr


@pytest.mark.parametrize("place", ["variable", "file"])
def test_uv_has_the_index_of_pip(checkout: Path, place: str) -> None:
    index = "https://index.example/simple"
    answer = f"echo {index}" if place == "file" else "exit 1"
    with_pip = python(checkout, "python3", f'[ "$*" = "-m pip config get global.index-url" ] && {answer}')
    environ = {"PIP_INDEX_URL": index} if place == "variable" else {}
    command = '. scripts/lib.sh; uv_as_pip "$1"; printf %s "${UV_DEFAULT_INDEX:-}"'
    found = subprocess.run(
        ["/bin/sh", "-euc", command, "sh", str(with_pip)],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == index
