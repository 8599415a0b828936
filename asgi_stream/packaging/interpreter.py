"""Interpreters: one of the target's version on this machine, and one that comes along in the package."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from asgi_stream.packaging.errors import Refused, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgi_stream.packaging.target import Target

# No site-packages, no folder of a script, no settings of the shell; nothing is written beside a module.
ISOLATED = ("-s", "-S", "-P", "-B")
_DESCRIBE = """
import json, platform, sys
version = sys.version_info
print(json.dumps([sys.executable, sys.implementation.name, version.releaselevel, "%d.%d" % version[:2],
    platform.python_version(), getattr(sys, "abiflags", ""), sys.platform, platform.machine(), platform.libc_ver()[0]]))
"""

# Of the standard library: its own tests, and what cannot work without a screen or a place to install to; and
# site-packages, for what the app needs comes from its requirements.
_STDLIB_LEFT_OUT = {
    "__pycache__", "__phello__", "ensurepip", "idlelib", "site-packages", "test", "tests", "tkinter", "turtle.py",
    "turtledemo",
}  # fmt: skip
_STDLIB_LEFT_OUT_PREFIXES = ("config-", "_test", "_ctypes_test", "_xxtestfuzz", "_tkinter", "xxlimited")


class Interpreter(NamedTuple):
    """A Python that runs here. `native` is true if it can import what was built for the target."""

    path: str
    version: str
    native: bool


def environment(**variables: str) -> dict[str, str]:
    """The variables of a child: the caller's, without those that change how Python works."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"
    }
    return {**inherited, "PYTHONHASHSEED": "0", **variables}


def find(target: Target) -> Interpreter | None:
    """Returns an interpreter of the target's minor version: ours, one on the PATH, one of pyenv's; None without any."""
    for candidate in _candidates(target.version):
        if found := describe(candidate, target):
            return found
    return None


def describe(python: str, target: Target) -> Interpreter | None:
    """Returns the interpreter if it runs, and is a release of CPython in the target's minor version."""
    try:
        run = subprocess.run(
            [python, *ISOLATED, "-c", _DESCRIBE], env=environment(), capture_output=True, text=True, check=True
        )
        path, name, level, minor, version, flags, system, machine, libc = json.loads(run.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    if (name, level, minor, flags) != ("cpython", "final", target.version, ""):
        return None
    return Interpreter(path, version, (system, machine, libc) == ("linux", target.machine, "glibc"))


def _candidates(version: str) -> Iterable[str]:
    yield sys.executable
    if found := shutil.which(f"python{version}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    versions = (path for path in (pyenv / "versions").glob(f"{version}.*") if path.name[len(version) + 1 :].isdecimal())
    for folder in sorted(versions, key=lambda path: int(path.name.rpartition(".")[2]), reverse=True):
        yield str(folder / "bin" / "python")


def version_of(folder: Path) -> str:
    """Returns the minor version of the Python in a folder, as `3.13`. Raises UsageError."""
    found = [path.parent.name.removeprefix("python") for path in folder.glob("lib/python3.*/os.py")]
    if len(found) != 1 or not (folder / "bin" / "python3").is_file():
        raise UsageError(f"--python {folder}: there is no bin/python3, or not exactly one lib/python3.X/os.py in it")
    return found[0]


def copy_python(folder: Path, version: str, into: Path) -> None:
    """Copies a relocatable Python without what only development needs. Raises Refused if it is not relocatable.

    The result has no symbolic links: `bin/python3` is the program.
    """
    program = (folder / "bin" / "python3").read_bytes()
    library = f"libpython{version}.so".encode()
    (into / "bin").mkdir(parents=True)
    (into / "lib").mkdir()
    shutil.copy(folder / "bin" / "python3", into / "bin" / "python3")
    shutil.copytree(folder / "lib" / f"python{version}", into / "lib" / f"python{version}", ignore=_left_out)
    if library in program:
        if b"$ORIGIN" not in program:
            raise Refused(
                f"{folder}/bin/python3 looks for {library.decode()} at a fixed place, so it does not run from another "
                "folder: --python needs a relocatable CPython, such as python-build-standalone"
            )
        for path in sorted((folder / "lib").glob(f"{library.decode()}*")):
            shutil.copy(path, into / "lib" / path.name)


def _left_out(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name in _STDLIB_LEFT_OUT or name.startswith(_STDLIB_LEFT_OUT_PREFIXES)]


def here() -> str:
    """Names this machine, for a warning."""
    return f"{platform.system()} on {platform.machine()}"
