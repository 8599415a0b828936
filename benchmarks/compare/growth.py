"""What an invocation and a message cost as there are more of them: it should be the same. Ours alone, the raw app.

    ./scripts/bench growth

A message's cost is that of a response without its invocation's, which is measured beside it by a response of none.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.compare.driver import Failed
from benchmarks.compare.report import machine, number
from benchmarks.compare.runtimes import named
from benchmarks.compare.started import started
from benchmarks.compare.workloads import event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.compare.driver import Driver
    from benchmarks.compare.process import Process

OURS, SHARING = "asgi-stream, raw", "asgi-stream, raw, sharing"
SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
MESSAGES = 20_000  # so many for a figure at least
BLOCK = 2_000  # invocations
BEFORE = (0, 10_000, 100_000)
SLOTS = (1, 8, 32)


@contextmanager
def function(name: str, slots: int | None = None) -> Iterator[tuple[Process, Driver]]:
    """A function of ours, waiting for its first event."""
    runtime = named(name)
    if slots is not None:
        variables = {
            "AWS_LAMBDA_MAX_CONCURRENCY": str(slots),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
        }
        runtime = runtime._replace(variables=runtime.variables | variables)
    with started(runtime) as (_, process, driver):
        try:
            driver.wait_for_poll(slots=slots or 1)
            yield process, driver
        except Failed as error:
            raise Failed(f"{error}\n{process.output()}") from error


def _cost(process: Process, driver: Driver, path: str, times: int) -> tuple[float, float]:
    """The median time of a response and its mean CPU time, both in microseconds."""
    pids = process.pids()
    driver.wait_for_poll()
    before = process.cpu(pids)
    took = [driver.invoke(event(path), keep=False).milliseconds for _ in range(times)]
    driver.wait_for_poll()
    return statistics.median(took) * 1e3, (process.cpu(pids) - before) / times / 1e3


def messages(name: str, rounds: int) -> list[tuple[float, float]]:
    """For each of SIZES what a message costs in microseconds: time, and CPU time."""
    found: list[list[tuple[float, float]]] = [[] for _ in SIZES]
    with function(name) as (process, driver):
        _cost(process, driver, "/burst/100", 50)
        for _ in range(rounds):
            for size, costs in zip(SIZES, found, strict=True):
                times = max(1, MESSAGES // size)
                without = _cost(process, driver, "/burst/0", min(times, 200))
                whole = _cost(process, driver, f"/burst/{size}", times)
                costs.append(((whole[0] - without[0]) / size, (whole[1] - without[1]) / size))
    return [(_median(costs, 0), _median(costs, 1)) for costs in found]


def invocations() -> list[tuple[float, float, float]]:
    """What `hello` costs after so many as BEFORE says: µs, µs of CPU, and the memory then, in KiB."""
    found: list[tuple[float, float, float]] = []
    done = 0
    asked = event("/hello")
    with function(OURS) as (process, driver):
        driver.invoke_many(asked, 500, 1)
        for before in BEFORE:
            driver.invoke_many(asked, max(1, before - done), 1, seconds=600)
            done = before + BLOCK
            found.append((*_cost(process, driver, "/hello", BLOCK), process.memory("VmRSS")))
    return found


def slots(rounds: int) -> list[tuple[float, float, float]]:
    """`hello` with so many of SLOTS busy: invocations in a second, µs of CPU for each, and the memory, in KiB."""
    found: list[list[tuple[float, float, float]]] = [[] for _ in SLOTS]
    for _ in range(rounds):
        for count, figures in zip(SLOTS, found, strict=True):
            with function(OURS, count) as (process, driver):
                driver.invoke_many(event("/hello"), 500, count)
                driver.wait_for_poll(slots=count)
                pids = process.pids()
                before = process.cpu(pids)
                answers = driver.invoke_many(event("/hello"), BLOCK, count)
                driver.wait_for_poll(slots=count)
                seconds = (max(answer.ended for answer in answers) - min(answer.asked for answer in answers)) / 1e9
                spent = (process.cpu(pids) - before) / BLOCK / 1e3
                figures.append((BLOCK / seconds, spent, process.memory("VmRSS")))
    return [(_median(figures, 0), _median(figures, 1), _median(figures, 2)) for figures in found]


def _median(rows: Sequence[tuple[float, ...]], at: int) -> float:
    return statistics.median(row[at] for row in rows)


def main(arguments: list[str] | None = None) -> int:
    """Prints three tables."""
    parser = argparse.ArgumentParser(prog="benchmarks.compare.growth", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(arguments).rounds
    print(f"{machine()}\n")
    print("| messages | µs each | CPU µs each | sharing: µs each | CPU µs each |\n|---|---|---|---|---|", flush=True)
    for size, plain, shared in zip(SIZES, messages(OURS, rounds), messages(SHARING, rounds), strict=True):
        print(f"| {size:,} | {' | '.join(map(number, (*plain, *shared)))} |")
    print("\n| `hello`, after invocations | µs each | CPU µs each | resident KiB |\n|---|---|---|---|", flush=True)
    for before, row in zip(BEFORE, invocations(), strict=True):
        print(f"| {before:,} | {' | '.join(map(number, row))} |")
    print("\n| `hello`, slots busy | in a second | CPU µs each | resident KiB |\n|---|---|---|---|", flush=True)
    for count, row in zip(SLOTS, slots(rounds), strict=True):
        print(f"| {count} | {' | '.join(map(number, row))} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
