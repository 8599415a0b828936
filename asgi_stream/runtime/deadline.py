"""What happens when an invocation's time runs out: told first, then cancelled, then left to itself.

Lambda gives each invocation a deadline and ends the process there, in its default mode; on Managed Instances it ends
nothing. Either way the invocation has to have ended before, so that its client gets a proper end and Lambda an error
that says where the time went. A margin before the deadline (the smaller of one second and a tenth of the time given)
the handler is told; halfway from there to the deadline its task is cancelled; if it swallows that too, the response
ends in the error without it when a quarter of the margin is left.

Code that blocks the event loop can be told nothing: a thread that sleeps until the deadline logs where it was.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback

from asgi_stream.errors import AsgiStreamError
from asgi_stream.runtime.logs import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from asgi_stream.sinks import Sink

__all__ = ["BlockWatch", "Countdown", "DeadlineExceeded", "where_it_waits"]

LONGEST_MARGIN = 1.0  # seconds
SHARE = 0.1  # of the time given


class DeadlineExceeded(AsgiStreamError, TimeoutError):
    """Raised for an invocation whose handler had to be cancelled before its deadline. Lambda is told of it."""


class Countdown:
    """The time that one invocation has.

    ``deadline`` is in seconds since the epoch; ``margin`` in seconds, None for the default. :attr:`over` is done once
    the handler has been given up.
    """

    __slots__ = ("_deadline", "_given", "_loop", "_margin", "_request_id", "_sink", "_task", "_timer", "error", "over")

    def __init__(
        self, task: asyncio.Task[Any], sink: Sink, request_id: str, deadline: float, margin: float | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = task
        self._sink = sink
        self._request_id = request_id
        self._deadline = deadline
        self._given = max(0.0, deadline - time.time())
        self._margin = min(LONGEST_MARGIN, SHARE * self._given) if margin is None else margin
        self.error: DeadlineExceeded | None = None
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._timer = self._at(self._margin, self._tell)

    def _at(self, left: float, step: Any) -> asyncio.TimerHandle:
        """Calls ``step`` when ``left`` seconds are left."""
        return self._loop.call_later(max(0.0, self._deadline - left - time.time()), step)

    def _tell(self) -> None:
        if self._sink.watcher is not None:
            self._sink.watcher.expire()
        self._timer = self._at(self._margin / 2, self._cancel)

    def _cancel(self) -> None:
        if self._task.done():
            return
        self.error = DeadlineExceeded(f"the invocation was cancelled before its deadline, after {self._given:.3f} s")
        log("ERROR", f"{self.error}; it was waiting here:\n{where_it_waits(self._task)}", self._request_id)
        if self._sink.watcher is not None:
            self._sink.watcher.fail(self.error)
        self._task.cancel()
        self._timer = self._at(self._margin / 4, self._give_up)

    def _give_up(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def stop(self) -> None:
        """The handler has returned."""
        self._timer.cancel()
        self.over.cancel()


def where_it_waits(task: asyncio.Task[Any]) -> str:
    """Returns the stack of a suspended task as text, innermost frame last: what it awaits, and so on to the bottom."""
    frames: list[tuple[FrameType, int]] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = (
            getattr(awaited, "cr_frame", None)
            or getattr(awaited, "gi_frame", None)
            or getattr(awaited, "ag_frame", None)
        )
        if frame is not None:
            frames.append((frame, frame.f_lineno))
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return "".join(traceback.StackSummary.extract(iter(frames)).format()) or "(it has not begun to run)\n"


class BlockWatch:
    """Logs the stack of the event loop's thread when an invocation's deadline passes and its countdown did not run.

    One thread for the process, started by the first deadline; it sleeps until the earliest one.
    """

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()
        self._changed = threading.Condition()
        self._deadlines: dict[str, float] = {}
        self._wakes = float("inf")
        self._thread: threading.Thread | None = None

    def add(self, request_id: str, deadline: float) -> None:
        """Watches an invocation; ``deadline`` is in seconds since the epoch."""
        with self._changed:
            self._deadlines[request_id] = deadline
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="asgi-stream-deadline", daemon=True)
                self._thread.start()
            elif deadline < self._wakes:
                self._changed.notify()

    def remove(self, request_id: str) -> None:
        """The invocation has ended."""
        with self._changed:
            self._deadlines.pop(request_id, None)

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.time()
                for request_id in [name for name, deadline in self._deadlines.items() if deadline <= now]:
                    del self._deadlines[request_id]
                    self._report(request_id)
                self._wakes = min(self._deadlines.values(), default=float("inf"))
                # Waits of years, as for the deadlines of an emulator, are more than a lock can take.
                self._changed.wait(None if self._wakes == float("inf") else min(self._wakes - now, 86_400.0))

    def _report(self, request_id: str) -> None:
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - public, and documented, all the same
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        log("ERROR", f"Code has blocked the event loop past the deadline; it is here:\n{stack}", request_id)
