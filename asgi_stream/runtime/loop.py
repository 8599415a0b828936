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
from asgi_stream.runtime.connection import ConnectionLost
from asgi_stream.runtime.context import LambdaContext
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
        """What the runtime drives. All three run on the one event loop of the process."""

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


class Fatal(Exception):
    """Raised when the platform leaves no way on: the process ends, and Lambda starts another."""


class Runtime:
    """Runs a handler against one Runtime API, invocation after invocation."""

    def __init__(self, handler: Handler, connection: Connection) -> None:
        self._handler = handler
        self._connection = connection
        self._variables = contextvars.copy_context()
        self._running: set[asyncio.Task[BaseException | None]] = set()
        self._stopping = False

    async def run(self) -> int:
        """Serves until SIGTERM or SIGINT (returns 0) or until the platform leaves no way on (returns 1)."""
        loop = asyncio.get_running_loop()
        told_to_stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told_to_stop.set)
        try:
            self._variables = await self._handler.startup()
        except Exception as error:
            log_exception("The function could not be started", error)
            await report_init_error(self._connection, describe(error))
            return 1
        serving = loop.create_task(self.serve())
        stopping = loop.create_task(told_to_stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        code = 0
        self._stopping = True
        if serving.done():
            code = 1
            _log_end(serving)
        if self._running:
            # The app is told before what it was started with goes.
            await _cancel(self._running)
        try:
            await self._handler.shutdown()
        except Exception as error:
            log_exception("The function failed to shut down", error)
        await _cancel(asyncio.all_tasks() - {asyncio.current_task()})
        self._connection.close()
        return code

    async def serve(self) -> None:
        """Serves invocations for ever. Raises Fatal when the platform leaves no way on."""
        while True:
            await self.serve_one(await self._next())

    async def _next(self) -> Invocation:
        try:
            reply = await self._connection.request(next_invocation())
            if reply.status == 200:
                return parse_invocation(reply)
        except (ConnectionLost, ProtocolError) as error:
            raise Fatal(f"no next invocation: {error}") from error
        raise Fatal(f"no next invocation: status {reply.status}, {reply.body[:500]!r}")

    async def serve_one(self, invocation: Invocation) -> None:
        """Runs one invocation to its one end. Raises Fatal if the platform calls that non-recoverable."""
        _set_trace_id(invocation.trace_id)
        sink = ResponseStream(self._connection, invocation)
        task = asyncio.get_running_loop().create_task(self._attempt(invocation, sink), context=self._variables.copy())
        self._running.add(task)
        await asyncio.wait((task,))
        self._running.discard(task)
        # An app may have cancelled the very task that it runs in.
        error = asyncio.CancelledError() if task.cancelled() else task.result()
        if self._stopping:
            # The environment ends in mid-invocation: nobody is left to be told, and nothing may be sent.
            raise asyncio.CancelledError
        if error is not None:
            await self._conclude(error, sink, invocation.request_id)
        reply = await sink.settle()
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


def _set_trace_id(trace_id: str | None) -> None:
    if trace_id is None:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    else:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id


async def report_init_error(connection: Connection, report: ErrorReport) -> None:
    """Tells Lambda why the function cannot start; the process must exit non-zero after it."""
    try:
        await connection.request(init_error(report))
    except ConnectionLost as lost:
        log("CRITICAL", f"The init error could not be reported: {lost}")


def _log_end(serving: asyncio.Task[None]) -> None:
    error = None if serving.cancelled() else serving.exception()
    if error is None:
        log("CRITICAL", "The runtime ends: its own task was cancelled")
    elif isinstance(error, Fatal):
        log("CRITICAL", f"The runtime ends: {error}")
    else:
        log_exception("The runtime ends: this is a fault of asgi-stream, please report it", error)


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancels tasks and gives them a moment to end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=GRACE)
