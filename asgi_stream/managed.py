"""Under AWS's own managed Python runtime: plain calls, one after another, each returning a dict.

The event loop and the app's lifespan live from the first call on.
"""

from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor

from asgi_stream.foreign import log
from asgi_stream.sinks import Sink

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextvars
    from collections.abc import Coroutine
    from typing import Any, TypeVar

    from asgi_stream.adapter import StreamingAdapter

    T = TypeVar("T")

__all__ = ["ManagedLoop"]

# How long tasks that were left behind may take to end when the loop does, in seconds.
GRACE = 0.2


class AnswerSink(Sink):
    """Keeps a whole answer; what the managed runtime is given back."""

    __slots__ = ("answer",)

    can_stream = False

    def __init__(self) -> None:
        super().__init__()
        self.answer: Any = None

    async def _reply(self, payload: bytes, content_type: str) -> None:
        self.answer = json.loads(payload)


class ManagedLoop:
    """An adapter's event loop for calls from outside of any, one at a time."""

    def __init__(self, adapter: StreamingAdapter) -> None:
        self._adapter = adapter
        self._loop = asyncio.new_event_loop()
        self._variables: contextvars.Context | None = None

    def call(self, event: Any, context: Any) -> Any:
        """Runs one invocation and returns its answer."""
        answer, error = self._run(self._answer(event, context))
        if error is not None:
            raise error
        return answer

    async def _answer(self, event: Any, context: Any) -> tuple[Any, BaseException | None]:
        if self._variables is None:
            self._variables = await self._adapter.startup()
        sink = AnswerSink()
        task = self._loop.create_task(self._attempt(event, context, sink), context=self._variables.copy())
        error = await task
        sink.watcher = None  # a circle otherwise, which keeps the event until somebody looks for garbage
        if error is not None and sink.done:
            log(logging.ERROR, "The app failed after its response had ended", error)
            error = None
        return sink.answer, error

    async def _attempt(self, event: Any, context: Any, sink: Sink) -> BaseException | None:
        # Returned, not raised: SystemExit and KeyboardInterrupt leaving a task would break the event loop.
        try:
            await self._adapter.invoke(event, context, sink)
        except BaseException as error:
            return error
        return None

    def close(self) -> None:
        """Ends lifespan and loop."""
        try:
            if self._variables is not None:
                self._run(self._adapter.shutdown())
        finally:
            self._run(self._leave_nothing_behind())
            self._loop.close()

    async def _leave_nothing_behind(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if not _in_a_loop():
            return self._loop.run_until_complete(work)
        # In a notebook this thread runs a loop already; ours then runs in another while this one waits.
        with ThreadPoolExecutor(1, thread_name_prefix="asgi-stream") as threads:
            return threads.submit(self._loop.run_until_complete, work).result()


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
