"""Where a cold start's imports take their time, by Python's own `-X importtime`: Python and asyncio, the app, ours.

    ./scripts/bench imports

Each start is a real one: `bootstrap`, the Runtime API, up to the first poll. What is counted is the time in each module
itself, without those that it imports; importtime makes all of them a little slower.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

from benchmarks.compare.report import machine, number
from benchmarks.compare.runtimes import CHECKOUT, named
from benchmarks.compare.started import started

if TYPE_CHECKING:
    from collections.abc import Mapping

PYTHON, APP, OURS, FOR_US = "Python and asyncio", "the app and its framework", "asgi_stream", "what only we import"
GROUPS = (PYTHON, APP, OURS, FOR_US)
APPS = {
    "asgi-stream, raw": "benchmarks.compare.apps.raw",
    "asgi-stream, FastAPI": "benchmarks.compare.apps.with_fastapi",
}


def start(name: str) -> dict[str, float]:
    """One cold start: the microseconds in each module."""
    runtime = named(name)
    with started(runtime._replace(variables=runtime.variables | {"PYTHONPROFILEIMPORTTIME": "1"})) as one:
        one.driver.wait_for_poll()
        return read(one.process.printed())


def read(log: str) -> dict[str, float]:
    """The microseconds in each module, from what `-X importtime` prints."""
    times = {}
    for line in log.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and len(parts) == 3 and parts[0].strip().isdigit():
            times[parts[2].strip()] = float(parts[0])
    return times


def imported_by(code: str) -> set[str]:
    """The modules of a Python that has run this."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    return set(run.stdout.split())


def grouped(times: Mapping[str, float], python: set[str], app: set[str], ours: set[str]) -> Counter[str]:
    """The microseconds of each of GROUPS."""
    found: Counter[str] = Counter()
    for module, microseconds in times.items():
        if module.startswith("asgi_stream"):
            group = OURS
        elif module in python:
            group = PYTHON
        else:
            # What frameworks ask for and do not find is the app's too.
            group = FOR_US if module in ours - app else APP
        found[group] += microseconds  # type: ignore[assignment]  # a Counter may hold any number
    return found


def main(arguments: list[str] | None = None) -> int:
    """Prints a table of the groups, and our own slowest modules."""
    parser = argparse.ArgumentParser(prog="benchmarks.compare.imports", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args(arguments).rounds
    python = imported_by("import asyncio")
    for_us = imported_by("import asgi_stream.runtime.bootstrap, asgi_stream.adapter")
    print(f"{machine()}\n\n| ms | {' | '.join(GROUPS)} |\n|---|{'---|' * len(GROUPS)}")
    slowest: dict[str, list[float]] = {}
    for name, module in APPS.items():
        app = imported_by(f"import asyncio, {module}")
        found = []
        for _ in range(rounds):
            times = start(name)
            found.append(grouped(times, python, app, for_us))
            for one, microseconds in times.items():
                slowest.setdefault(one, []).append(microseconds)
        cells = [number(statistics.median(groups[group] for groups in found) / 1e3) for group in GROUPS]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    ours = {one: statistics.median(values) for one, values in slowest.items() if one.startswith("asgi_stream")}
    first = sorted(ours, key=lambda one: -ours[one])[:8]
    print(
        f"\nOf {len(ours)} modules of ours the slowest, in µs: {', '.join(f'{one} {ours[one]:.0f}' for one in first)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
