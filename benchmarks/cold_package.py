"""What the bytecode in a package is worth: the example's cold start from one package, with three kinds of bytecode.

    as made       by `asgi-stream package`: unchecked hashes
    ordinary      as `pip install` leaves it: each module's time and size are compared with its source's
    none          each module is compiled when it is imported, and nothing is kept

The same files otherwise, the same Python, without any package of its own; nothing may write bytecode while the function
runs, as on Lambda. Measured from the start of `bootstrap` to the first poll for an invocation, and, with the event at
hand, to the first byte of a page. Rounds are interleaved. The files are in the machine's cache: on Lambda's own first
start they are not.

    python -m benchmarks.cold_package
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from asgi_stream.local.environment import lambda_environment
from asgi_stream.testing import function_url_event
from benchmarks.runtime_api import RuntimeApi

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKOUT = Path(__file__).parent.parent
HANDLER = "example_app.main:handler"
# The first imports nothing more; the second Jinja, and has a template compiled.
PAGES = {"/hello": b"Hello from", "/chat": b"<!doctype html>"}
LIMIT = 60.0  # seconds that one start may take


class Start(NamedTuple):
    """One cold start, in milliseconds since the process was started."""

    polled: float
    first_byte: float


def make_package(folder: Path) -> Path:
    """Packages the example, with its dependencies from the index, and unpacks it."""
    command = [sys.executable, "-m", "asgi_stream", "package", HANDLER, "-o", str(folder)]
    subprocess.run([*command, "--requirements", "example_app/requirements.txt"], cwd=CHECKOUT, check=True)
    with zipfile.ZipFile(folder / "function.zip") as archive:
        archive.extractall(folder / "as made")
    (folder / "as made" / "asgi_stream" / "bootstrap").chmod(0o755)
    return folder / "as made"


def variants(made: Path, python: Path) -> dict[str, Path]:
    """The package and its two copies, by name."""
    none = Path(shutil.copytree(made, made.with_name("none"), ignore=shutil.ignore_patterns("__pycache__")))
    ordinary = Path(shutil.copytree(none, made.with_name("ordinary")))
    # What does not compile, a template, has no bytecode in the package either.
    subprocess.run([python, "-m", "compileall", "-qq", "--invalidation-mode", "timestamp", ordinary], check=False)
    return {path.name: path for path in (made, ordinary, none)}


async def start(root: Path, python: Path, page: str) -> Start:
    """One cold start: a process, one invocation, the end."""
    event = json.dumps(function_url_event("GET", page)).encode()
    async with RuntimeApi() as api, asyncio.timeout(LIMIT):
        environ = lambda_environment(HANDLER, api.address, {"PATH": "", "TMPDIR": str(root.parent)})
        environ |= {"LAMBDA_TASK_ROOT": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [str(root / "asgi_stream" / "bootstrap"), str(python), "/var/runtime/bootstrap.py"]
        since = time.perf_counter()
        process = await asyncio.create_subprocess_exec(*command, env=environ, cwd=root)
        try:
            await api.polled()
            polled = time.perf_counter()
            invocation = api.invoke(event)
            await invocation.arrived(PAGES[page])
            first_byte = time.perf_counter()
            await invocation.answer()
        finally:
            process.kill()
            await process.wait()
    if api.faults:
        raise RuntimeError(f"the function broke the protocol: {api.faults}")
    return Start((polled - since) * 1000, (first_byte - since) * 1000)


async def measure(roots: dict[str, Path], python: Path, rounds: int) -> dict[tuple[str, str], list[Start]]:
    """The starts by variant and page; each round begins with another variant. The first round is thrown away."""
    found: dict[tuple[str, str], list[Start]] = {(name, page): [] for name in roots for page in PAGES}
    names = list(roots)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            for page in PAGES:
                result = await start(roots[name], python, page)
                if number:
                    found[name, page].append(result)
    return found


def quartiles(values: Sequence[float]) -> str:
    """The median, and the quartiles beside it."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


def report(found: dict[tuple[str, str], list[Start]], names: Sequence[str]) -> str:
    """A table for the documents."""
    lines = [
        "| bytecode | first poll, ms | first byte of `/hello`, ms | first byte of `/chat`, ms |",
        "|---|---|---|---|",
    ]
    for name in names:
        polled = quartiles([start.polled for page in PAGES for start in found[name, page]])
        pages = [quartiles([start.first_byte for start in found[name, page]]) for page in PAGES]
        lines.append(f"| {name} | {' | '.join([polled, *pages])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cold_package", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "bare")], check=True)
        python = folder / "bare" / "bin" / "python3"
        roots = variants(make_package(folder), python)
        found = asyncio.run(measure(roots, python, rounds))
    print(f"\n{rounds} rounds, medians and quartiles; Python {platform.python_version()}, {os.cpu_count()} CPUs\n")
    print(report(found, list(roots)))


if __name__ == "__main__":
    main()
