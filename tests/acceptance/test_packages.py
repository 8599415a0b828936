"""A package made from the example, unpacked into an empty folder, answers all four uses with nothing else in reach.

Started the way each packaging is started, on the local Runtime API server and on AWS's emulator, by a Python without
any package; the process inherits nothing of this one's environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from tests.acceptance.conftest import HANDLER, Packaged
from tests.acceptance.uses import NUMBERS, Site, all_uses, start_page
from tests.example.conftest import BUCKET, TABLE, options
from tests.support.emulator import EmulatorPlatform, why_no_emulator
from tests.support.platforms import OwnPlatform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def started(
    packaged: Packaged, platform: type[OwnPlatform | EmulatorPlatform], folder: Path, **variables: str
) -> AsyncIterator[OwnPlatform | EmulatorPlatform]:
    """Starts the function. `folder` is where it may write, as Lambda's /tmp."""
    environ = {
        "PATH": packaged.path,
        "TMPDIR": str(folder),
        "EXAMPLE_STREAM_SECONDS": "0",
        "EXAMPLE_TOKEN_SECONDS": "0",
    }
    command = packaged.command
    if platform is EmulatorPlatform:
        command = packaged.emulated
        environ |= {"_HANDLER": HANDLER.replace(":", "."), "AWS_LAMBDA_EXEC_WRAPPER": packaged.command[0]}
    async with platform(HANDLER, packaged.task_root, command, {**environ, **variables}) as running:
        yield running


def site(running: OwnPlatform | EmulatorPlatform) -> Site:
    async def invoke(event: bytes) -> bytes:
        outcome = await running.invoke(event)
        assert outcome.error is None, outcome.error
        return outcome.body

    return Site(invoke)


async def test_all_four_uses_on_the_local_runtime_api(packaged: Packaged, tmp_path: Path) -> None:
    async with started(packaged, OwnPlatform, tmp_path) as running:
        await all_uses(site(running), whole_file=True)


async def test_all_four_uses_on_the_emulator(packaged: Packaged, tmp_path: Path) -> None:
    if reason := why_no_emulator():
        pytest.skip(reason)
    async with started(packaged, EmulatorPlatform, tmp_path) as running:
        await all_uses(site(running), whole_file=False)  # it holds 6 MiB


def imported(running: OwnPlatform | EmulatorPlatform) -> list[str]:
    """The files as Python tells them: in quotes bytecode and libraries, without a source that was compiled just now."""
    return re.findall(r"^# (?:code object|extension module '\S+' loaded) from (.+)$", running.output.text, re.MULTILINE)


@pytest.mark.parametrize("packaged", ["zip"], indirect=True)
async def test_what_is_imported_for_all_four_uses(packaged: Packaged, tmp_path: Path, cloud: dict[str, str]) -> None:
    """With DynamoDB and S3, as on AWS: the package's own boto3, and everything else of the package by its bytecode."""
    with contextlib.closing(boto3.client("s3", **options(cloud))) as s3:
        s3.put_object(Bucket=BUCKET, Key="numbers.txt", Body=NUMBERS)
    variables = {**cloud, "EXAMPLE_TABLE": TABLE, "EXAMPLE_BUCKET": BUCKET, "PYTHONVERBOSE": "1"}
    async with started(packaged, OwnPlatform, tmp_path, **variables) as running:
        await all_uses(site(running), whole_file=True)
    await running.output.end()
    assert os.listdir(tmp_path) == []  # nothing of SQLite's or of the folder's
    told = imported(running)
    root = packaged.task_root
    own = {name.strip("'") for name in told if name.strip("'").startswith(f"{root}/")}
    assert {Path(name).relative_to(root).parts[0] for name in own} >= {
        "asgi_stream",
        "boto3",
        "botocore",
        "example_app",
        "fastapi",
        "jinja2",
        "pydantic_core",
        "starlette",
    }
    assert [name for name in told if not name.startswith("'") and name in own] == []
    # Nothing else but the standard library.
    stdlib = sysconfig.get_path("stdlib")
    others = {name.strip("'") for name in told} - own
    assert {name for name in others if not name.startswith(f"{stdlib}/") or "-packages/" in name} == set()


@pytest.mark.parametrize("packaged", ["provided"], indirect=True)
async def test_the_python_that_comes_along_needs_nothing_of_the_machine(packaged: Packaged, tmp_path: Path) -> None:
    async with started(packaged, OwnPlatform, tmp_path, PYTHONVERBOSE="1") as running:
        await start_page(site(running))
    await running.output.end()
    told = imported(running)
    assert f"'{packaged.task_root}/jinja2/__pycache__/__init__.{sys.implementation.cache_tag}.pyc'" in told
    assert [name for name in told if not name.startswith(f"'{packaged.task_root}/")] == []
