"""The local Lambda as its user runs it: the real command in a child process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

import asgi_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(asgi_stream.__file__).parent.parent
FUNCTIONS = CHECKOUT / "tests" / "local"
COMMAND = [sys.executable, "-m", "asgi_stream"]


class Dev:
    """A running `asgi-stream dev`; `lines` are those of its stdout so far, `errors` of its stderr."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.errors: list[str] = []
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.search(r"http://[^ ]+", first)
        assert found, first
        self.client = httpx.Client(base_url=found[0], timeout=60)
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines))
            for stream, lines in ((process.stdout, []), (process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Iterator[str], lines: list[str]) -> None:
        lines.extend(stream)

    def join(self) -> None:
        """Waits until all output has been read, which is when no process holds it open."""
        for reader in self._readers:
            reader.join()

    def stop(self, number: signal.Signals = signal.SIGINT) -> str:
        """Ends it; returns its stderr."""
        self.process.send_signal(number)
        status = self.process.wait(30)
        self.join()
        errors = "".join(self.errors)
        assert status == 0, errors
        return errors


@contextlib.contextmanager
def dev(*options: str, handler: str = "functions:handler", folder: Path = FUNCTIONS, **variables: str) -> Iterator[Dev]:
    """Runs `asgi-stream dev` in `folder` on a free port."""
    process = subprocess.Popen(
        [*COMMAND, "dev", handler, "--port", "0", *options],
        cwd=folder,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            running = Dev(process)
            try:
                with running.client:
                    yield running
            finally:
                process.terminate()
                # Not before: the end of this block closes the files that they read.
                running.join()
        finally:
            process.terminate()


def environment(**variables: str) -> dict[str, str]:
    """The variables of a command: this checkout is what it runs."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")])),
        **variables,
    }


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
