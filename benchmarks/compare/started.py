"""A runtime, started as Lambda starts it, beside the Runtime API that drives it: for all programs that measure one."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.compare.driver import Driver, Failed
from benchmarks.compare.process import SPINS, Process
from benchmarks.compare.runtimes import Runtime, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.compare.workloads import Sample


class Started(NamedTuple):
    """A runtime, running."""

    runtime: Runtime
    process: Process
    driver: Driver

    def measure(self, workload: Callable[[Process, Driver], list[Sample]]) -> list[Sample]:
        """What one workload has to say. Raises Failed, with the runtime's name and what it has printed."""
        try:
            return workload(self.process, self.driver)
        except (Failed, OSError, ValueError) as error:
            raise Failed(f"{self.runtime.name}: {error!r}\n{self.process.output()}") from error


@contextlib.contextmanager
def started(runtime: Runtime, *, share_cores: bool = False) -> Iterator[Started]:
    """Starts a runtime, and ends it. Where they share cores the driver sleeps between events. Raises Failed."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        driver = stack.enter_context(Driver(spins=SPINS and not share_cores))
        env = environment(driver.address, runtime)
        task_root, log = Path(env["LAMBDA_TASK_ROOT"]), Path(folder) / "log"
        try:
            process = Process(runtime.command(), env, task_root, log, share_cores=share_cores)
        except OSError as error:
            raise Failed(f"{runtime.name}: it cannot be started: {error}") from error
        stack.enter_context(process)
        yield Started(runtime, process, driver)
