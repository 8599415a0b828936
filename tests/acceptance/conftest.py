"""The example, packaged in each way with its dependencies from the index, and unpacked into empty folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.example.conftest import cloud
from tests.packaging.support import VERSION, bare_python, make_relocatable_python, unpack
from tests.support.dev import CHECKOUT, COMMAND, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["cloud"]

HANDLER = "example_app.main:handler"
RUNTIME = "/var/runtime/bootstrap.py"


class Packaged(NamedTuple):
    """An unpacked package, and how Lambda starts it.

    `command` is for our server, which always sets `_HANDLER`; `emulated` for AWS's emulator, which takes a second
    argument for it. `path` is the PATH.
    """

    task_root: Path
    command: list[str]
    emulated: list[str]
    path: str


@pytest.fixture(scope="session")
def _index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where none can be reached: whatever fails after that is a fault of ours."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    options = ["--retries", "0", "--timeout", "10", "--dest", str(tmp_path_factory.mktemp("probe"))]
    run = subprocess.run([*pip, *options, "jinja2"], capture_output=True, text=True)
    if run.returncode:
        pytest.skip(f"no package index can be reached: {run.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_python(tmp_path_factory.mktemp("bare") / "venv")


@pytest.fixture(scope="session", params=["zip", "layer", "provided", "container"])
def packaged(
    request: pytest.FixtureRequest, _index: None, python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Packaged]:
    """One of each kind, for all tests of it; the tests are run kind by kind."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    make = {"zip": make_zip, "layer": make_layer, "provided": make_provided, "container": make_container}
    yield make[request.param](folder, python)
    shutil.rmtree(folder)  # tens of megabytes, which pytest would keep


def make_zip(folder: Path, python: Path) -> Packaged:
    package(folder, HANDLER, "--requirements", "example_app/requirements.txt")
    root = unpack(folder / "function.zip", folder / "task")
    return wrapped(folder, root, root / "asgi_stream" / "bootstrap", python)


def make_layer(folder: Path, python: Path) -> Packaged:
    package(folder, "--kind", "layer", *without_boto3(folder))
    package(folder, HANDLER, "--layer", str(folder / "layer.zip"))
    root, opt = unpack(folder / "function.zip", folder / "task"), unpack(folder / "layer.zip", folder / "opt")
    return wrapped(folder, root, opt / "bootstrap", python)


def make_provided(folder: Path, _: Path) -> Packaged:
    along = make_relocatable_python(folder / "along")
    # All of the standard library: the command takes what it wants.
    stdlib = along / "lib" / f"python{VERSION}"
    shutil.rmtree(stdlib)
    stdlib.symlink_to(sysconfig.get_path("stdlib"))
    # This machine's Python may need a newer glibc than Lambda's; here it only has to run.
    package(folder, HANDLER, "--kind", "provided", "--python", str(along), "--force", *without_boto3(folder))
    shutil.rmtree(along)
    root = unpack(folder / "provided.zip", folder / "task")
    command = [str(root / "bootstrap")]
    return Packaged(root, command, command, "")


def make_container(folder: Path, python: Path) -> Packaged:
    package(folder, HANDLER, "--kind", "container", *without_boto3(folder))
    root = folder / "container" / "app"
    lines = (folder / "container" / "Dockerfile").read_text().splitlines()
    told = dict(line.split(maxsplit=1) for line in lines)
    command = [word.replace("/var/task", str(root)) for word in json.loads(told["ENTRYPOINT"])]
    command += json.loads(told["CMD"])
    # Lambda may leave _HANDLER out.
    return Packaged(root, [shutil.which("env") or "env", "-u", "_HANDLER", *command], command, str(python.parent))


def package(output: Path, *arguments: str) -> None:
    """Runs `asgi-stream package` as a user does; what it says is in the output of a test that fails."""
    run = subprocess.run(
        [*COMMAND, "package", *arguments, "-o", str(output)],
        cwd=CHECKOUT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    print(run.stdout, run.stderr)
    assert run.returncode == 0, run.stderr


def without_boto3(folder: Path) -> tuple[str, str]:
    """The example's requirements without what is more than half of a package; one kind has it, for all."""
    lines = (CHECKOUT / "example_app" / "requirements.txt").read_text().splitlines()
    file = folder / "requirements.txt"
    file.write_text("".join(f"{line}\n" for line in lines if not line.startswith("boto3")))
    return "--requirements", str(file)


def wrapped(folder: Path, task_root: Path, bootstrap: Path, python: Path) -> Packaged:
    """An exec wrapper. In the place of the emulator's command stands what Lambda has there: a script that runs it."""
    script = folder / "start"
    script.write_text(f'#!/bin/sh\nexec "$AWS_LAMBDA_EXEC_WRAPPER" "{python}" {RUNTIME}\n')
    script.chmod(0o755)
    return Packaged(task_root, [str(bootstrap), str(python), RUNTIME], [str(script)], "")
