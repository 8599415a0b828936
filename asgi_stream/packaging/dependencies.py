"""Dependencies: from the requirements to a folder of packages for the target's platform, by pip or uv.

Only wheels are taken: nothing can be built here for another platform. What index to use, constraints, hashes: all that
stands in the requirements file or in pip's and uv's own settings (`PIP_INDEX_URL`, `UV_INDEX_URL`, …).
"""

from __future__ import annotations

import csv
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

from asgi_stream.packaging.errors import Refused, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from asgi_stream.packaging.interpreter import Interpreter
    from asgi_stream.packaging.target import Target

# Of a dist-info: what pip and uv write into it themselves. direct_url.json may name a folder of this machine.
_BY_INSTALLER = ("INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")


def requirements(project: Path, named: str | None) -> Path | None:
    """Returns the file that says what the app needs: the named one, requirements.txt, pyproject.toml, or None.

    Raises UsageError.
    """
    if named is not None:
        path = project / named
        if not path.is_file():
            raise UsageError(f"--requirements {named}: there is no such file")
        return path
    return next((path for name in ("requirements.txt", "pyproject.toml") if (path := project / name).is_file()), None)


def as_requirements_file(path: Path, scratch: Path) -> Path:
    """Returns a file for `pip install -r`: the same, or the dependencies of a pyproject.toml. Raises Refused."""
    if path.suffix != ".toml":
        return path
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except ValueError as error:
        raise Refused(f"{path} is not TOML: {error}") from None
    if "dependencies" in project.get("dynamic", ()):
        raise Refused(f"the dependencies in {path} are dynamic: write them to a file, and name it by --requirements")
    place = scratch / "requirements.txt"
    place.write_text("".join(f"{line}\n" for line in project.get("dependencies", ())), encoding="utf-8")
    return place


def installer(wanted: str | None) -> str:
    """Returns "pip" or "uv": the wanted one, else pip, else uv. Raises Refused if it is not there."""
    there = {"pip": importlib.util.find_spec("pip") is not None, "uv": shutil.which("uv") is not None}
    for name in (wanted,) if wanted else ("pip", "uv"):
        if there[name]:
            return name
    raise Refused(
        f"{wanted or 'neither pip nor uv'} is {'not ' if wanted else ''}there to install the dependencies: "
        f"{sys.executable} -m ensurepip, or put uv on the PATH"
    )


def command(by: str, target: Target, python: Interpreter | None, into: Path) -> list[str]:
    """Returns the command that installs for the target's platform, without the requirements."""
    if by == "uv":
        # uv knows some versions of glibc only; 2.17 runs everywhere.
        glibc = "manylinux_2_34" if target.glibc >= 34 else "manylinux_2_17"
        command = ["uv", "pip", "install", "--quiet", "--python", python.path if python else sys.executable]
        command += ["--python-version", target.version, "--python-platform", f"{target.machine}-{glibc}"]
        return [*command, "--only-binary", ":all:", "--link-mode", "copy", "--target", str(into)]
    command = [sys.executable, "-m", "pip"]
    if python and python.path != sys.executable:
        # By the target's Python, for pip reads environment markers such as python_version off the one that runs it.
        command += ["--python", python.path]
    command += ["install", "--quiet", "--no-input", "--no-compile", "--root-user-action", "ignore"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--target", str(into)]
    command += ["--implementation", "cp", "--python-version", target.version]
    command += ["--abi", f"cp{target.version.replace('.', '')}"]
    # pip takes the tags as they are: it does not know that a system with glibc 2.34 runs what was built for 2.28.
    for minor in range(target.glibc, 16, -1):
        command += ["--platform", f"manylinux_2_{minor}_{target.machine}"]
    return [*command, "--platform", f"manylinux2014_{target.machine}"]


def install(command: list[str], requirements: Path, wheels: Path, project: Path) -> None:
    """Runs the command; it may look into the folder `wheels` too. Raises Refused with what it said."""
    run = subprocess.run(
        [*command, "--find-links", str(wheels), "--requirement", str(requirements)],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode:
        said = run.stdout.strip()
        if "Building source distributions is disabled" in said:  # by uv; pip builds folders and repositories
            said += "\nA line --no-binary NAME in the requirements file lets uv build a folder or a repository"
        raise Refused(f"the dependencies could not be installed; only wheels are taken, none is built:\n{said}")


def prune(folder: Path, python: Interpreter | None = None) -> None:
    """Takes out what the installer has put into a folder of packages besides their own files, which all stay.

    That is its notes, and scripts that begin with the path of a Python of this machine: ours, or `python`.
    """
    (folder / ".lock").unlink(missing_ok=True)  # uv's own
    pythons = {sys.executable, python.path if python else sys.executable}
    folders = {os.path.dirname(path) for name in pythons for path in (name, os.path.realpath(name))}
    for path in folder.glob("bin/*"):
        if path.is_file() and _starts_with_python(path, folders):
            path.unlink()
    for info in folder.glob("*.dist-info"):
        for name in _BY_INSTALLER:
            (info / name).unlink(missing_ok=True)
        if (record := info / "RECORD").is_file():
            _correct(record, folder)


def _starts_with_python(path: Path, folders: Iterable[str]) -> bool:
    """True for `#!/folder/python3`, and where the path is in the second line, as one that is too long for the first."""
    with path.open("rb") as file:
        head = file.readline(1024) + file.readline(1024)
    return head.startswith(b"#!") and any(os.fsencode(os.path.join(name, "python")) in head for name in folders)


def _correct(record: Path, folder: Path) -> None:
    """Lists in a RECORD what is there: it is what importlib.metadata knows the files and modules of a package by.

    pip writes the names of scripts and data as if the folder were deep in a Python's own (`../../bin/name`).
    """
    with record.open(encoding="utf-8", newline="") as file:
        rows = [[row[0].replace("../", ""), *row[1:]] for row in csv.reader(file) if row]
    with record.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(row for row in rows if (folder / row[0]).is_file())


def installed(folder: Path) -> list[str]:
    """Returns what the folder holds, as `name version`."""
    return sorted(" ".join(path.stem.rsplit("-", 1)) for path in folder.glob("*.dist-info"))
