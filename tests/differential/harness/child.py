"""One package on one target, in a process that has imported nothing else: sends its requests, writes its recording.

    python -m tests.differential.harness.child PACKAGE TARGET FILE

The process stands in an empty folder of its own, into which it puts the files that apps serve. Packages patch each
other, keep global settings and cannot be imported twice: so each has a process for each target.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import json
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from asgi_stream import StreamingAdapter
from asgi_stream.testing import LambdaTransport
from tests.differential.harness.breaks import break_adapter
from tests.differential.harness.client import LambdaClient, SocketClient
from tests.differential.harness.outcomes import Outcomes
from tests.differential.harness.packages import find_packages
from tests.differential.harness.targets import BUFFERED, EVENTS, REFERENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.differential.harness.client import Client
    from tests.differential.harness.records import Recording

    Requests = Callable[[Client], Awaitable[None]]

# All files have the same time of change, so that what is made of it (ETag, Last-Modified) is the same in each process.
CHANGED = 1_700_000_000

# Of a function whose deadline a test waits for, in seconds.
SHORT_TIMEOUT = 2

LONG = 150.0  # seconds, after which a child that hangs shows where


def main(name: str, target: str, path: str) -> int:
    """Runs the requests and writes the recording. Returns the exit code."""
    write_files(Path.cwd())
    package = find_packages()[name]
    if target in ("local", "deadline"):
        recording = run_local(package.module, target)
    else:
        module = importlib.import_module(package.module)
        if target == REFERENCE:
            recording = run_uvicorn(module.app, module.requests)
        else:
            recording = asyncio.run(run_transport(module.app, module.requests, target))
    Path(path).write_text(json.dumps(recording.to_json()), encoding="utf-8")
    return 0


def write_files(folder: Path) -> None:
    """Puts what apps serve into a folder: a text, a script, a binary file of 300,000 bytes."""
    static = folder / "static"
    static.mkdir()
    (static / "hello.txt").write_text("hello\n" * 300)
    (static / "app.js").write_text("console.log('hello');\n" * 200)
    (static / "data.bin").write_bytes(bytes(byte * 7 % 251 for byte in range(300_000)))
    for each in static.iterdir():
        os.utime(each, (CHANGED, CHANGED))


async def record(client: Client, requests: Requests) -> Recording:
    """Runs a package's requests on this event loop."""
    await requests(client)
    await client.gate.stop()
    return client.recording


def run_uvicorn(app: Any, requests: Requests) -> Recording:
    """The app under uvicorn in the main thread, where a server runs; its client in another."""
    outcomes = Outcomes(app)
    config = uvicorn.Config(outcomes, port=0, loop="asyncio", http="httptools", log_level="critical", lifespan="auto")
    server = _Server(config)
    result: list[Recording | BaseException] = []

    def drive() -> None:
        try:
            server.ready.wait()
            port = server.servers[0].sockets[0].getsockname()[1]
            result.append(asyncio.run(_drive(port, requests, outcomes)))
        except BaseException as error:
            result.append(error)
        finally:
            server.should_exit = True

    thread = threading.Thread(target=drive, daemon=True)
    thread.start()
    server.run()
    server.ready.set()
    thread.join()
    return _result(result)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()


async def _drive(port: int, requests: Requests, outcomes: Outcomes | None) -> Recording:
    client = SocketClient(port, outcomes)
    await client.gate.start()
    return await record(client, requests)


def _result(result: list[Recording | BaseException]) -> Recording:
    (only,) = result
    if isinstance(only, BaseException):
        raise only
    return only


async def run_transport(app: Any, requests: Requests, target: str) -> Recording:
    """The app through the events of a source, in this process."""
    events, settings = EVENTS[target]
    function = StreamingAdapter(app, **settings) if settings else app
    transport = LambdaTransport(function, source=events, raise_app_exceptions=False)
    client = LambdaClient(transport, buffered=target in BUFFERED)
    await client.gate.start()
    async with transport:
        return await record(client, requests)


def run_local(module: str, target: str) -> Recording:
    """The app in a function's process, below `asgi-stream dev`."""
    # Before the function does, for both may have to make the same database; and not on an event loop.
    file = importlib.import_module(module)
    return asyncio.run(_drive_local(module, file.at_the_deadline if target == "deadline" else file.requests, target))


async def _drive_local(module: str, requests: Requests, target: str) -> Recording:
    client = SocketClient(0)
    await client.gate.start()  # its port is in the environment of the function's process
    timeout = SHORT_TIMEOUT if target == "deadline" else 60
    # One environment: an app that counts in memory does so for all requests, as under uvicorn.
    command = [sys.executable, "-m", "asgi_stream", "dev", f"{module}:app", "--port", "0", "--concurrency", "1"]
    command += ["--timeout", str(timeout)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    terminal = Terminal(process)
    try:
        address = await terminal.line(r"http://127\.0\.0\.1:(\d+)")
        client.connect(int(address[1]))
        client.ended = terminal.request_ended
        recording = await record(client, requests)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        await process.wait()
        text = await terminal.rest()
        print(text, flush=True)
    if target == "deadline":
        recording.notes.append(("terminal", text))
    return recording


class Terminal:
    """What `asgi-stream dev` prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._text = ""
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read(process.stdout))

    async def _read(self, stdout: asyncio.StreamReader | None) -> None:
        assert stdout is not None
        line = "\n"
        while line:
            line = (await stdout.readline()).decode(errors="replace")
            self._text += line
            self._lines.put_nowait(line)

    async def line(self, pattern: str) -> re.Match[str]:
        """Waits for the next line that has the pattern."""
        while line := await self._lines.get():
            if found := re.search(pattern, line):
                return found
        raise EOFError(self._text)

    async def request_ended(self) -> None:
        """Waits for the line that the front end prints when the function has ended its response.

        The client of a HEAD, or of a status without a body, has its response before.
        """
        await self.line(r" \d+ B \d+\.\d+ s$")

    async def rest(self) -> str:
        """Everything, after the process has ended."""
        await self._reading
        return self._text


if __name__ == "__main__":
    faulthandler.dump_traceback_later(LONG, exit=True)
    if name := os.environ.get("DIFFERENTIAL_BREAK"):
        break_adapter(name)
    sys.exit(main(*sys.argv[1:]))
