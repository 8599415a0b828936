"""What a large file costs, in messages of the app and by `pathsend`: `python -m benchmarks.files`.

200 MB, whose pages the system has in memory, by FastAPI's FileResponse through the real runtime. The two settings take
turns; time and CPU time are for the whole response, and the memory is what the process has grown by at its peak.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
from typing import TYPE_CHECKING

from benchmarks.compare.driver import Failed
from benchmarks.compare.report import machine
from benchmarks.compare.runtimes import named
from benchmarks.compare.started import started
from benchmarks.compare.workloads import event

if TYPE_CHECKING:
    from benchmarks.compare.started import Started

SIZE = 200_000_000
SETTINGS = ("off", "on")


def measure(one: Started) -> tuple[float, float, float]:
    """Milliseconds, milliseconds of CPU, and KiB that the process grew by, for one response."""
    process, driver = one.process, one.driver
    pids = process.pids()
    driver.wait_for_poll()
    process.forget_peak()
    before = process.cpu(pids)
    resident = process.memory("VmRSS")
    answer = driver.invoke(event("/"), keep=False)
    driver.wait_for_poll()
    if not answer.size > SIZE:
        raise Failed(f"{answer.size} bytes came: {process.output()}")
    return answer.milliseconds, (process.cpu(pids) - before) / 1e6, process.memory("VmHWM") - resident


def main() -> None:
    """Prints one line for each setting: medians, and the most of the memory."""
    parser = argparse.ArgumentParser(prog="benchmarks.files")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(tempfile.NamedTemporaryFile())
        for _ in range(SIZE // 1_000_000):
            file.write(os.urandom(1_000_000))
        file.flush()
        functions = {}
        for setting in SETTINGS:
            variables = {
                "_HANDLER": "benchmarks.files_app.handler",
                "ASGI_STREAM_PATHSEND": setting,
                "FILE": file.name,
            }
            functions[setting] = stack.enter_context(started(named("asgi-stream, raw")._replace(variables=variables)))
        found: dict[str, list[tuple[float, float, float]]] = {setting: [] for setting in SETTINGS}
        for number in range(rounds + 2):  # two that warm up
            for setting in SETTINGS:
                figures = measure(functions[setting])
                if number >= 2:
                    found[setting].append(figures)
    print(f"{machine()}\n\n| pathsend | ms | CPU ms | growth KiB |\n|---|---|---|---|")
    for setting, rows in found.items():
        took, spent, grown = zip(*rows, strict=True)
        print(f"| {setting} | {statistics.median(took):.0f} | {statistics.median(spent):.0f} | {max(grown):,.0f} |")


if __name__ == "__main__":
    main()
