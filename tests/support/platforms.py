"""What can run the real ``bootstrap``: one interface over our own Runtime API server and AWS's emulator.

What processes log goes on to the test run's own standard error: pytest captures it with the test that was running, and
prints it if that fails.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from asgi_stream.local.environment import lambda_environment
from asgi_stream.local.function_error import FunctionError
from asgi_stream.local.runtime_api import RuntimeApiServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REPO = Path(__file__).resolve().parent.parent.parent
BOOTSTRAP = REPO / "asgi_stream" / "bootstrap"

# Bounds of waits that end much earlier, in seconds.
INVOCATION_LIMIT = 20.0
GRACE = 3.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the invoker gets. None stands for what this platform does not show, or for what there was none of.

    ``body`` is the stream verbatim (prelude, NULs, body). ``error`` is the reported JSON object, ``error_type`` what
    the platform counts by. ``chunks`` has an entry for each HTTP chunk; ``reported_by`` is ``"error"`` for a POST to
    /error or /init/error, ``"response"`` for trailers.
    """

    body: bytes
    error: Mapping[str, Any] | None
    error_type: str | None = None
    mode: str | None = None
    content_type: str | None = None
    chunks: Sequence[bytes] | None = None
    reported_by: str | None = None
    request_id: str | None = None


class Platform(Protocol):
    """A started platform. The properties say what its invoker can see of a response that ends in an error."""

    @property
    def shows_broken_body(self) -> bool:
        """True if the body that precedes error trailers arrives."""
        ...

    @property
    def shows_trailers(self) -> bool:
        """True if the error in the trailers arrives."""
        ...

    @property
    def shows_error_type(self) -> bool:
        """True if the platform's own error type arrives."""
        ...

    @property
    def longest_deadline_ms(self) -> int | None:
        """The time that an invocation has; None where the platform gives a deadline that means nothing."""
        ...

    @property
    def output(self) -> Output:
        """What the function and the platform's own processes log."""
        ...

    async def invoke(self, event: bytes) -> Outcome:
        """Runs one invocation to its end."""
        ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...


class Output:
    """What a child process and its children have written to stdout and stderr; ``text`` is all of it so far."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self.text = ""
        self._ended = False
        self._grown = asyncio.Event()
        self._reading = asyncio.create_task(self._read(stream))

    async def _read(self, stream: asyncio.StreamReader) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while data := await stream.read(65_536):
            text = decoder.decode(data)
            self.text += text
            sys.stderr.write(text)
            self._grown.set()
        self._ended = True
        self._grown.set()

    async def wait_for(self, text: str, since: int = 0) -> None:
        """Waits until ``text`` has been written behind the first ``since`` characters."""
        async with asyncio.timeout(INVOCATION_LIMIT):
            while self.text.find(text, since) < 0:
                assert not self._ended, f"the output has ended without {text!r}"
                self._grown.clear()
                await self._grown.wait()

    async def end(self) -> None:
        """Waits until no process is left that could write."""
        await self._reading


class Session:
    """A child process in a session of its own, so that whatever it starts can be found and ended with it."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self._process = process
        self.output = Output(process.stdout)

    @classmethod
    async def start(cls, argv: Sequence[str | Path], env: Mapping[str, str], cwd: Path) -> Self:
        process = await asyncio.create_subprocess_exec(
            *argv, env=env, cwd=cwd, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True
        )
        return cls(process)

    @property
    def lives(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """Returns the exit status of the first process."""
        return await self._process.wait()

    async def end(self) -> None:
        """SIGTERM for the first process, SIGKILL for what is left after it. Raises AssertionError if that stays."""
        if self.lives:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), GRACE)
        async with asyncio.timeout(INVOCATION_LIMIT):
            while members := self._members():
                for pid in members:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.sleep(0.01)
            await self.output.end()
        await self._process.wait()

    def _members(self) -> list[int]:
        """The live processes of the session: the emulator puts its child into a group of its own."""
        if not Path("/proc/self/stat").exists():
            return [self._process.pid] if self.lives else []
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # pid (name) state ppid pgrp session …; the name may hold anything.
                state, _, _, session = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:4]
                if int(session) == self._process.pid and state != "Z":
                    found.append(int(stat.parent.name))
        return found


class OwnPlatform:
    """Our Runtime API server, and ``bootstrap`` started as Lambda starts an exec wrapper. Shows everything.

    ``command`` is what to start in its place, ``environ`` what the process inherits, this one's environment if None.
    """

    shows_broken_body = True
    shows_trailers = True
    shows_error_type = True
    longest_deadline_ms: int | None = 900_000

    def __init__(
        self,
        handler: str,
        task_root: Path = REPO,
        command: Sequence[str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._handler = handler
        self._environ = os.environ if environ is None else environ
        self._task_root = task_root
        self._command = command or [str(BOOTSTRAP), sys.executable, "/var/runtime/bootstrap.py"]
        self._api = RuntimeApiServer()
        self._session: Session | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._api.start()
        env = lambda_environment(self._handler, self._api.address, self._environ)
        env["LAMBDA_TASK_ROOT"] = str(self._task_root)
        try:
            self._session = await Session.start(self._command, env, self._task_root)
        except BaseException:
            await self._api.close()
            raise
        self._watcher = asyncio.create_task(self._watch(self._session))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.end()
        if self._watcher is not None:
            await self._watcher
        await self._api.close()

    async def _watch(self, session: Session) -> None:
        status = await session.wait()
        self._api.fail(FunctionError("Runtime.ExitError", {"errorMessage": f"the process ended with status {status}"}))

    async def invoke(self, event: bytes) -> Outcome:
        async with asyncio.timeout(INVOCATION_LIMIT):
            invocation = await self._api.invoke(event)
            collected = await invocation.collect()
        return Outcome(
            body=collected.body,
            error=collected.error,
            error_type=collected.error_type,
            mode=collected.mode,
            content_type=collected.content_type,
            chunks=collected.chunks,
            reported_by=collected.reported_by,
            request_id=invocation.request_id,
        )

    @property
    def output(self) -> Output:
        assert self._session is not None
        return self._session.output

    async def exit_status(self) -> int:
        """Waits for the function's process to end by itself."""
        assert self._session is not None
        async with asyncio.timeout(INVOCATION_LIMIT):
            return await self._session.wait()
