"""Several processes that share the slots of one execution environment: ``workers=N`` on Managed Instances.

One process with one event loop uses one processor; an app that computes wants more. So the process that Lambda has
started imports the user's module, forks, and serves nothing itself. What the import has made is shared until a worker
writes to it. A worker has an event loop, a startup of the app, connections and log sockets of its own.

Workers hear of the end by a pipe, to whose other end the parent alone holds on: it ends when the parent wants it to, on
SIGTERM for one, and when the parent is gone, by whatever cause. So no worker outlives its parent.

A worker that dies (a crash in native code, killed for its memory) takes its own invocations with it. Another takes its
place, so that those of the other workers go on; deaths in a row are limited, with a growing pause between. A worker
that gives up by itself (its startup failed, the platform leaves no way on) says so by its exit code, and the
environment ends, as it would have with one process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

from asgi_stream.foreign import get, text
from asgi_stream.runtime import logs
from asgi_stream.runtime.extension import REGISTRATION_LIMIT, WITHOUT
from asgi_stream.runtime.http11 import ProtocolError, ReplyParser
from asgi_stream.runtime.logs import log
from asgi_stream.runtime.requests import next_extension_event, parse_registration, register_extension
from asgi_stream.runtime.streams import parse_address

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Sequence

__all__ = ["Worker", "Workers", "register", "share"]

# A worker's exit code when the runtime in it gave up. None that native code or an app would choose: 1 would be.
GAVE_UP = 113
# Deaths in a row, each within SETTLED seconds of the worker's start, that end the environment.
MOST_DEATHS = 5
SETTLED = 10.0
# The pause before a worker is replaced, in seconds, doubled each time in a row.
FIRST_PAUSE = 0.1
# How long workers may take to end, in seconds. Lambda allows less; elsewhere nobody else would kill one that blocks.
END_LIMIT = 2.0


def share(slots: int, workers: int) -> list[int]:
    """Divides the slots: one number for each worker, and no worker without a slot."""
    workers = min(slots, workers)
    whole, more = divmod(slots, workers)
    return [whole + (number < more) for number in range(workers)]


def register(address: str) -> socket.socket | None:
    """Registers the internal extension, and asks for an event that never comes. Raises nothing.

    Returns the open connection, which is to be kept; None if Lambda refuses. This has no event loop, for the parent has
    none; and it comes before any worker's startup, as the first ``/next`` closes the registration for all.
    """
    connection = None
    try:
        connection = socket.create_connection(parse_address(address), REGISTRATION_LIMIT)
        connection.sendall(register_extension().encode(address))
        parser = ReplyParser()
        while (reply := parser.next_reply()) is None:
            parser.receive_data(connection.recv(65_536))
        connection.sendall(next_extension_event(parse_registration(reply)).encode(address))
    except (OSError, ProtocolError) as error:
        log("WARNING", f"{WITHOUT}: no extension could be registered: {error}")
        if connection is not None:
            connection.close()
        return None
    return connection


class Worker:
    """What a worker knows of itself: its number of slots, and when its parent has ended."""

    __slots__ = ("_told", "slots")

    def __init__(self, slots: int, told: int) -> None:
        self.slots = slots
        self._told = told

    def listen(self, loop: AbstractEventLoop) -> None:
        """Lets this process get SIGTERM when the parent wants its end, or has ended."""
        loop.add_reader(self._told, self._end, loop)

    def _end(self, loop: AbstractEventLoop) -> None:
        loop.remove_reader(self._told)
        os.kill(os.getpid(), signal.SIGTERM)

    @staticmethod
    def exit_code(code: int) -> int:
        """The exit code that tells the parent what the runtime's ``code`` would have told Lambda."""
        return GAVE_UP if code else 0


class Workers:
    """The parent's side. ``shares`` has the number of slots of each worker, ``extension`` is the parent's alone."""

    def __init__(self, shares: Sequence[int], extension: socket.socket | None = None) -> None:
        self._shares = shares
        self._extension = extension
        self._told, self._tell = os.pipe()
        self._alive: dict[int, tuple[int, float]] = {}  # by process id: its slots, and when it was started
        self._deaths = 0
        self._stopping = False
        self._killed = False
        self._code = 0

    def run(self) -> Worker | int:
        """Returns in each worker what it is; in the parent, when all have ended, the exit code."""
        threads = [
            text(get(thread, "name")) for thread in threading.enumerate() if thread is not threading.main_thread()
        ]
        if threads:
            log("WARNING", f"These threads, started at the import, do not run in the workers: {', '.join(threads)}")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        signal.signal(signal.SIGALRM, lambda *_: self._kill())
        gc.freeze()  # or a collection in a worker would write to, and so copy, all that is shared
        for slots in self._shares:
            if (worker := self._fork(slots)) is not None:
                return worker
        while self._alive:
            pid, status = os.waitpid(-1, 0)
            if pid in self._alive:  # and not what the user's module has started
                slots, started = self._alive.pop(pid)
                self._judge(pid, os.waitstatus_to_exitcode(status), slots, time.monotonic() - started)
                if not self._stopping and (worker := self._fork(slots)) is not None:
                    return worker
        signal.setitimer(signal.ITIMER_REAL, 0)
        return self._code

    def _fork(self, slots: int) -> Worker | None:
        """Starts a worker; returns what it is in that worker, None in the parent."""
        logs.flush()  # what a buffer holds would be written by each
        try:
            pid = os.fork()
        except OSError as error:
            log("CRITICAL", f"The environment ends: no worker can be forked: {error}")
            self._give_up()
            return None
        if pid:
            self._alive[pid] = slots, time.monotonic()
            return None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        if not self._stopping:
            os.close(self._tell)
        if self._extension is not None:
            self._extension.close()
        logs.reconnect()
        return Worker(slots, self._told)

    def _judge(self, pid: int, how: int, slots: int, lived: float) -> None:
        """Decides what a worker's end means. Waits a while before it is replaced."""
        if self._stopping:
            if self._killed and how == -signal.SIGKILL:
                log("WARNING", f"The worker {pid} did not end, and was killed")
            return
        if how == GAVE_UP:
            self._give_up()
            return
        self._deaths = self._deaths + 1 if lived < SETTLED else 1
        manner = f"exit code {how}" if how >= 0 else signal.strsignal(-how)
        what = f"The worker {pid} has died ({manner}), and with it the invocations in its {slots} slots"
        if self._deaths < MOST_DEATHS:
            log("ERROR", f"{what}; another takes its place")
            # A pause that ends when the pipe does, on SIGTERM.
            select.select([self._told], [], [], FIRST_PAUSE * 2 ** (self._deaths - 1))
        else:
            log("CRITICAL", f"{what}; the environment ends: {MOST_DEATHS} have died in a row")
            self._give_up()

    def _give_up(self) -> None:
        self._code = 1
        self._stop()

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            os.close(self._tell)
            signal.setitimer(signal.ITIMER_REAL, END_LIMIT)

    def _kill(self) -> None:
        self._killed = True
        for pid in self._alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
