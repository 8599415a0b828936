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
import sys
from typing import TYPE_CHECKING, Any

from asgi_stream.errors import DeadlineExceeded, EventError, StreamClosed, stems_from
from asgi_stream.foreign import cancel, get, of_type, type_name
from asgi_stream.runtime import logs
from asgi_stream.runtime.connection import ConnectionLost
from asgi_stream.runtime.context import LambdaContext, trace_id
from asgi_stream.runtime.deadline import BlockWatch, Countdown
from asgi_stream.runtime.http11 import ProtocolError
from asgi_stream.runtime.logs import log, log_exception
from asgi_stream.runtime.reports import describe
from asgi_stream.runtime.requests import Verdict, init_error, next_invocation, parse_invocation, verdict
from asgi_stream.runtime.response import ResponseStream
from asgi_stream.runtime.trace import set_trace_id
from asgi_stream.sinks import SinkState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from asgi_stream.runtime.connection import Connection
    from asgi_stream.runtime.http11 import Reply
    from asgi_stream.runtime.reports import ErrorReport
    from asgi_stream.runtime.requests import Invocation
    from asgi_stream.sinks import Handler, Sink

__all__ = ["Fatal", "Runtime"]

# How long invocations may take to end when the environment does, and then what was left behind, in seconds.
LAST_WORDS = 0.2
GRACE = 0.05
# On Managed Instances: the pause after a failed poll, in seconds, doubled each time; how many in a row are too many.
FIRST_PAUSE = 0.1
MOST_FAILURES = 8


CLOSED = "An event stream was closed shortly before its invocation's deadline; its client opens it again"


class _Kept(asyncio.Task[None]):
    """A task of the runtime itself. An app that cancels all tasks does not cancel this one; :meth:`stop` does."""

    def cancel(self, msg: object = None) -> bool:
        return False

    def stop(self) -> None:
        super().cancel()


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
        started: Callable[[], object] | None = None,
    ) -> None:
        self._handler = handler
        self._extension = extension
        self._held: asyncio.Task[None] | None = None
        self._snap_start = snap_start
        self._started = started  # called once the handler is
        self._margin = handler.deadline_margin
        self._length = handler.disconnect_after
        self._connections = connections
        self._managed_instances = managed_instances
        self._variables = contextvars.copy_context()
        self._wants_shutdown = False
        self._running: set[asyncio.Task[BaseException | None]] = set()
        self._block_watch = BlockWatch()
        self._abandoned = False
        self._response = ResponseStream
        if handler.share_writes:
            from asgi_stream.runtime.shared_writes import SharingStream

            self._response = SharingStream

    async def run(self) -> int:
        """Serves until SIGTERM or SIGINT (returns 0) or until the platform leaves no way on (returns 1).

        Returns 64 or 65 where SnapStart fails before the snapshot or after the restore.
        """
        loop = asyncio.get_running_loop()
        told_to_stop: asyncio.Future[None] = loop.create_future()

        def stop() -> None:
            if not told_to_stop.done():
                told_to_stop.set_result(None)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        starting = asyncio.Task(self._start(), loop=loop)  # not by the loop: the app may have set a task factory
        await _wait_for_either(starting, told_to_stop)
        if not starting.done():
            log("WARNING", "The environment ends before the function has started")
            await _cancel(asyncio.all_tasks() - {asyncio.current_task()}, LAST_WORDS)
            return 0
        failure = asyncio.CancelledError("startup was cancelled") if starting.cancelled() else starting.result()
        if failure is not None:
            log_exception("The function could not be started", failure)
            await report_init_error(self._connections[0], describe(failure))
            return 1
        if self._started is not None:
            self._started()
        if self._extension is not None and self._wants_shutdown:
            from asgi_stream.runtime.extension import ask_for_sigterm

            # Kept alive by this name; cancelled with all tasks in the end.
            self._held = await ask_for_sigterm(self._extension, stop)
        serving = _Kept(self._restore_and_serve() if self._snap_start else self.serve(), loop=loop)
        _serving[self] = loop
        await _wait_for_either(serving, told_to_stop)
        from asgi_stream.runtime.extension import SHUTDOWN_LIMIT, shut_down

        until = loop.time() + SHUTDOWN_LIMIT
        code = _log_end(serving) if serving.done() else 0
        # No invocation is begun any more, and none in mid-stream is told of an end: nobody is left to hear of it.
        serving.stop()
        # The app is told before what it was started with goes.
        await _cancel(self._running, LAST_WORDS)
        await shut_down(self._handler.shutdown, until - loop.time())
        await _cancel(asyncio.all_tasks() - {asyncio.current_task()}, GRACE)
        for connection in self._connections:
            connection.close()
        del _serving[self]
        return code

    async def _start(self) -> BaseException | None:
        """Starts the handler; returns what that raises."""
        # Returned, as in `_attempt`.
        try:
            variables: object = await self._handler.startup()
            self._wants_shutdown = self._handler.wants_shutdown is True
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return error
        if not of_type(variables, contextvars.Context):
            return TypeError(f"the handler's startup must return its context variables, not {type_name(variables)}")
        self._variables = variables
        return None

    def abandon(self) -> None:
        """To be called in a process that a fork has made: the connections and their invocations are the parent's."""
        self._abandoned = True
        for connection in (*self._connections, self._extension):
            if connection is not None:
                connection.abandon()

    async def _restore_and_serve(self) -> None:
        from asgi_stream.runtime.snapstart import snapshot_and_restore

        await snapshot_and_restore(self._connections[0], self._variables)
        await self.serve()

    async def serve(self) -> None:
        """Serves invocations for ever. Raises Fatal when the platform leaves no way on."""
        pollers = [_Kept(self._poll(connection)) for connection in self._connections]
        try:
            ended, _ = await asyncio.wait(pollers, return_when=asyncio.FIRST_EXCEPTION)
            for error in [poller.exception() for poller in ended]:
                if error is not None:
                    raise error
        finally:
            for poller in pollers:
                poller.stop()

    async def _poll(self, connection: Connection) -> None:
        failures = 0
        while True:
            try:
                invocation = await self._next(connection)
                failures = 0
                await self.serve_one(invocation, connection)
                del invocation  # its event, of up to 6 MB, is not to wait for the next one
            except Exception as error:
                failures += 1
                if not self._managed_instances or failures > MOST_FAILURES:
                    raise
                # The environment has other slots that work, and their invocations must not end with this one.
                if isinstance(error, Fatal):
                    log("WARNING", f"{error}; trying again")
                else:
                    log_exception("One invocation was lost: this is a fault of asgi-stream, please report it", error)
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
            set_trace_id(invocation.trace_id)
        variables = self._variables.copy()
        variables.run(_bind, invocation)
        sink = self._response(connection, invocation)
        try:
            error = await self._watched(variables, invocation, sink)
            sink.watcher = None  # a circle otherwise, which keeps the event until somebody looks for garbage
            if error is not None:
                await self._conclude(error, sink, invocation.request_id)
            self._judge(await sink.settle(), sink, invocation.request_id)
        finally:
            logs.unbind(invocation.request_id)

    def _judge(self, reply: Reply | None, sink: ResponseStream, request_id: str) -> None:
        """Looks at how Lambda took a response. Raises Fatal."""
        logs.flush()  # what a buffer holds would wait for the next invocation
        if sink.lost is not None:
            log("WARNING", str(sink.lost), request_id)
        if reply is None:
            if not self._managed_instances:
                # Whether the invocation has ended there, only Lambda knows; asked, it might hand it out again.
                raise Fatal("Lambda has dropped the connection in place of a reply to the response")
            return
        outcome = verdict(reply)
        if outcome is Verdict.ACCEPTED:
            return
        answer = f"status {reply.status}, {reply.body[:500]!r}"
        if outcome is Verdict.FATAL and not self._managed_instances:
            raise Fatal(f"Lambda answered with {answer}")
        log("ERROR", f"Lambda refused the response: {answer}", request_id)

    async def _watched(
        self, variables: contextvars.Context, invocation: Invocation, sink: Sink
    ) -> BaseException | None:
        """Runs the handler, as long as its deadline allows; returns what it raised."""
        countdown = None
        if invocation.deadline_ms is not None:
            countdown = Countdown(
                sink, invocation.request_id, invocation.deadline_ms / 1000, self._margin, self._length
            )
            self._block_watch.add(invocation.request_id, countdown.ends)
        task = _task(self._attempt(invocation, sink), variables)
        if self._abandoned:
            _end_the_child()  # at once: locks of other threads, which are not in this process, may be held for ever
        if not task.done():
            self._running.add(task)
            await (asyncio.wait((task,)) if countdown is None else countdown.watch(task))
            self._running.discard(task)
        if countdown is not None:
            countdown.stop()
            self._block_watch.remove(invocation.request_id)
        if not task.done():
            error = await _abandon(countdown, sink, invocation.request_id)
        else:
            # An app may have cancelled the very task that it runs in.
            error = asyncio.CancelledError() if task.cancelled() else task.result()
        if countdown is None:
            return error
        if countdown.error is not None and of_type(error, asyncio.CancelledError):
            return countdown.error
        if of_type(error, DeadlineExceeded) and error is not countdown.error:
            log_exception("The invocation failed", error, invocation.request_id)
        elif error is None and sink.watcher is not None and sink.watcher.left_open:
            log("INFO", CLOSED, invocation.request_id)
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
        if not of_type(error, DeadlineExceeded):  # logged already
            log_exception("The invocation failed", error, request_id)
        if sink.lost is None and not sink.done:
            with contextlib.suppress(StreamClosed):  # it stands in sink.lost
                await sink.abort(error)


async def _abandon(countdown: Countdown | None, sink: Sink, request_id: str) -> BaseException | None:
    """Goes on without a handler that does not end when it is cancelled; returns what its response ends in."""
    error = countdown.error if countdown is not None else None
    level = "WARNING" if error is None else "ERROR"
    log(level, "The handler goes on after it was cancelled; it is left to itself", request_id)
    if sink.watcher is not None:
        try:
            if error is None:
                await sink.watcher.leave_open()
        except Exception as lost:
            return lost
        finally:
            sink.watcher.abandon()
    return error


def _bind(invocation: Invocation) -> None:
    """In the context variables of an invocation: whose they are."""
    trace_id.set(invocation.trace_id)
    logs.bind(invocation.request_id, invocation.tenant_id, invocation.trace_id)


def _task(
    work: Coroutine[Any, Any, BaseException | None], variables: contextvars.Context
) -> asyncio.Task[BaseException | None]:
    """A task that has begun, where Python can do so: a handler that waits for nothing costs no turn of the loop.

    That saves 34 µs of CPU time of an invocation's 168 (Python 3.13).
    """
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        try:
            return asyncio.Task(work, loop=loop, context=variables, eager_start=True)
        except BaseException as error:  # asyncio cannot read the object that the handler awaits first
            with contextlib.suppress(BaseException):
                work.close()
            return asyncio.Task(_returned(error), loop=loop, eager_start=True)
    return asyncio.Task(work, loop=loop, context=variables)


async def _returned(error: BaseException) -> BaseException | None:
    return error


_json = json.JSONDecoder()


def _decode(event: bytes) -> Any:
    try:
        return _json.decode(event.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise EventError(f"the event is not JSON: {error}") from error


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
    elif of_type(error, Fatal):
        log("CRITICAL", f"The runtime ends: {error}")
    elif type(code := get(error, "exit_code")) is int:
        return code  # SnapStart, logged and reported where it failed
    else:
        log_exception("The runtime ends: this is a fault of asgi-stream, please report it", error)
    return 1


async def _wait_for_either(work: asyncio.Task[Any], stop: asyncio.Future[None]) -> None:
    while not work.done() and not stop.done():
        try:
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            log("WARNING", "The app has cancelled all tasks of the process; those of the runtime go on")


async def _cancel(tasks: set[asyncio.Task[Any]], limit: float) -> None:
    """Cancels tasks and gives them ``limit`` seconds to end."""
    for task in tasks:
        if type(task) is _Kept:
            task.stop()
        else:
            cancel(task)
    if tasks:
        await asyncio.wait(tasks, timeout=limit)


# The runtimes at work in this process, each with its event loop.
_serving: dict[Runtime, asyncio.AbstractEventLoop] = {}


def _leave_to_the_parent() -> None:
    """In the child of a fork, at once: it cannot speak on the parent's connections, nor go on in its event loop.

    The child may run on as plain code, and leave by ``os._exit``, as one of multiprocessing does. Should it ever come
    back to the event loop, whose descriptors it shares with the parent, it ends there.
    """
    for runtime, loop in _serving.items():
        runtime.abandon()
        with contextlib.suppress(RuntimeError):
            loop.call_soon(_end_the_child)
    _serving.clear()


def _end_the_child() -> None:
    log("ERROR", "A process that the app has forked came back to the event loop of its parent: it ends. Use os._exit()")
    os._exit(1)


os.register_at_fork(after_in_child=_leave_to_the_parent)
