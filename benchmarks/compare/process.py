"""What a function's processes cost: CPU time in nanoseconds and memory in KiB, by Linux's `/proc`.

CPU is user and system time of every thread of every process in the function's group, from `schedstat`, which counts
nanoseconds; the ticks of `stat` are 10 ms.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The driver has one core, the function all the others: on a machine of two it has one, as on Lambda with 1,769 MB.
ALL_CORES = os.sched_getaffinity(0)
SPINS = len(ALL_CORES) > 1
DRIVERS_CORES = {min(ALL_CORES)} if SPINS else ALL_CORES
FUNCTIONS_CORES = ALL_CORES - DRIVERS_CORES or ALL_CORES


class Process:
    """A started function, on cores that are not the driver's unless they share; what it prints goes to `log`."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path, *, share_cores: bool = False
    ) -> None:
        self._log = log
        with log.open("wb") as output:
            if not share_cores:
                os.sched_setaffinity(0, FUNCTIONS_CORES)  # which the function inherits
            self.started = time.monotonic_ns()
            try:
                self._process = subprocess.Popen(
                    command,
                    env=env,
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except BaseException:
                os.sched_setaffinity(0, ALL_CORES)
                raise
            if not share_cores:
                os.sched_setaffinity(0, DRIVERS_CORES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.sched_setaffinity(0, ALL_CORES)

    def printed(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    def output(self) -> str:
        """The end of what it has printed."""
        return self.printed()[-2000:]

    def pids(self) -> list[int]:
        """The processes of its group."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(ProcessLookupError):
                    if os.getpgid(int(entry)) == self._process.pid:
                        found.append(int(entry))
        return found

    def cpu(self, pids: Sequence[int]) -> int:
        """CPU time so far, in nanoseconds."""
        total = 0
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    total += int((task / "schedstat").read_text().split()[0])
        return total

    def memory(self, name: str) -> int:
        """The sum over its processes of "VmRSS" (now) or "VmHWM" (the most since :meth:`forget_peak`), in KiB."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith(f"{name}:"):
                        total += int(line.split()[1])
        return total

    def forget_peak(self) -> None:
        """Begins a new peak."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")
