"""Calls of an adapter by a function that our runtime runs: ``return adapter(event, context)``.

The function is a plain ``handler(event, context)``; the call runs the app on the runtime's event loop and streams, so
the function's own ``with``, ``try`` and decorators enclose the app's work. A function that is not ``async`` runs in a
thread, and its call waits there. An invocation has one response: its first call that streams writes it, all other calls
return their whole answer as a dict.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol

from asgi_stream.errors import HandlerError
from asgi_stream.foreign import cancel, log, of_type
from asgi_stream.sinks import Sink, SinkState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from concurrent.futures import Future

    from asgi_stream.asgi import ASGIApp
    from asgi_stream.asgi.lifespan import Lifespans
    from asgi_stream.config import Config
    from asgi_stream.sinks import Prelude

    _Attempt = tuple[Any, BaseException | None]

    class Adapter(Protocol):
        """What a call needs of a :class:`~asgi_stream.adapter.StreamingAdapter`, which imports this module."""

        @property
        def app(self) -> ASGIApp: ...
        @property
        def config(self) -> Config: ...
        def would_stream(self, event: Any) -> bool: ...
        async def answer(
            self,
            event: Any,
            context: Any,
            sink: Sink,
            state: Mapping[str, Any],
            on_start: Callable[[Prelude], object] | None = None,
        ) -> None: ...


__all__ = ["Calls", "Environment", "answer_whole", "in_a_loop", "running_calls"]

OVER = "the invocation is over: an adapter that is called now can answer nothing"
NEVER_AWAITED = (
    "the function called an adapter and did not await it, so the app has not run: write "
    "`return adapter(event, context)` or `await adapter(event, context)`"
)
CANCELLED = "the function cancelled the call of its adapter before the response had ended: the response is not whole"
CHANGED = (
    "The function returned something other than what the call of its adapter returned, or changed it. The response has "
    "been streamed already and stays as it is. For a function that changes answers, set invoke_mode='buffered'"
)

_current: contextvars.ContextVar[Calls | None] = contextvars.ContextVar("asgi_stream_calls", default=None)
# Those of running invocations, by the id of their Lambda context: threads that a function makes itself (Thread,
# ThreadPoolExecutor, run_in_executor) do not have its context variables.
_by_context: dict[int, Calls] = {}


def running_calls(context: object) -> Calls | None:
    """Returns the calls of the invocation that runs this code, None outside of functions that our runtime runs.

    ``context`` is the Lambda context that an adapter is called with.
    """
    return _current.get() or _by_context.get(id(context))


def in_a_loop() -> bool:
    """True where an event loop runs this code."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class AnswerSink(Sink):
    """Keeps a whole answer, for callers that take a dict."""

    __slots__ = ("_note", "answer")

    can_stream = False

    def __init__(self, note: Callable[[BaseException], None] | None = None) -> None:
        super().__init__()
        self.answer: Any = None
        self._note = note

    def note(self, error: BaseException) -> None:
        if self._note is not None:
            self._note(error)

    async def _reply(self, payload: bytes, content_type: str) -> None:
        self.answer = json.loads(payload)


async def answer_whole(
    adapter: Adapter,
    event: Any,
    context: Any,
    state: Mapping[str, Any],
    note: Callable[[BaseException], None] | None = None,
) -> Any:
    """Returns an adapter's whole answer, a dict. What the app raises after its response has ended is logged."""
    sink = AnswerSink(note)
    try:
        await adapter.answer(event, context, sink, state)
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        if not sink.done:
            raise
        log(logging.ERROR, "The app failed after its response had ended", error)
    finally:
        sink.watcher = None  # a reference cycle otherwise, which keeps the event until the garbage collector runs
    return sink.answer


class Environment:
    """The adapters that a function calls, in one process and on one event loop: their startup and shutdown.

    Made in the context in which their apps are to be started.
    """

    def __init__(self) -> None:
        self._variables = contextvars.copy_context()
        self._lifespans: Lifespans | None = None
        self._warned = False

    @property
    def running(self) -> bool:
        """True while an app waits for its shutdown."""
        return self._lifespans is not None and self._lifespans.running

    @property
    def lifespans(self) -> Lifespans:
        """One for each app that has been called."""
        if self._lifespans is None:
            from asgi_stream.asgi.lifespan import Lifespans  # not imported for functions that call no adapter

            self._lifespans = self._variables.run(Lifespans)
        return self._lifespans

    async def startup(self, adapters: Sequence[Adapter]) -> contextvars.Context:
        """Starts the apps of the adapters that there are already; returns the context variables that they have set.

        Raises LifespanError.
        """
        variables = self._variables.copy()
        for adapter in adapters:
            if adapter.config.lifespan != "off":
                lifespan = await self.lifespans.startup(adapter.app, adapter.config.lifespan)
                variables.run(lifespan.set_variables)
        return variables

    async def shutdown(self) -> None:
        """Shuts all apps down. Raises LifespanError."""
        if self._lifespans is not None:
            await self._lifespans.shutdown()

    def warn(self) -> None:
        """Logs, once, that what a function returned was ignored."""
        if not self._warned:
            self._warned = True
            log(logging.WARNING, CHANGED)


class Calls:
    """The calls of adapters in one invocation, whose task makes this object and closes it.

    ``sink`` is where the first call that streams writes its response; None if no call can. ``context`` is the
    invocation's Lambda context.
    """

    def __init__(self, environment: Environment, sink: Sink | None, context: object) -> None:
        self._environment = environment
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._lock = threading.Lock()
        self._closed = False
        self._coroutines: list[Coroutine[Any, Any, Any]] = []  # that calls in the event loop have returned
        self._tasks: set[asyncio.Task[Any]] = set()  # of calls that run outside of the invocation's own task
        self._streams = False  # a call has taken the sink
        self._prelude: Prelude | None = None
        self._failure: BaseException | None = None
        self._variables = contextvars.copy_context()
        self._token = _current.set(self)
        self._context = context  # kept, so that no other object gets its id
        if context is not None:
            _by_context[id(context)] = self

    def answer(self, adapter: Adapter, event: Any, context: Any) -> Any:
        """What a call returns: the answer, or where an event loop runs a coroutine that returns it.

        Raises HandlerError after the end of the invocation, and what the app raises.
        """
        if not in_a_loop():
            return _result_of(self._submit(adapter, event, context)[0].result())
        if self._closed:
            raise HandlerError(OVER)
        coroutine = self._in_any_loop(adapter, event, context)
        self._coroutines.append(coroutine)
        return coroutine

    async def _in_any_loop(self, adapter: Adapter, event: Any, context: Any) -> Any:
        if asyncio.get_running_loop() is self._loop:
            return await self._run(adapter, event, context)
        # A loop of the function's own, as asyncio.run makes it.
        future, stop = self._submit(adapter, event, context)
        try:
            return _result_of(await asyncio.wrap_future(future))
        except asyncio.CancelledError:
            self._loop.call_soon_threadsafe(stop)
            raise
        finally:
            del future  # its error refers to this frame

    def _submit(self, adapter: Adapter, event: Any, context: Any) -> tuple[Future[_Attempt], Callable[[], None]]:
        """Lets a call run in the runtime's event loop; returns its future, and what cancels the call there."""
        from concurrent.futures import Future

        future: Future[_Attempt] = Future()
        future.set_running_or_notify_cancel()  # only its task can be cancelled
        running: list[asyncio.Task[_Attempt]] = []

        def start() -> None:  # in the context of the thread, which the app gets by it
            # Not by the loop: the app may have set a task factory.
            task = asyncio.Task(self._attempt(adapter, event, context), loop=self._loop)
            running.append(task)
            self._tasks.add(task)
            task.add_done_callback(end)

        def end(task: asyncio.Task[_Attempt]) -> None:
            self._tasks.discard(task)
            future.set_result((None, asyncio.CancelledError()) if task.cancelled() else task.result())

        def stop() -> None:
            for task in running:
                cancel(task)

        with self._lock:
            if self._closed:
                raise HandlerError(OVER)
            self._loop.call_soon_threadsafe(start, context=self._variables_of_thread())
        return future, stop

    def _variables_of_thread(self) -> contextvars.Context:
        """The context variables of this thread, in a thread that the function has made over the invocation's own."""
        variables = contextvars.copy_context()
        if _current in variables:
            return variables
        merged = self._variables.copy()
        merged.run(_current.set, self)
        for variable, value in variables.items():
            merged.run(variable.set, value)
        return merged

    async def _attempt(self, adapter: Adapter, event: Any, context: Any) -> _Attempt:
        # Returned, not raised: SystemExit and KeyboardInterrupt leaving a task would end the event loop.
        try:
            return await self._run(adapter, event, context), None
        except BaseException as error:
            return None, error

    async def _run(self, adapter: Adapter, event: Any, context: Any) -> Any:
        task = asyncio.current_task()
        if task is not None and task is not self._task:
            self._tasks.add(task)  # of the function's own, perhaps
            task.add_done_callback(self._tasks.discard)
        if adapter.config.lifespan == "off":
            return await self._call(adapter, event, context, {})
        lifespans = self._environment.lifespans
        lifespan = await lifespans.enter(adapter.app, adapter.config.lifespan)
        try:
            lifespan.set_variables()
            return await self._call(adapter, event, context, lifespan.state)
        finally:
            await lifespans.leave(adapter.app)

    async def _call(self, adapter: Adapter, event: Any, context: Any, state: Mapping[str, Any]) -> Any:
        sink = self._sink
        if sink is None or self._streams or not adapter.would_stream(event):
            return await answer_whole(adapter, event, context, state, None if sink is None else sink.note)
        self._streams = True
        sink.task = asyncio.current_task()
        try:
            await adapter.answer(event, context, sink, state, self._keep)
        except BaseException as error:
            if sink.state is SinkState.READY:
                self._streams = False  # not a request that can be read: the function may give another answer
            elif not sink.done:
                # The response can no longer succeed, whatever the function makes of this error.
                self._failure = HandlerError(CANCELLED) if of_type(error, asyncio.CancelledError) else error
            raise
        finally:
            sink.task = None
        return {} if self._prelude is None else self._prelude.to_dict()

    def _keep(self, prelude: Prelude) -> None:
        self._prelude = prelude

    async def cancel(self) -> bool:
        """Cancels the calls that threads wait for; returns, once they have ended, whether there were any."""
        with self._lock:
            self._closed = True
        await asyncio.sleep(0)  # what was called before that has its task now
        tasks = list(self._tasks)
        for task in tasks:
            cancel(task)
        if tasks:
            await asyncio.wait(tasks)
        return bool(tasks)

    @property
    def is_whole(self) -> bool:
        """True once a call has streamed a response that has ended and not failed."""
        return self._prelude is not None and self._failure is None and self._sink is not None and self._sink.done

    async def finish(self, result: object) -> bool:
        """The function has returned ``result``. Returns True if the response has been streamed.

        Raises what a streamed response has failed with, and HandlerError for a call that was never awaited.
        """
        if self._not_begun():
            await asyncio.sleep(0)  # a task that the function has just made of its call begins now
        forgotten = self._not_begun()
        for coroutine in forgotten:
            coroutine.close()
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._failure is not None:
            raise self._failure
        if forgotten:
            raise HandlerError(NEVER_AWAITED)
        if self._streams and not _is_same(result, self._prelude):
            self._environment.warn()
        return self._streams

    def _not_begun(self) -> list[Coroutine[Any, Any, Any]]:
        return [
            coroutine for coroutine in self._coroutines if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
        ]

    def close(self) -> None:
        """The invocation has ended: later calls raise HandlerError."""
        with self._lock:
            self._closed = True
        self._coroutines.clear()
        self._failure = None  # its traceback refers to the frames of this invocation
        if _by_context.get(id(self._context)) is self:
            del _by_context[id(self._context)]
        _current.reset(self._token)


def _result_of(attempt: _Attempt) -> Any:
    answer, error = attempt
    if error is None:
        return answer
    try:
        if of_type(error, asyncio.CancelledError):
            raise HandlerError("the invocation was cancelled while the app ran") from error
        raise error
    finally:
        del error, attempt  # it refers to this frame


def _is_same(result: object, prelude: Prelude | None) -> bool:
    try:
        return prelude is not None and bool(result == prelude.to_dict())
    except BaseException:  # objects of the function's own may raise anything
        return False
