"""The invocation loop: ask for the next invocation, run the handler, see the response to its end, again.

The loop upholds the promise that everything else rests on: an invocation that was taken ends in exactly one way, and
whatever a handler raises, the next invocation is asked for. Each invocation runs in a task of its own, in a copy of
the context variables that the handler's startup left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import os
import signal

from asgi_stream.errors import EventError, StreamClosed
from asgi_stream.runtime import logs
from asgi_stream.runtime.connection import ConnectionLost
from asgi_stream.runtime.context import LambdaContext, trace_id
from asgi_stream.runtime.deadline import BlockWatch, Countdown
from asgi_stream.runtime.http11 import ProtocolError
from asgi_stream.runtime.logs import log, log_exception
from asgi_stream.runtime.reports import describe, stems_from
from asgi_stream.runtime.requests import Verdict, init_error, next_invocation, parse_invocation, verdict
from asgi_stream.runtime.response import ResponseStream
from asgi_stream.sinks import SinkState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from asgi_stream.runtime.connection import Connection
    from asgi_stream.runtime.reports import ErrorReport
    from asgi_stream.runtime.requests import Invocation
    from asgi_stream.sinks import Sink

    class Handler(Protocol):
        """What the runtime drives. All three run on the one event loop of the process.

        ``wants_shutdown`` says, once startup has returned, whether shutdown has anything to do.
        """

        @property
        def wants_shutdown(self) -> bool: ...

        async def startup(self) -> contextvars.Context:
            """Runs once, before the first invocation; returns the context variables that invocations see."""
            ...

        async def invoke(self, event: Any, context: LambdaContext, sink: Sink) -> None:
            """Answers one event through ``sink``. What it raises ends the response in an error."""
            ...

        async def shutdown(self) -> None:
            """Runs once, at the end of the execution environment."""
            ...


__all__ = ["Fatal", "Runtime"]

# How long tasks that were left behind may take to end when the environment does, in seconds.
GRACE = 0.2
# On Managed Instances: the pause after a failed poll, in seconds, doubled each time; how many in a row are too many.
FIRST_PAUSE = 0.1
MOST_FAILURES = 8


class Fatal(Exception):
    """Raised when the platform leaves no way on: the process ends, and Lambda starts another."""


class Runtime:
    """Runs a handler against one Runtime API, invocation after invocation.

    Each connection serves one invocation at a time. With ``managed_instances`` there may be several connections, for as
    many invocations at once, and the platform's faults are waited out instead of ending the process.
    """

    def __init__(
        self,
        handler: Handler,
        *connections: Connection,
        managed_instances: bool = False,
        extension: Connection | None = None,
        snap_start: bool = False,
    ) -> None:
        self._handler = handler
        self._extension = extension
        self._held: asyncio.Task[None] | None = None
        self._snap_start = snap_start
        self._connections = connections
        self._managed_instances = managed_instances
        self._variables = contextvars.copy_context()
        self._running: set[asyncio.Task[BaseException | None]] = set()
        self._stopping = False
        self._block_watch = BlockWatch()

    async def run(self) -> int:
        """Serves until SIGTERM or SIGINT (returns 0) or until the platform leaves no way on (returns 1).

        Returns 64 or 65 where SnapStart fails before the snapshot or after the restore.
        """
        loop = asyncio.get_running_loop()
        told_to_stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told_to_stop.set)
        try:
            self._variables = await self._handler.startup()
        except Exception as error:
            log_exception("The function could not be started", error)
            await report_init_error(self._connections[0], describe(error))
            return 1
        if self._extension is not None and getattr(self._handler, "wants_shutdown", False):
            from asgi_stream.runtime.extension import ask_for_sigterm

            # Kept alive by this name; cancelled with all tasks in the end.
            self._held = await ask_for_sigterm(self._extension, told_to_stop.set)
        serving = loop.create_task(self._restore_and_serve() if self._snap_start else self.serve())
        stopping = loop.create_task(told_to_stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        code = 0
        self._stopping = True
        if serving.done():
            code = _log_end(serving)
        if self._running:
            # The app is told before what it was started with goes.
            await _cancel(self._running)
        from asgi_stream.runtime.extension import shut_down

        await shut_down(self._handler.shutdown)
        await _cancel(asyncio.all_tasks() - {asyncio.current_task()})
        for connection in self._connections:
            connection.close()
        return code

    async def _restore_and_serve(self) -> None:
        from asgi_stream.runtime.snapstart import snapshot_and_restore

        await snapshot_and_restore(self._connections[0], self._variables)
        await self.serve()

    async def serve(self) -> None:
        """Serves invocations for ever. Raises Fatal when the platform leaves no way on."""
        pollers = [asyncio.ensure_future(self._poll(connection)) for connection in self._connections]
        try:
            await asyncio.gather(*pollers)
        finally:
            for poller in pollers:
                poller.cancel()

    async def _poll(self, connection: Connection) -> None:
        failures = 0
        while True:
            try:
                invocation = await self._next(connection)
                failures = 0
                await self.serve_one(invocation, connection)
            except Fatal as error:
                failures += 1
                if not self._managed_instances or failures > MOST_FAILURES:
                    raise
                # The environment has other slots that work, and their invocations must not end with this one.
                log("WARNING", f"{error}; trying again")
                connection.close()
                await asyncio.sleep(FIRST_PAUSE * 2 ** (failures - 1))

    async def _next(self, connection: Connection) -> Invocation:
        try:
            reply = await connection.request(next_invocation())
            if reply.status == 200:
                return parse_invocation(reply)
        except (ConnectionLost, ProtocolError) as error:
            raise Fatal(f"no next invocation: {error}") from error
        raise Fatal(f"no next invocation: status {reply.status}, {reply.body[:500]!r}")

    async def serve_one(self, invocation: Invocation, connection: Connection) -> None:
        """Runs one invocation to its one end. Raises Fatal if the platform calls that non-recoverable."""
        if not self._managed_instances:
            _set_trace_id(invocation.trace_id)
        sink = ResponseStream(connection, invocation)
        variables = self._variables.copy()
        variables.run(trace_id.set, invocation.trace_id)
        variables.run(logs.bind, invocation.request_id, invocation.tenant_id, invocation.trace_id)
        task = asyncio.get_running_loop().create_task(self._attempt(invocation, sink), context=variables)
        error = await self._watched(task, invocation, sink)
        if self._stopping:
            # The environment ends in mid-invocation: nobody is left to be told, and nothing may be sent.
            raise asyncio.CancelledError
        if error is not None:
            await self._conclude(error, sink, invocation.request_id)
        reply = await sink.settle()
        logs.flush()  # what a buffer holds would wait for the next invocation
        if sink.lost is not None:
            log("WARNING", str(sink.lost), invocation.request_id)
        if reply is None:
            return
        outcome = verdict(reply)
        if outcome is Verdict.FATAL:
            raise Fatal(f"Lambda answered with status {reply.status}, {reply.body[:500]!r}")
        if outcome is Verdict.REFUSED:
            log(
                "ERROR",
                f"Lambda refused the response: status {reply.status}, {reply.body[:500]!r}",
                invocation.request_id,
            )

    async def _watched(
        self, task: asyncio.Task[BaseException | None], invocation: Invocation, sink: Sink
    ) -> BaseException | None:
        """Waits for the handler, as long as its deadline allows; returns what it raised."""
        self._running.add(task)
        countdown = None
        waited: tuple[asyncio.Future[Any], ...] = (task,)
        if invocation.deadline_ms is not None:
            deadline = invocation.deadline_ms / 1000
            margin = getattr(self._handler, "deadline_margin", None)
            countdown = Countdown(task, sink, invocation.request_id, deadline, margin)
            waited = (task, countdown.over)
            self._block_watch.add(invocation.request_id, deadline)
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        self._running.discard(task)
        if countdown is not None:
            countdown.stop()
            self._block_watch.remove(invocation.request_id)
        if not task.done():
            log("ERROR", "The handler goes on after it was cancelled; it is left to itself", invocation.request_id)
            return countdown.error if countdown is not None else None
        # An app may have cancelled the very task that it runs in.
        error = asyncio.CancelledError() if task.cancelled() else task.result()
        if isinstance(error, asyncio.CancelledError) and countdown is not None and countdown.error is not None:
            return countdown.error
        return error

    async def _attempt(self, invocation: Invocation, sink: Sink) -> BaseException | None:
        # Caught inside the task and returned: SystemExit and KeyboardInterrupt would otherwise end the event loop.
        try:
            await self._handler.invoke(_decode(invocation.event), LambdaContext(invocation), sink)
        except BaseException as error:
            return error
        return None if sink.done else RuntimeError("the handler returned without ending its response")

    async def _conclude(self, error: BaseException, sink: ResponseStream, request_id: str) -> None:
        if sink.lost is not None and stems_from(error, sink.lost):
            return  # an app that lets send's OSError through has done nothing wrong
        if sink.state is SinkState.ENDED:
            log_exception("Failed after the response had ended; Lambda counts no error", error, request_id)
            return
        log_exception("The invocation failed", error, request_id)
        if sink.lost is None and not sink.done:
            with contextlib.suppress(StreamClosed):  # it stands in sink.lost
                await sink.abort(error)


def _decode(event: bytes) -> Any:
    try:
        return json.loads(event)
    except (ValueError, RecursionError) as error:
        raise EventError(f"the event is not JSON: {error}") from error


def _set_trace_id(value: str | None) -> None:
    if value is None:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    else:
        os.environ["_X_AMZN_TRACE_ID"] = value


async def report_init_error(connection: Connection, report: ErrorReport) -> None:
    """Tells Lambda why the function cannot start; the process must exit non-zero after it."""
    try:
        await connection.request(init_error(report))
    except ConnectionLost as lost:
        log("CRITICAL", f"The init error could not be reported: {lost}")


def _log_end(serving: asyncio.Task[None]) -> int:
    """Says why serving has ended; returns the exit code."""
    error = None if serving.cancelled() else serving.exception()
    if error is None:
        log("CRITICAL", "The runtime ends: its own task was cancelled")
    elif isinstance(error, Fatal):
        log("CRITICAL", f"The runtime ends: {error}")
    elif (code := getattr(error, "exit_code", None)) is not None:
        return int(code)  # SnapStart, logged and reported where it failed
    else:
        log_exception("The runtime ends: this is a fault of asgi-stream, please report it", error)
    return 1


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancels tasks and gives them a moment to end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=GRACE)
