"""The memory of many open streams on Managed Instances: one, and then as many as there are slots, in the same function.

All responses are open at once: each has sent its first chunk, which has arrived, and waits. Beside asgi-stream the
same handlers run under AWS's own runtime client (`awslambdaric`), which forks a process for each slot and answers in
one piece.

    python -m benchmarks.slots_memory
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import signal
import sys
from typing import TYPE_CHECKING, NamedTuple

from asgi_stream.testing import function_url_event
from benchmarks.function import BOOTSTRAP, function
from benchmarks.runtime_api import RuntimeApi
from benchmarks.slots_apps import FIRST, SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.function import Function

SLOTS = 32
# What all slots may take, as a multiple of what one takes.
MOST = 1.20
APPS = ("raw", "fastapi")


class Memory(NamedTuple):
    """Of all processes of a function together, in KiB.

    `rss` counts a page in each process that has it; `pss` divides a page among the processes that share it, those of
    others too.
    """

    processes: int
    rss: int
    pss: int


class Measured(NamedTuple):
    """A function with one open stream, and with one in each slot."""

    one: Memory
    all: Memory

    @property
    def growth(self) -> float:
        """All slots' memory as a multiple of one's."""
        return self.all.rss / self.one.rss


async def measure(app: str, slots: int = SLOTS, aws_client: bool = False) -> Measured:
    """Runs one of APPS. Raises AssertionError if a stream is not whole in the end."""
    handler = f"benchmarks.slots_apps.{app}"
    command: Sequence[str] = [sys.executable, "-m", "awslambdaric", handler] if aws_client else BOOTSTRAP
    event = json.dumps(function_url_event()).encode()
    async with RuntimeApi() as api:
        variables = {
            "AWS_LAMBDA_MAX_CONCURRENCY": str(slots),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
        }
        if aws_client:
            variables["ASGI_STREAM_INVOKE_MODE"] = "buffered"
        async with function(handler, api, variables, command) as running:
            await api.polled(slots)
            invocations = [api.invoke(event)]
            await running.printed(b"open\n", 1)
            one = _memory(running)
            invocations += [api.invoke(event) for _ in range(slots - 1)]
            await running.printed(b"open\n", slots)
            if not aws_client:
                for invocation in invocations:
                    await invocation.arrived(FIRST)
            measured = Measured(one, _memory(running))
            assert not any(invocation.ended.done() for invocation in invocations)
            for pid in running.processes():
                # The parent of AWS's processes runs no app, and would end of it.
                if not aws_client or pid != running.pid:
                    os.kill(pid, signal.SIGUSR1)
            for invocation in invocations:
                answer = await invocation.answer()
                assert answer.error is None, answer
                assert (json.dumps((FIRST + SECOND).decode()).encode() if aws_client else SECOND) in answer.body
        assert not api.faults, api.faults
    return measured


def _memory(running: Function) -> Memory:
    found = [running.memory(pid) for pid in running.processes()]
    return Memory(len(found), sum(rss for rss, _ in found), sum(pss for _, pss in found))


def why_no_aws_client() -> str | None:
    """Says why AWS's runtime client cannot be measured here; None if it can."""
    if importlib.util.find_spec("awslambdaric") is None:
        return "awslambdaric is not installed"
    if importlib.util.find_spec("awslambdaric.lambda_multi_concurrent_utils") is None:
        return "this awslambdaric knows no Managed Instances: 4.0 is the first that does"
    return None


def main() -> int:
    """Prints a table; returns 1 if a function of ours takes more than it may."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.slots_memory", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--slots", type=int, default=SLOTS)
    slots = parser.parse_args().slots
    if not sys.platform.startswith("linux"):
        print("The memory is read from /proc, which is Linux's: not measured.")
        return 0
    print(f"Python {platform.python_version()}, {platform.system()} {platform.release()}; MiB with 1 and {slots} open")
    print(f"{'':<24}{'processes':>10}{'RSS 1':>10}{'all':>10}{'PSS 1':>10}{'all':>10}{'RSS all/1':>10}")
    grown = False
    for aws_client in (False, True):
        if aws_client and (why_not := why_no_aws_client()):
            print(f"awslambdaric: skipped, {why_not}")
            break
        for app in APPS:
            measured = asyncio.run(measure(app, slots, aws_client))
            name = f"{'awslambdaric' if aws_client else 'asgi-stream'}, {app}"
            one, every = measured
            cells = "".join(f"{value / 1024:>10.1f}" for value in (one.rss, every.rss, one.pss, every.pss))
            print(f"{name:<24}{every.processes:>10}{cells}{measured.growth:>10.3f}", flush=True)
            grown = grown or (not aws_client and measured.growth > MOST)
    if grown:
        print(f"Too much: {slots} open streams may take {MOST} times what one takes.")
    return int(grown)


if __name__ == "__main__":
    sys.exit(main())
