"""The function's process: started as Lambda starts it, and looked at from outside, by Linux's `/proc`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import asgi_stream
from asgi_stream.local.environment import lambda_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from benchmarks.runtime_api import RuntimeApi

CHECKOUT = Path(__file__).parent.parent
BOOTSTRAP = [str(Path(asgi_stream.__file__).parent / "bootstrap"), sys.executable, "/var/runtime/bootstrap.py"]

# How much of the process's output is kept, from its end, in bytes.
KEPT = 64 * 1024
# What a process may take from SIGTERM to its end, in seconds; it takes milliseconds.
GRACE = 10.0


class Function:
    """A running function. `output` is the end of what it has printed and logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self.output = b""
        self._process = process
        self._news = asyncio.Event()
        self._over = False

    async def stop(self) -> int:
        """Ends the process by SIGTERM; returns its exit code."""
        self._process.terminate()
        return await asyncio.wait_for(self._process.wait(), GRACE)

    async def read(self) -> None:
        """Reads the output, so that the process can go on writing, to its end."""
        assert self._process.stdout is not None
        while data := await self._process.stdout.read(65_536):
            self.output = (self.output + data)[-KEPT:]
            self._news.set()
        self._over = True
        self._news.set()

    async def printed(self, text: bytes, times: int) -> None:
        """Waits until `text` stands so often in the output. Raises AssertionError if the process ends before."""
        while self.output.count(text) < times:
            assert not self._over, self.output.decode(errors="replace")
            self._news.clear()
            await self._news.wait()

    def status(self, name: str) -> int:
        """A number in `/proc/<pid>/status`: "VmRSS" is in KiB, "Threads" counts them."""
        return _number(Path(f"/proc/{self.pid}/status"), name)

    def descriptors(self) -> int:
        """How many are open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def processes(self) -> list[int]:
        """The process ids of the function: its own and those that it has started, which stay in its group."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(int(entry.name)) == self.pid:
                    found.append(int(entry.name))
        return found

    def memory(self, pid: int) -> tuple[int, int]:
        """The resident and the proportional set size of one of the processes, in KiB."""
        path = Path(f"/proc/{pid}/smaps_rollup")
        return _number(path, "Rss"), _number(path, "Pss")


@contextlib.asynccontextmanager
async def function(
    handler: str,
    api: RuntimeApi,
    variables: Mapping[str, str] | None = None,
    command: Sequence[str] = BOOTSTRAP,
) -> AsyncIterator[Function]:
    """Starts `handler` (`module.attribute`) and kills what is left of it in the end.

    `variables` beat those that Lambda sets. `command` is another runtime than the real `bootstrap`.
    """
    env = lambda_environment(handler, api.address, os.environ) | {
        "LAMBDA_TASK_ROOT": str(CHECKOUT),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")])),
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**env, **(variables or {})},
        cwd=CHECKOUT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    running = Function(process)
    tasks = [asyncio.create_task(running.read()), asyncio.create_task(_watch(process, api))]
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.gather(*tasks)


async def _watch(process: asyncio.subprocess.Process, api: RuntimeApi) -> None:
    api.fail(f"the function's process has ended with status {await process.wait()}")


def _number(path: Path, name: str) -> int:
    for line in path.read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise ValueError(f"{path} has no {name}")
