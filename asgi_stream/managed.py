"""Calls of an adapter outside of our runtime: by AWS's own Python runtime, in scripts and in tests.

Calls come one after another and return a dict. Each app has one event loop and one lifespan, from its first call on,
however many adapters are made for it; they end with ``close()`` or with the process.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

from asgi_stream.asgi.lifespan import MAX_LATE_APPS, TOO_MANY_APPS, Lifespan
from asgi_stream.calls import answer_whole, in_a_loop
from asgi_stream.foreign import cancel, log

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from asgi_stream.asgi import ASGIApp
    from asgi_stream.calls import Adapter

    T = TypeVar("T")

__all__ = ["call", "close"]

# How long tasks that were left behind may take to end when the loop does, and an app when the process does, in seconds.
GRACE = 0.2
LAST_GRACE = 2.0
# A forgotten exec wrapper shows in nothing else.
NOT_STREAMED = (
    "This response was to be streamed and is not: the function runs under AWS's own Python runtime, which cannot. "
    "Set the environment variable AWS_LAMBDA_EXEC_WRAPPER to /var/task/asgi_stream/bootstrap; or, where the source is "
    "set up to buffer, say invoke_mode='buffered'"
)


class _ManagedLoop:
    """An app's event loop for calls from outside of any, one at a time."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app  # kept, so that no other object gets its id
        self.busy = False
        self.closed = False
        self._lock = threading.RLock()  # calls come one at a time
        self._loop = asyncio.new_event_loop()
        self._lifespan: Lifespan | None = None
        self._warned = False

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def call(self, adapter: Adapter, event: Any, context: Any) -> Any:
        """Runs one invocation and returns its answer; to be called in the object's ``with`` block."""
        if self.busy:  # the app calls itself: it cannot wait for its own event loop
            inner = _ManagedLoop(self.app)
            try:
                return inner.call(adapter, event, context)
            finally:
                inner.close()
        self.busy = True
        try:
            return self._call(adapter, event, context)
        finally:
            self.busy = False

    def _call(self, adapter: Adapter, event: Any, context: Any) -> Any:
        if not self._warned and adapter.would_stream(event):
            self._warned = True
            log(logging.WARNING, NOT_STREAMED)
        answer, error = self._run(self._answer(adapter, event, context))
        if error is not None:
            raise error
        return answer

    async def _answer(self, adapter: Adapter, event: Any, context: Any) -> tuple[Any, BaseException | None]:
        mode = adapter.config.lifespan
        if self._lifespan is None and mode != "off":
            lifespan = Lifespan(self.app, mode)
            await lifespan.startup()
            self._lifespan = lifespan
        # A task, so that context variables do not leak from one call to the next. Not by the loop, as in `_run`.
        return await asyncio.Task(self._attempt(adapter, event, context), loop=self._loop)

    async def _attempt(self, adapter: Adapter, event: Any, context: Any) -> tuple[Any, BaseException | None]:
        # Returned, not raised: SystemExit and KeyboardInterrupt leaving a task would break the event loop.
        state: dict[str, Any] = {}
        if self._lifespan is not None and adapter.config.lifespan != "off":
            self._lifespan.set_variables()
            state = self._lifespan.state
        try:
            return await answer_whole(adapter, event, context, state), None
        except BaseException as error:
            return None, error

    def close(self, *, at_exit: bool = False) -> None:
        """Ends lifespan and loop, ``at_exit`` in a limited time. Raises LifespanError."""
        self.closed = True
        try:
            if self._lifespan is not None:
                self._run(self._shut_down(self._lifespan, LAST_GRACE if at_exit else None))
        finally:
            self._run(self._leave_nothing_behind(at_exit))
            self._loop.close()

    async def _shut_down(self, lifespan: Lifespan, limit: float | None) -> None:
        async with asyncio.timeout(limit):
            await lifespan.shutdown()

    async def _leave_nothing_behind(self, at_exit: bool) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            cancel(task)
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE)
        await self._loop.shutdown_asyncgens()
        if not at_exit:  # where no thread can be started any more
            await self._loop.shutdown_default_executor()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.Task(work, loop=self._loop)  # not by the loop: the app may have set a task factory
        if not in_a_loop():
            return self._loop.run_until_complete(task)
        # In a notebook this thread runs a loop already; ours then runs in another while this one waits.
        with ThreadPoolExecutor(1, thread_name_prefix="asgi-stream") as threads:
            return threads.submit(self._loop.run_until_complete, task).result()


_loops: dict[int, _ManagedLoop] = {}
_lock = threading.Lock()  # of the dict


def call(adapter: Adapter, event: Any, context: Any) -> Any:
    """Answers one event with a dict. Raises LifespanError, EventError, and what ``on_event`` raises."""
    while True:
        with _managed_loop(adapter.app) as managed:
            if not managed.closed:
                return managed.call(adapter, event, context)


def close(app: ASGIApp) -> None:
    """Shuts an app down and ends its event loop, if calls have started them. Raises LifespanError."""
    with _lock:
        managed = _loops.pop(id(app), None)
    if managed is not None:
        with managed:
            managed.close()


def _managed_loop(app: ASGIApp) -> _ManagedLoop:
    with _lock:
        if not _loops:
            atexit.unregister(_close_all)
            atexit.register(_close_all)
        managed = _loops.get(id(app))
        if managed is not None:
            return managed
        managed = _loops[id(app)] = _ManagedLoop(app)
        oldest = next((other for other in _loops.values() if not other.busy), managed)
        if len(_loops) <= MAX_LATE_APPS or oldest is managed:
            return managed
        del _loops[id(oldest.app)]
    log(logging.WARNING, TOO_MANY_APPS % MAX_LATE_APPS)
    _close(oldest)
    return managed


def _close_all() -> None:
    """The process ends: the apps are shut down, silently where nothing goes wrong."""
    while _loops:
        _close(_loops.popitem()[1], at_exit=True)


def _close(managed: _ManagedLoop, *, at_exit: bool = False) -> None:
    try:
        with managed:
            managed.close(at_exit=at_exit)
    except Exception as error:
        log(logging.WARNING, "An app that is no longer called could not be shut down", error)
