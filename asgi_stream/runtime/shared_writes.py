"""Later messages of a burst share one write: what the setting ``share_writes`` adds, and all of it.

A message costs a system call, and in a burst of small messages that is nearly all they cost. So the first messages of a
burst leave at once, as ever, and those behind them are kept and leave together, by the first of: 16 KiB; a message that
comes 0.5 ms after the last write; the next turn of the event loop; a thread, the watchdog, 0.7 ms after the last write,
for an app may compute for seconds without giving the event loop a turn. Each message stays an HTTP chunk of its own. A
message that comes after a pause leaves before ``write`` returns, and so does whatever is no message: the end, and an
error.

What makes this safe is one rule: **what is kept is the first thing that anybody may write.** The event loop's thread
takes it (:meth:`SharingStream._take`) before it hands anything else to the connection; from then on it is the
connection's, with its slow readers and cancelled writers. Messages are kept only while the connection owes nothing: the
last write of all went whole. So when the watchdog finds something kept, under the stream's lock, nobody else is at the
connection, nor can be before that lock is free. What a full socket did not take stays kept, the watchdog comes again,
and the next message is not kept: it waits for the reader, behind what is there, as without this setting.

The watchdog needs the interpreter's lock, which a thread that computes gives up only when asked, and a thread that
wants it asks after the switch interval: 5 ms. Whoever sets the alarm that wakes the watchdog shortens that first, until
nothing is kept any more. Each write puts the alarm off, so that an app which goes on sending never waits for that lock.
Only a call into C that holds the lock for longer can hold the watchdog up.
"""

from __future__ import annotations

import os
import sys
import threading
from asyncio import get_running_loop
from math import inf
from time import CLOCK_MONOTONIC, monotonic
from weakref import WeakSet

from asgi_stream.runtime.connection import SMALL
from asgi_stream.runtime.http11 import CRLF
from asgi_stream.runtime.response import ResponseStream
from asgi_stream.runtime.streams import above_the_standard_streams
from asgi_stream.sinks import SinkState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from asgi_stream.runtime.connection import Connection
    from asgi_stream.runtime.requests import Invocation
    from asgi_stream.sinks import Buffer

__all__ = ["SharingStream", "Watchdog"]

# Messages further apart than this are no burst, in seconds; and so many of a burst leave at once.
PAUSE = 0.0005
FIRST = 4
# The most that is kept, in bytes. What does not fit is written at once, and is not copied.
MOST = 16_384
# When the watchdog looks, in seconds behind the last write; while readers take nothing it doubles that.
TICK = 0.0007
LONGEST_TICK = 0.004
# How soon it asks for the interpreter's lock, in seconds.
SWITCH_INTERVAL = 0.0002


class SharingStream(ResponseStream):
    """The response to one invocation, whose later messages share writes. Its methods are the event loop's to call,
    but for :meth:`push` and :meth:`idle`."""

    __slots__ = (
        "__weakref__",
        "_failed",
        "_kept",
        "_lock",
        "_loop",
        "_quick",
        "_rest",
        "_room",
        "_scheduled",
        "_shares",
        "_watchdog",
        "_watched",
        "_wrote_at",
    )

    def __init__(self, connection: Connection, invocation: Invocation, watchdog: Watchdog) -> None:
        super().__init__(connection, invocation)
        self._watchdog = watchdog
        self._loop = get_running_loop()
        self._lock = threading.Lock()  # of what is kept; held while it is written
        self._rest = b""  # of what was kept, and half written
        self._kept: list[int | Buffer] = []  # the size of each message and the message; made into chunks all at once
        self._room = MOST
        self._shares = False  # messages may be kept
        self._quick = 0  # messages of this burst that have left at once
        self._wrote_at = 0.0  # when the last write was
        self._failed = False  # the connection is of no use any more
        self._scheduled = False  # the event loop will push
        self._watched = False  # the watchdog will

    def put(self, data: Buffer) -> Awaitable[None] | None:
        if self._shares and monotonic() - self._wrote_at < PAUSE:
            size = len(data)
            if 0 < size < self._room:
                self._room -= size
                kept = self._kept
                kept += (size, data if type(data) is bytes else bytes(data))  # the app may use its buffer again
                if not (self._scheduled and self._watched):
                    self._see_to_it()
                return None
        if not data or self.state is not SinkState.STREAMING or self.lost is not None:
            return super().put(data)
        taken = self._take()
        is_lone = not taken and monotonic() - self._wrote_at >= PAUSE
        size = len(data)
        if size <= SMALL:
            # As a burst's first messages are, and its later ones mostly: to be copied costs less than to be gathered.
            left = self._connection.try_send_small(b"".join((*taken, b"%x\r\n" % size, data, CRLF)))
        else:
            left = self._connection.try_send((*taken, b"%x\r\n" % size, data, CRLF))
        self._wrote_at = monotonic()
        if self._watched:
            self._watchdog.postpone()
        self._quick = 1 if is_lone else self._quick + 1
        self._shares = not left and self._quick >= FIRST and self._watchdog.runs()
        return self._guard(self._connection.send(left)) if left else None

    def _send(self, buffers: Sequence[Buffer], *, last: bool = False) -> Awaitable[None]:
        self._shares = False
        kept = self._take()
        if self._watched:
            self._watched = False
            self._watchdog.leave(self)
        return super()._send((*kept, *buffers), last=last)

    def _take(self) -> tuple[bytes, ...]:
        """Takes what is kept, to be written by the caller, before anything else."""
        self._room = MOST
        if not self._kept and not self._rest:  # nor is the watchdog writing: it clears what it has written
            return ()
        with self._lock:
            kept = self._rest + _chunks(self._kept)
            self._rest = b""
            self._kept.clear()
        return (kept,) if kept else ()

    def _see_to_it(self) -> None:
        """Something is kept, and leaves whatever this thread does next."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._push_soon)
        if not self._watched:
            self._watched = True
            self._watchdog.watch(self)

    def _push_soon(self) -> None:
        self._scheduled = False
        self.push()
        if self._watched and not self._kept and not self._rest:
            self._watched = False
            self._watchdog.leave(self)

    def push(self) -> bool:
        """Writes what is kept, as far as the socket takes it; from any thread. False if that was nothing."""
        with self._lock:
            count = len(self._kept)  # more may come behind it, in the event loop's thread
            if self._failed or not (count or self._rest):
                return True
            buffers = (self._rest + _chunks(self._kept[:count]),)
            left = self._connection.try_send(buffers)
            if left is buffers:  # the connection is of no use any more; the next write will say why
                self._shares = False
                self._failed = True
                return True
            self._rest = bytes(left[0]) if left else b""
            del self._kept[:count]  # and not before: `_take` looks without the lock whether there is anything
            if left:
                self._shares = False
            else:
                self._wrote_at = monotonic()
            return len(self._rest) < len(buffers[0])

    def idle(self) -> bool:
        """True if there is nothing to push: then it is to be watched anew when there is; from any thread."""
        with self._lock:
            self._watched = False  # before the look: what is kept behind it is then watched anew
            if (self._kept or self._rest) and not self._failed:
                self._watched = True
                return False
            return True

    def abandon(self) -> None:
        """To be called in a process that a fork has made, its connection closed: the next write is to say so."""
        self._lock = threading.Lock()  # the parent's watchdog may have held the other
        self._shares = self._watched = False


def _chunks(kept: list[int | Buffer]) -> bytes:
    """One HTTP chunk for each message: in one go, which takes half of what it takes one by one."""
    return b"%x\r\n%b\r\n" * (len(kept) // 2) % tuple(kept)


class Watchdog:
    """One thread for all responses of a process, started by the first burst, asleep while nothing is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alarm = _alarm()
        self._streams: set[SharingStream] = set()  # those that keep something
        self._responses: WeakSet[SharingStream] = WeakSet()  # all that there are
        self._tick = TICK
        self._abandoned = False
        self._thread: threading.Thread | None = None
        self._switch_interval = 0.0  # what was found, where it was too long

    def response(self, connection: Connection, invocation: Invocation) -> SharingStream:
        """Returns the response to an invocation of the running event loop."""
        stream = SharingStream(connection, invocation, self)
        self._responses.add(stream)
        return stream

    def runs(self) -> bool:
        """True once the thread runs; starts it. False where the system has no thread left, and behind a fork."""
        if self._abandoned:
            return False
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="asgi-stream-writes", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    def watch(self, stream: SharingStream) -> None:
        """Pushes what the stream keeps, from TICK on until it is idle."""
        with self._lock:
            if not self._streams:
                found = sys.getswitchinterval()
                if found > SWITCH_INTERVAL:
                    self._switch_interval = found
                    sys.setswitchinterval(SWITCH_INTERVAL)
            if not self._streams or self._tick > TICK:  # a reader that takes nothing is not to hold others up
                self._tick = TICK
                self._alarm.set(TICK)
            self._streams.add(stream)

    def postpone(self) -> None:
        """A stream has just written all that it kept: where nobody else is watched, the thread may sleep on."""
        if len(self._streams) == 1 and not self._abandoned:
            self._alarm.set(TICK)

    def leave(self, stream: SharingStream) -> None:
        """The stream keeps nothing any more."""
        with self._lock:
            if stream in self._streams:
                self._streams.remove(stream)
                if not self._streams:
                    self._alarm.stop()
                    self._restore()

    def abandon(self) -> None:
        """To be called in a process that a fork has made: the thread is not in it, and the alarm is the parent's."""
        self._abandoned = True
        self._lock = threading.Lock()  # the parent's thread may have held the other
        for stream in list(self._responses):
            stream.abandon()
        self._streams = set()
        self._restore()

    def _run(self) -> None:
        while True:
            self._alarm.wait()
            with self._lock:
                streams = list(self._streams)
            moved = [stream.push() for stream in streams]
            with self._lock:
                waits_for_readers = not any(moved) and self._streams.issubset(streams)
                self._tick = min(2 * self._tick, LONGEST_TICK) if waits_for_readers else TICK
                # Some may have left meanwhile: those are the event loop's to watch anew.
                self._streams -= {stream for stream in streams if stream in self._streams and stream.idle()}
                if self._streams:
                    self._alarm.set(self._tick)
                else:
                    self._restore()
            del streams  # the last of them is not to be kept alive until the alarm rings again

    def _restore(self) -> None:
        # Unless the app has set one of its own in the meantime.
        if self._switch_interval and abs(sys.getswitchinterval() - SWITCH_INTERVAL) < 1e-6:
            sys.setswitchinterval(self._switch_interval + 5e-7)  # Python cuts it off to whole microseconds
        self._switch_interval = 0.0


class _Timer:
    """An alarm of the kernel's: to set it anew wakes nobody. Raises OSError where there is none."""

    def __init__(self) -> None:
        if not hasattr(os, "timerfd_create"):
            raise OSError("Python has timers from 3.13 on, on Linux")
        descriptor: int = os.timerfd_create(CLOCK_MONOTONIC, flags=os.TFD_CLOEXEC)  # type: ignore[attr-defined]
        self._descriptor = above_the_standard_streams(descriptor)

    def set(self, seconds: float) -> None:
        os.timerfd_settime(self._descriptor, initial=seconds)  # type: ignore[attr-defined]

    def stop(self) -> None:
        self.set(0)

    def wait(self) -> None:
        os.read(self._descriptor, 8)


class _Sleeper:
    """The same in Python: who waits wakes at the time that was first set, and sleeps on if it is later by then."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rings_at = inf
        self._wakes_at = inf

    def set(self, seconds: float) -> None:
        with self._changed:
            self._rings_at = monotonic() + seconds
            if self._rings_at < self._wakes_at:
                self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._rings_at = inf

    def wait(self) -> None:
        with self._changed:
            while (left := self._rings_at - monotonic()) > 0:
                self._wakes_at = self._rings_at
                self._changed.wait(None if left == inf else left)
            self._rings_at = inf


def _alarm() -> _Timer | _Sleeper:
    try:
        return _Timer()
    except OSError:
        return _Sleeper()
