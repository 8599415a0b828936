"""An execution environment: a Runtime API server of its own, and the function as a child process.

The child is started as Lambda's exec wrapper is (`bootstrap /path/to/python /var/runtime/bootstrap.py`), in a
session of its own: Ctrl-C in the terminal reaches only this process, which then ends its children in good
order. A child whose parent was killed outright loses its connection to the Runtime API, and exits by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from asgi_stream.local.function_error import FunctionError
from asgi_stream.local.function_url import REGION
from asgi_stream.local.handler import lambda_handler
from asgi_stream.local.lifecycle import State
from asgi_stream.local.limits import INIT_LIMIT, LONGEST_TIMEOUT, SHUTDOWN_LIMIT
from asgi_stream.local.runtime_api import TIMED_OUT, RuntimeApiServer
from asgi_stream.local.terminal import warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_stream.local.invocation import Invocation

BOOTSTRAP = Path(__file__).parent.parent / "bootstrap"
FUNCTION_NAME = "local"
FUNCTION_ARN = f"arn:aws:lambda:{REGION}:000000000000:function:{FUNCTION_NAME}"

# What a child has between SIGTERM and SIGKILL where it has not timed out: more than Lambda gives. Seconds.
GRACE = 2.0

# Of the surrounding shell, or of a Lambda around us: they would change what kind of environment the child
# believes in.
_NOT_INHERITED = ("AWS_LAMBDA_MAX_CONCURRENCY", "AWS_LAMBDA_EXEC_WRAPPER", "AWS_EXECUTION_ENV")


def lambda_environment(handler: str, runtime_api: str, base: Mapping[str, str]) -> dict[str, str]:
    """Returns the child's environment: `base` (the user's, with credentials) and what Lambda sets.

    Source: the Lambda developer guide, "Defined runtime environment variables".
    """
    environment = {name: value for name, value in base.items() if name not in _NOT_INHERITED}
    region = base.get("AWS_REGION") or base.get("AWS_DEFAULT_REGION") or REGION
    environment.setdefault("AWS_REGION", region)
    environment.setdefault("AWS_DEFAULT_REGION", region)
    return environment | {
        "_HANDLER": lambda_handler(handler),
        "LAMBDA_TASK_ROOT": str(Path.cwd()),
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_LAMBDA_FUNCTION_NAME": FUNCTION_NAME,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{FUNCTION_NAME}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{datetime.now(UTC):%Y/%m/%d}/[$LATEST]{secrets.token_hex(16)}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "PYTHONUNBUFFERED": "1",
        # Not one of Lambda's: log records are for people here, so tracebacks keep their line feeds.
        "_ASGI_STREAM_LOCAL": "1",
    }


class Environment:
    """`async with Environment("example_app.main:handler") as environment:` starts the child, and ends it.

    `timeout` is the function's, in seconds. `bootstrap` is the executable to start, the shipped one if None; `environ`
    what the child inherits, `os.environ` if None; `stdout` the descriptor for its standard output, ours if None. Raises
    ValueError if `handler` names no attribute of a module.
    """

    def __init__(
        self,
        handler: str,
        *,
        timeout: float = LONGEST_TIMEOUT,
        bootstrap: Path | None = None,
        environ: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> None:
        self._handler = lambda_handler(handler)
        self._timeout = timeout
        self._bootstrap = bootstrap or BOOTSTRAP
        self._environ = os.environ if environ is None else environ
        self._stdout = stdout
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._init_timer: asyncio.TimerHandle | None = None
        self.api = RuntimeApiServer()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def pid(self) -> int | None:
        """The child's process id, None if it could not be started."""
        return self._process.pid if self._process else None

    @property
    def failure(self) -> FunctionError | None:
        """Why it can take no further invocation; None if it can."""
        return self.api.failure

    @property
    def answered(self) -> bool:
        """Whether it has answered its invocation: it polls for the next, or is about to."""
        return self.api.state in (State.RESPONDED, State.IDLE)

    async def start(self) -> None:
        """Starts the child; does not wait for its init. What goes wrong is told by `idle` and `invoke`."""
        await self.api.start()
        # The second argument is what Lambda's own Python would run; a bootstrap takes the Python and ignores
        # the rest.
        argv = [str(self._bootstrap), sys.executable, "/var/runtime/bootstrap.py"]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                env=lambda_environment(self._handler, self.api.address, self._environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._stdout,
                start_new_session=True,
            )
        except OSError as error:
            details = {"errorMessage": f"{self._bootstrap} could not be started: {error.strerror}"}
            self.api.fail(FunctionError("Runtime.InvalidEntrypoint", details))
            return
        self._watcher = asyncio.create_task(self._watch(self._process))
        self._init_timer = asyncio.get_running_loop().call_later(INIT_LIMIT, self._tell_slow_init)

    async def idle(self) -> None:
        """Waits until the child polls for an event. Raises EnvironmentFailed."""
        await self.api.idle()

    async def invoke(self, event: bytes, **options: Any) -> Invocation:
        """Runs one invocation; `options` as for `RuntimeApiServer.invoke`.

        When its time runs out the environment has failed; `close` kills the child then, as Lambda does.
        """
        options.setdefault("timeout", self._timeout)
        options.setdefault("function_arn", FUNCTION_ARN)
        return await self.api.invoke(event, **options)

    async def close(self) -> None:
        """Ends the child and all that it started in its session: SIGTERM, and SIGKILL after GRACE seconds.

        After a timeout as Lambda does: SIGKILL at once, or, if an extension is registered, SHUTDOWN_LIMIT seconds after
        SIGTERM.
        """
        if self._init_timer is not None:
            self._init_timer.cancel()
        watcher, grace = self._watcher, GRACE
        if self.failure is not None and self.failure.error_type == TIMED_OUT:
            grace = SHUTDOWN_LIMIT if self.api.extensions.names else 0.0
        try:
            if grace and watcher is not None and not watcher.done():
                self._signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(watcher), grace)
        finally:
            # Also when this task is cancelled: nothing is left behind.
            if watcher is not None and not watcher.done():
                self._signal(signal.SIGKILL)
        if watcher is not None:
            await watcher
        await self.api.close()

    def _tell_slow_init(self) -> None:
        if self.api.state is State.STARTING:
            warn(
                f"asgi-stream: init has taken {INIT_LIMIT:.0f} s and is not over: "
                "Lambda would start it anew, on the time of the first invocation"
            )

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        # At once, for later the number may be another's. A helper that the function left behind could hold
        # its sockets open, and a broken stream would never end.
        self._signal(signal.SIGKILL)
        how = f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
        when = " before its first poll for an event" if self.api.state is State.STARTING else ""
        message = f"the function's process ended {how}{when}"
        self.api.fail(FunctionError("Runtime.ExitError", {"errorMessage": message}))

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            # Its session's leader: the group has the child's number.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
