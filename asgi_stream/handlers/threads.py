"""Blocking code beside the event loop: in threads that carry the invocation's context variables."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    T = TypeVar("T")

__all__ = ["Threads"]


class Threads:
    """Threads that are started as they are needed, ``most`` at once. With one, calls keep their order.

    ``with_loops`` gives each an event loop that is not running, as a main thread has one: older code asks for it.
    """

    __slots__ = ("_closed", "_executor", "_last", "_lock", "_loops", "_variables")

    def __init__(self, most: int, name: str, *, with_loops: bool = False) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._executor = ThreadPoolExecutor(most, name, self._set_loop if with_loops else None)
        self._last: Future[Any] | None = None
        self._variables: contextvars.Context | None = contextvars.copy_context() if most == 1 else None

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Calls ``function`` in a thread; returns and raises what it does."""
        return await self.result(self.start(function, *arguments))

    def start(self, function: Callable[..., T], *arguments: Any) -> Future[tuple[T, BaseException | None]]:
        """Calls ``function`` in a thread; :meth:`result` waits for it."""
        variables = self._variables or contextvars.copy_context()

        # Returned, not raised: a future can hold no StopIteration, and must hold no SystemExit.
        def call() -> tuple[Any, BaseException | None]:
            try:
                return variables.run(function, *arguments), None
            except BaseException as error:
                return None, error

        self._last = self._executor.submit(call)
        return self._last

    @staticmethod
    async def result(started: Future[tuple[T, BaseException | None]]) -> T:
        """Waits for what :meth:`start` has begun; returns and raises what the function does."""
        result, error = await asyncio.wrap_future(started)
        try:
            if error is not None:
                raise error
            return result
        finally:
            del error  # it refers to this frame

    @property
    def busy(self) -> bool:
        """True while the last call runs or waits for its turn, whether or not somebody still waits for it."""
        return self._last is not None and not self._last.done()

    def later(self, function: Callable[[], object]) -> None:
        """Calls ``function`` in a thread at some time; what it raises is lost."""
        variables = self._variables or contextvars.copy_context()
        self._executor.submit(variables.run, function)

    def close(self) -> None:
        """Ends the threads once they are done with what they were given; does not wait."""
        self._executor.shutdown(wait=False)
        with self._lock:
            self._closed = True
            for loop in self._loops:
                if not loop.is_running():
                    loop.close()

    def _set_loop(self) -> None:
        with self._lock:
            if not self._closed:  # no thread that comes late, for nothing
                self._loops.append(loop := asyncio.new_event_loop())
                asyncio.set_event_loop(loop)
