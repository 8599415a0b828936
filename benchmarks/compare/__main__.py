"""`python -m benchmarks.compare`: runs the comparison and prints the table. `./scripts/bench` installs what it needs.

Each round starts every runtime once, one after another, in an order that changes from round to round, and takes every
workload's figures; the medians over the rounds stand in the table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import slots_memory
from benchmarks.compare.driver import Driver, Failed
from benchmarks.compare.process import Process
from benchmarks.compare.report import Results, machine, table
from benchmarks.compare.runtimes import RUNTIMES, Runtime, Skipped, environment
from benchmarks.compare.workloads import WORKLOADS, cold
from benchmarks.slots_memory import why_no_aws_client

if TYPE_CHECKING:
    from benchmarks.compare.workloads import Sample


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", action="append", help="runtimes whose name begins so; may be given several times")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="default: %(default)s")
    parser.add_argument("--json", type=Path, default=None, help="write every figure to this file")
    parser.add_argument("--svg", type=Path, default=None, help="draw the picture into this file")
    options = parser.parse_args()
    wanted = tuple(options.only or [""])
    commands = {}
    for runtime in RUNTIMES:
        if runtime.name.startswith(wanted):
            try:
                commands[runtime.name] = (runtime, runtime.command())
            except Skipped as reason:
                print(f"{runtime.name}: skipped: {reason}", flush=True)
    results = Results(list(commands))
    workloads = options.workloads.split(",")
    for number in range(options.rounds):
        order = list(commands.values())
        random.Random(number).shuffle(order)
        for runtime, command in order:
            try:
                for sample in measure(runtime, command, workloads):
                    results.add(runtime.name, sample)
            except Failed as error:
                print(f"{runtime.name}: {error}", file=sys.stderr, flush=True)
                return 1
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    if "memory" in workloads:
        for name, sample in streams(list(commands)):
            results.add(name, sample)
    text = table(results)
    print(f"\n{machine()}\n\n{text}")
    if options.json:
        options.json.write_text(json.dumps(results.values, indent=1, ensure_ascii=False) + "\n")
    if options.svg:
        from benchmarks.compare.picture import draw

        options.svg.write_text(draw(results))
    return 0


def measure(runtime: Runtime, command: list[str], workloads: list[str]) -> list[Sample]:
    """Starts one runtime and takes its figures. Raises Failed."""
    with tempfile.TemporaryDirectory() as folder, Driver() as driver:
        log = Path(folder) / "log"
        env = environment(driver.address, runtime)
        with Process(command, env, Path(env["LAMBDA_TASK_ROOT"]), log) as process:
            try:
                if not runtime.workloads:
                    polled = driver.wait_for_poll()
                    return [_sample("cold poll ms", (polled - process.started) / 1e6)]
                samples = cold(process, driver) if "hello" in runtime.workloads else []
                for name in runtime.workloads:
                    if name in workloads:
                        samples += WORKLOADS[name](process, driver)
            except (Failed, OSError, ValueError) as error:
                raise Failed(f"{error!r}\n{process.output()}") from error
    return samples


def streams(wanted: list[str]) -> list[tuple[str, Sample]]:
    """The memory of 32 open streams on Managed Instances, ours and that of AWS's own runtime client; once."""
    samples = []
    why_not = why_no_aws_client()
    if why_not:
        print(f"awslambdaric, 32 streams: skipped: {why_not}", flush=True)
    for app, ours in (("raw", "asgi-stream, raw"), ("fastapi", "asgi-stream, FastAPI")):
        if ours not in wanted:
            continue
        clients = [(ours, False)] if why_not else [(ours, False), (ours.replace("asgi-stream", "awslambdaric"), True)]
        for name, aws_client in clients:
            measured = asyncio.run(slots_memory.measure(app, aws_client=aws_client))
            samples.append((name, _sample("32 streams MiB", measured.all.pss / 1024)))
            samples.append((name, _sample("times one", measured.growth)))
    return samples


def _sample(name: str, value: float) -> Sample:
    from benchmarks.compare.workloads import Sample

    return Sample(name, value)


if __name__ == "__main__":
    sys.exit(main())
