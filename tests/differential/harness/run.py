"""Runs a package on a target in a child process, once for each pair and process of the tests."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.differential.harness.network import QUIET
from tests.differential.harness.records import Recording

__all__ = ["ChildFailed", "end_group", "run"]

CHECKOUT = Path(__file__).resolve().parents[3]
# Seconds, for a child that hangs and has not shown where after its own limit. Twice as much is less than the time that
# a test has.
TIME_LIMIT = 120

# An app's own settings of the adapter must not decide what is compared.
PREFIX = "ASGI_STREAM_"


class ChildFailed(AssertionError):
    """The requests of a package could not be sent: says what the child wrote."""


@functools.cache
def run(name: str, target: str, fault: str = "") -> Recording:
    """Returns what the client saw. ``fault`` is a name of `harness/breaks.py`. Raises ChildFailed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)} | QUIET
    environment |= {"PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": "0"}
    if fault:
        environment["DIFFERENTIAL_BREAK"] = fault
    folder = Path(_root()) / name
    shutil.rmtree(folder, ignore_errors=True)
    work, temporary = folder / "work", folder / "tmp"
    work.mkdir(parents=True)
    temporary.mkdir()
    file, log = folder / "recording.json", folder / "log"
    command = [sys.executable, "-m", "tests.differential.harness.child", name, target, str(file)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=environment | {"HOME": str(folder), "TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
        try:
            code = process.wait(TIME_LIMIT)
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"{name} on {target} took more than {TIME_LIMIT} s:\n{_end(log)}") from None
        finally:
            end_group(process)
    if code or not file.exists():
        raise ChildFailed(f"{name} on {target} failed with exit code {code}:\n{_end(log)}")
    return Recording.from_json(json.loads(file.read_text(encoding="utf-8")))


@functools.cache
def _root() -> str:
    """A folder of this process. Each package has the same one below it for all targets: paths get into ETags."""
    folder = tempfile.mkdtemp(prefix="differential-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a child that still runs, and what it has left: `asgi-stream dev`, which ends its function on SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + 5
        while time.monotonic() < until:
            process.poll()  # a process that has ended is in its group until then
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                return
            time.sleep(0.05)


def _end(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-6000:]
