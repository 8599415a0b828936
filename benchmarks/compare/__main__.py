"""`python -m benchmarks.compare`: runs the comparison and prints the table. `./scripts/bench` installs what it needs.

Each round starts every runtime some times for its cold start, and then once more to stay; then it goes from workload to
workload, and in each from runtime to runtime, so that what is compared is measured within seconds. The order changes
from round to round; the medians over the rounds stand in the table.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import slots_memory
from benchmarks.compare.driver import Failed
from benchmarks.compare.report import Results, machine, table
from benchmarks.compare.runtimes import RUNTIMES, Runtime, Skipped, versions
from benchmarks.compare.started import started
from benchmarks.compare.workloads import WORKLOADS, Sample, cold, first_poll
from benchmarks.slots_memory import why_no_aws_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COLDS = 3  # cold starts in a round, of which the median counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 where a runtime has failed; what was measured before is printed and written all the same."""
    parser = argparse.ArgumentParser(prog="benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", action="append", help="runtimes whose name begins so; may be given several times")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="default: %(default)s")
    parser.add_argument("--json", type=Path, default=None, help="write every figure to this file")
    parser.add_argument("--svg", type=Path, default=None, help="draw the picture into this file")
    options = parser.parse_args(arguments)
    workloads = [name for name in options.workloads.split(",") if name]
    if unknown := set(workloads) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    runtimes = []
    for runtime in RUNTIMES:
        if runtime.name.startswith(tuple(options.only or [""])):
            try:
                runtime.command()
            except Skipped as reason:
                print(f"{runtime.name}: skipped: {reason}", flush=True)
            else:
                runtimes.append(runtime)
    if not runtimes:
        parser.error(f"none of the runtimes: {', '.join(runtime.name for runtime in RUNTIMES)}")
    results = Results([runtime.name for runtime in runtimes])
    try:
        compare(results, runtimes, workloads, options.rounds)
        failure = None
    except Failed as error:
        failure = error
    print(f"\n{machine(versions(runtimes))}\n\n{table(results)}")
    if options.json:
        options.json.write_text(json.dumps(results.values, indent=1, ensure_ascii=False) + "\n")
    if options.svg:
        from benchmarks.compare.picture import draw

        options.svg.write_text(draw(results))
    if failure is not None:
        print(f"\nEnded before its time, by a failure of {failure}", file=sys.stderr)
    return 0 if failure is None else 1


def compare(results: Results, runtimes: Sequence[Runtime], workloads: Sequence[str], rounds: int) -> None:
    """Takes all figures of all rounds; those of a round when it is over. Raises Failed."""
    for number in range(rounds):
        order = list(runtimes)
        random.Random(number).shuffle(order)
        for name, sample in list(one_round(order, workloads)):
            results.add(name, sample)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    if "memory" in workloads:
        for name, sample in streams([runtime.name for runtime in runtimes]):
            results.add(name, sample)


def one_round(order: Sequence[Runtime], workloads: Sequence[str]) -> Iterator[tuple[str, Sample]]:
    """Takes all figures of all runtimes. Raises Failed."""
    colds: dict[tuple[str, str], list[float]] = {}
    for _ in range(COLDS):
        for runtime in order:
            if not runtime.workloads or "hello" in runtime.workloads:
                with started(runtime) as one:
                    for sample in one.measure(cold if runtime.workloads else first_poll):
                        colds.setdefault((runtime.name, sample.name), []).append(sample.value)
    for (name, figure), values in colds.items():
        yield name, Sample(figure, statistics.median(values))
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(started(runtime)) for runtime in order if runtime.workloads]
        for one in running:
            one.measure(first_poll)  # what still starts would disturb who is measured first
        for workload in workloads:
            for one in running:
                if workload in one.runtime.workloads:
                    for sample in one.measure(WORKLOADS[workload]):
                        yield one.runtime.name, sample


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
            samples.append((name, Sample("32 streams MiB", measured.all.pss / 1024)))
            samples.append((name, Sample("times one", measured.growth)))
    return samples


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # which ends what was started
    sys.exit(main())
