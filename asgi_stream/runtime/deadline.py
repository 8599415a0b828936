"""What happens when an invocation's time runs out: told first, then cancelled, then left to itself.

Lambda gives each invocation a deadline and ends the process there, in its default mode; on Managed Instances it ends
nothing. Either way the invocation has to have ended before, so that its client gets a proper end and Lambda an error
that says where the time went: its traceback is where the handler was waiting. A margin before the deadline (the smaller
of one second and a tenth of the time given) the handler is told; halfway from there to the deadline its task is
cancelled; if it swallows that too, the response ends in the error without it when a quarter of the margin is left. A
response that may be left open, an event stream, ends well in each of these cases.

Code that blocks the event loop can be told nothing: a thread that sleeps until that last moment, the last at which a
record is sure to get out, asks the loop for a sign of life, and if none comes logs where the code is.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import types
from typing import TYPE_CHECKING, Any

from asgi_stream.errors import DeadlineExceeded
from asgi_stream.foreign import MAX_ENTRIES, cancel, of_type, stack_lines, stack_of, type_name, unreadable
from asgi_stream.runtime.logs import log, log_exception

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_stream.sinks import Sink

__all__ = ["BlockWatch", "Countdown", "DeadlineExceeded", "where_it_waits"]

LONGEST_MARGIN = 1.0  # seconds
SHARE = 0.1  # of the time given
# How long an event loop that is only busy may take to answer the watch, in seconds.
PATIENCE = 0.02


class Countdown:
    """The time that one invocation has.

    ``deadline`` is in seconds since the epoch; ``margin`` in seconds, None for the default; more than the time given
    counts as all of it. ``length`` is the setting ``disconnect_after``, in seconds: where it is shorter, the margin
    begins after it. At ``ends``, by ``time.monotonic``, the handler is given up.
    """

    __slots__ = (
        "_deadline", "_given", "_length", "_loop", "_margin", "_over", "_request_id", "_sink", "_task", "_timer",
        "ends", "error",
    )  # fmt: skip

    def __init__(
        self, sink: Sink, request_id: str, deadline: float, margin: float | None, length: float | None = None
    ) -> None:
        self._sink = sink
        self._request_id = request_id
        left = deadline - time.time()
        # Lambda counts down by a clock that nobody sets, and so do we from here on. The wall clock of an environment is
        # put right after a freeze, and may be in mid-invocation.
        self._deadline = time.monotonic() + left
        self._given = max(0.0, left)
        self._margin = min(LONGEST_MARGIN, SHARE * self._given) if margin is None else min(margin, self._given)
        self._length = length if length is not None and length + self._margin < self._given else None
        if self._length is not None:
            self._deadline += self._length + self._margin - self._given
        self.ends = self._deadline - self._margin / 4
        self.error: DeadlineExceeded | None = None
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, task: asyncio.Task[Any]) -> asyncio.Future[None]:
        """Begins; what it returns is done once the handler, in its task, has returned or has been given up."""
        self._loop = asyncio.get_running_loop()
        self._task = task
        self._over = self._loop.create_future()
        task.add_done_callback(self._give_up)
        self._timer = self._at(self._margin, self._tell)
        return self._over

    def _at(self, left: float, step: Any) -> asyncio.TimerHandle:
        """Calls ``step`` when ``left`` seconds are left."""
        return self._loop.call_later(self._deadline - left - time.monotonic(), step)

    def _tell(self) -> None:
        self._timer = self._at(self._margin / 2, self._cancel)
        if self._sink.watcher is not None:
            self._sink.watcher.expire()

    def _cancel(self) -> None:
        if self._task.done():
            return
        self._timer = self._at(self._margin / 4, self._give_up)
        cancel(self._task)
        if self._may_be_left_open:
            return
        given = f"{self._given:.3f} s, and was cancelled shortly before they were over"
        if self._length is not None:
            given = f"{self._length:.3f} s by the setting disconnect_after, and was cancelled after them"
        self.error = DeadlineExceeded(f"the invocation had {given}")
        if self._sink.watcher is not None:
            self._sink.watcher.fail(self.error)
        self.error.__traceback__ = where_it_waits(self._task if self._sink.task is None else self._sink.task)
        log_exception("The invocation is cancelled; it was waiting here", self.error, self._request_id)

    @property
    def _may_be_left_open(self) -> bool:
        return self._sink.watcher is not None and self._sink.watcher.may_be_left_open

    def _give_up(self, _: object = None) -> None:
        if self._over.done():
            return
        if not self._task.done() and self._sink.done and self._may_be_left_open:
            # The app has ended, and only a slow reader holds up the end: it is kept, and goes out later.
            cancel(self._task)
        else:
            self._over.set_result(None)

    def stop(self) -> None:
        """The handler has returned."""
        if self._timer is not None:
            self._timer.cancel()


# What stands between two frames and has no attribute that names the inner one: a step of an asynchronous generator, as
# a streamed body is, and a coroutine whose ``__await__`` was called by hand.
_STEPS = frozenset(("async_generator_asend", "async_generator_athrow", "coroutine_wrapper"))


_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")


def _read(awaited: object, names: Sequence[str]) -> Any:
    """The first of these attributes that there is, None without one, and what reading one raises."""
    for name in names:
        try:
            value = getattr(awaited, name, None)
        except BaseException as error:
            return error
        if value is not None:
            return value
    return None


def where_it_waits(task: asyncio.Task[Any]) -> types.TracebackType | None:
    """Returns the stack of a suspended task: what it awaits, and so on to the bottom, innermost last.

    The awaited objects may be of any kind, such as coroutines compiled by Cython. For a frame that cannot be read, the
    stack has an entry with the reason.
    """
    frames: list[types.FrameType] = []
    met: dict[int, object] = {}  # by id, which is theirs as long as they are kept
    awaited: Any
    try:
        awaited = task.get_coro()
    except BaseException as error:  # of a task of a class of the app's own
        return stack_of([unreadable(task, error)])
    while awaited is not None and id(awaited) not in met and len(met) < MAX_ENTRIES:
        met[id(awaited)] = awaited
        if type_name(awaited) in _STEPS:
            awaited = next((held for held in gc.get_referents(awaited) if _read(held, _FRAMES) is not None), None)
        frame = _read(awaited, _FRAMES)
        if frame is not None:
            frames.append(frame if type(frame) is types.FrameType else unreadable(awaited, frame))
        outer, awaited = awaited, _read(awaited, _AWAITED)
        if of_type(awaited, BaseException):
            frames.append(unreadable(outer, awaited))
            break
    return stack_of(frames)


class BlockWatch:
    """Logs the stack of the event loop's thread when an invocation's time is over and the loop does not answer.

    One thread for the process, started by the first invocation; it sleeps until the earliest end.
    """

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._ends: dict[str, float] = {}
        self._wakes = float("inf")
        self._thread: threading.Thread | None = None

    def add(self, request_id: str, ends: float) -> None:
        """Watches an invocation of the running event loop; ``ends`` is by ``time.monotonic``."""
        with self._lock:
            self._ends[request_id] = ends
            if self._thread is None:
                loop = asyncio.get_running_loop()
                self._thread = threading.Thread(
                    target=self._watch, args=(loop,), name="asgi-stream-deadline", daemon=True
                )
                self._thread.start()
            elif ends < self._wakes:
                self._changed.notify()

    def remove(self, request_id: str) -> None:
        """The invocation has ended."""
        with self._lock:
            self._ends.pop(request_id, None)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            over = self._wait()
            alive = threading.Event()
            try:
                loop.call_soon_threadsafe(alive.set)
            except RuntimeError:
                return  # it is closed
            if not alive.wait(PATIENCE):
                self._report(over)

    def _wait(self) -> list[str]:
        """Returns the invocations whose time is over, once there are some. They are not watched any longer."""
        with self._changed:
            while True:
                now = time.monotonic()
                if over := [request_id for request_id, ends in self._ends.items() if ends <= now]:
                    for request_id in over:
                        del self._ends[request_id]
                    return over
                self._wakes = min(self._ends.values(), default=float("inf"))
                # Waits of years, as for the deadlines of an emulator, are more than a lock can take.
                self._changed.wait(None if self._wakes == float("inf") else min(self._wakes - now, 86_400.0))

    def _report(self, request_ids: list[str]) -> None:
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - public, and documented, all the same
        frames: list[types.FrameType] = []
        while frame is not None:
            frames.append(frame)
            frame = frame.f_back
        stack = "".join(stack_lines(stack_of(frames[::-1])))
        message = f"Code blocks the event loop, and the invocation's time is over; it is here:\n{stack}"
        for request_id in request_ids:
            log("ERROR", message, request_id)
