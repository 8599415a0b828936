"""`share_writes`: the later messages of a burst share a write, each a chunk of its own, none late, none lost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import math
import os
import socket
import subprocess
import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_stream import StreamClosed, StreamingAdapter
from asgi_stream.errors import AppError
from asgi_stream.runtime import shared_writes
from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.loop import Runtime
from asgi_stream.runtime.requests import Invocation
from asgi_stream.runtime.shared_writes import FIRST, MOST, SharingStream, Watchdog
from asgi_stream.runtime.streams import SocketStream
from asgi_stream.sinks import Prelude, SinkStateError
from tests.apps.shared_writes_app import MESSAGES
from tests.support.events import function_url_event
from tests.support.memory import MemoryStream, connects_to
from tests.support.process import process
from tests.support.wire import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from asgi_stream.runtime.streams import Stream
    from asgi_stream.sinks import Buffer

pytestmark = pytest.mark.anyio

PRELUDE = Prelude(200, {})
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 0\r\n\r\n"


class Recorder(MemoryStream):
    """A stream in memory that two threads may write to. ``buffers`` are the very objects of each write."""

    def __init__(self, capacity: int | None = None) -> None:
        super().__init__(capacity)
        self.buffers: list[list[Buffer]] = []
        self.changed = threading.Condition()

    def write(self, buffers: Sequence[Buffer]) -> int:
        with self.changed:
            taken = super().write(buffers)
            if taken:
                self.buffers.append(list(buffers))
            self.changed.notify_all()
            return taken

    def take(self, count: int) -> None:
        with self.changed:
            super().take(count)

    def wait_for(self, data: bytes) -> None:
        """Blocks this thread, and so the event loop, until this has been written. A hang is pytest's to end."""
        with self.changed:
            self.changed.wait_for(lambda: data in self.written)


class Held(Recorder):
    """A stream that keeps the watchdog's first write of ``text`` until :attr:`go`; ``inside`` is set meanwhile."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self.inside = threading.Event()
        self.go = threading.Event()
        self.at_once = False
        self._text = text

    def write(self, buffers: Sequence[Buffer]) -> int:
        if threading.current_thread() is threading.main_thread():
            if self.inside.is_set():
                self.at_once = True
                self.go.set()
        elif self._text in b"".join(buffers) and not self.go.is_set():
            self.inside.set()
            self.go.wait()
            self.inside.clear()
        return super().write(buffers)


class Announced:
    """A lock that tells of the event loop's thread before it waits."""

    def __init__(self, waits: threading.Event) -> None:
        self._lock = threading.Lock()
        self._waits = waits

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._waits.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Asleep(Watchdog):
    """A watchdog that leaves everything to the event loop."""

    def watch(self, stream: SharingStream) -> None:
        pass


class NoTurns(SharingStream):
    """A stream whose event loop leaves everything to the watchdog, as one whose app never yields does."""

    __slots__ = ()

    def _push_soon(self) -> None:
        pass


async def unused(scope: Any, receive: Any, send: Any) -> None:
    """An app that no event reaches."""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def parse(raw: bytes) -> tuple[list[bytes], dict[str, str]]:
    """The chunks and trailers of the one request that these bytes are; what follows the request is an error."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(raw)
    chunks: list[bytes] = []
    assert isinstance(server.next_event(), h11.Request)
    while not isinstance(event := server.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data), event
        if event.chunk_start:
            chunks.append(b"")
        chunks[-1] += event.data
    assert server.trailing_data == (b"", False)
    return chunks, {name.decode(): value.decode() for name, value in event.headers}


def until(condition: Callable[[], object]) -> None:
    """Computes, without a turn of the event loop. A hang is pytest's to end."""
    while not condition():
        pass


@pytest.fixture(autouse=True)
def own_switch_interval() -> Iterator[None]:
    """It is the process's: a watchdog that is still at work would change it under the next test."""
    interval = sys.getswitchinterval()
    yield
    over = monotonic() + 20
    until(lambda: sys.getswitchinterval() == interval or monotonic() > over)
    found = sys.getswitchinterval()
    sys.setswitchinterval(interval)  # one failure is enough
    assert found == interval


@pytest.fixture
def endless_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message comes too late to be of the burst, however slow the machine is."""
    monkeypatch.setattr(shared_writes, "PAUSE", math.inf)


async def started(
    stream: Stream, watchdog: Watchdog | None = None, kind: type[SharingStream] = SharingStream
) -> SharingStream:
    async def connect() -> Stream:
        return stream

    sink = kind(Connection("host:1", connect), Invocation("id-1", b""), watchdog or Watchdog())
    await sink.start(PRELUDE)
    return sink


async def burst(sink: SharingStream) -> None:
    """The messages of a burst that leave at once; what comes now is kept."""
    for _ in range(FIRST):
        await sink.write(b"first")


async def one_kept_and_room_for_three_bytes() -> tuple[Recorder, SharingStream]:
    """In a burst, with a watchdog that does not look."""
    stream = Recorder(capacity=10_000)
    sink = await started(stream, Asleep())
    await burst(sink)
    assert stream._capacity is not None
    stream.take(3 - stream._capacity)
    await sink.write(b"kept")
    return stream, sink


async def test_a_lone_message_and_the_first_of_a_burst_are_on_the_wire_before_send_returns() -> None:
    """With the pause as it is: the app spins for it, and the event loop has no turn."""
    stream = Recorder()
    sink = await started(stream, Asleep())
    for number in range(3 * FIRST):
        message = b"lone %d" % number
        over = monotonic() + shared_writes.PAUSE
        while monotonic() < over:
            pass
        await sink.write(message)
        assert stream.writes[-1] == chunk(message)


@pytest.mark.usefixtures("endless_burst")
async def test_the_first_four_of_a_burst_leave_one_by_one_and_the_later_ones_together() -> None:
    stream = Recorder()
    sink = await started(stream, Asleep())
    for number in range(4):
        await sink.write(b"%d" % number)
        assert stream.writes[-1] == chunk(b"%d" % number)
    for number in range(4, 9):
        await sink.write(b"%d" % number)
        assert stream.writes[-1] == chunk(b"3")
    await asyncio.sleep(0)
    assert stream.writes[-1] == b"".join(chunk(b"%d" % number) for number in range(4, 9))
    assert len(stream.writes) == 1 + 4 + 1


async def test_after_a_pause_a_burst_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Recorder()
    sink = await started(stream, Asleep())
    for _ in range(3):
        monkeypatch.setattr(shared_writes, "PAUSE", 0)
        await sink.write(b"one")
        monkeypatch.setattr(shared_writes, "PAUSE", math.inf)
        for _ in range(FIRST - 1):
            await sink.write(b"one")
        before = len(stream.writes)
        await sink.write(b"kept")
        assert len(stream.writes) == before
        await asyncio.sleep(0)
        assert len(stream.writes) == before + 1
    assert len(stream.writes) == 1 + 3 * (FIRST + 1)


async def test_a_message_that_comes_later_takes_along_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Recorder()
    sink = await started(stream, Asleep())
    monkeypatch.setattr(shared_writes, "PAUSE", math.inf)
    await burst(sink)
    await sink.write(b"kept")
    monkeypatch.setattr(shared_writes, "PAUSE", 0)
    await sink.write(b"late")
    assert stream.writes[-1] == chunk(b"kept") + chunk(b"late")


@pytest.mark.usefixtures("endless_burst")
async def test_16_kib_leave_at_once() -> None:
    stream = Recorder()
    sink = await started(stream, Asleep())
    await burst(sink)
    message = b"x" * 1000
    for _ in range(MOST // 1000):
        await sink.write(message)
    assert stream.writes[-1] == chunk(b"first")
    await sink.write(message)
    assert stream.writes[-1] == chunk(message) * (MOST // 1000 + 1)
    await sink.write(message)  # kept, as the first of them were
    assert stream.writes[-1] == chunk(message) * (MOST // 1000 + 1)


@pytest.mark.usefixtures("endless_burst")
async def test_a_large_message_is_not_copied() -> None:
    stream = Recorder()
    sink = await started(stream, Asleep())
    await burst(sink)
    await sink.write(b"kept")
    body = b"x" * MOST
    await sink.write(body)
    assert any(buffer is body for buffer in stream.buffers[-1])
    assert stream.writes[-1] == chunk(b"kept") + chunk(body)


@pytest.mark.usefixtures("endless_burst")
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_an_app_may_use_its_buffer_again(kind: Callable[[bytearray], Buffer]) -> None:
    stream = Recorder()
    sink = await started(stream, Asleep())
    await burst(sink)
    data = bytearray(b"kept")
    await sink.write(data if kind is bytearray else kind(data))
    data[:] = b"lost"
    await asyncio.sleep(0)
    assert stream.writes[-1] == chunk(b"kept")


@pytest.mark.usefixtures("endless_burst")
@pytest.mark.parametrize("kept", [0, 1])
async def test_an_empty_message_writes_nothing(kept: int) -> None:
    """Least of all the chunk of no bytes, which is the end."""
    stream = Recorder()
    sink = await started(stream, Asleep())
    await burst(sink)
    for _ in range(kept):
        await sink.write(b"kept")
    for _ in range(3):
        await sink.write(b"")
    await asyncio.sleep(0)
    assert stream.writes[2 + FIRST - 1 :] == [chunk(b"kept")] * kept
    await sink.end()
    chunks, trailers = parse(stream.written)
    assert chunks[1:] == [b"first"] * FIRST + [b"kept"] * kept
    assert not trailers


@pytest.mark.usefixtures("endless_burst")
@pytest.mark.parametrize("data", [b"", b"last"])
async def test_the_end_comes_behind_what_was_kept_before_end_returns(data: bytes) -> None:
    stream = Recorder()
    sink = await started(stream, Asleep())
    await burst(sink)
    await sink.write(b"kept")
    await sink.end(data)
    assert stream.writes[-1] == chunk(b"kept") + (chunk(data) if data else b"") + b"0\r\n\r\n"
    await asyncio.sleep(0)
    assert stream.writes[-1].endswith(b"0\r\n\r\n")


@pytest.mark.usefixtures("endless_burst")
async def test_an_error_comes_behind_what_was_kept() -> None:
    stream = Recorder()
    sink = await started(stream, Asleep())
    await burst(sink)
    await sink.write(b"kept")
    await sink.abort(ValueError("no more"))
    chunks, trailers = parse(stream.written)
    assert chunks[-1] == b"kept"
    assert trailers["lambda-runtime-function-error-type"] == "Function.ValueError"


@pytest.mark.usefixtures("endless_burst")
@pytest.mark.parametrize("error", [None, ValueError("no more")])
async def test_nothing_follows_the_end(error: Exception | None) -> None:
    stream = Recorder()
    sink = await started(stream)
    await burst(sink)
    await sink.write(b"kept")
    await (sink.end() if error is None else sink.abort(error))
    with pytest.raises(SinkStateError):
        await sink.write(b"late")
    await asyncio.sleep(0)
    assert parse(stream.written)[0][-1] == b"kept"


@pytest.mark.usefixtures("endless_burst")
async def test_later_messages_leave_while_the_app_computes() -> None:
    """A handshake: the app computes, in Python, without a turn of the event loop, until its reader has read them."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    last = chunk(b"last one")
    seen: list[bool] = []

    def read() -> None:
        data = b""
        while last not in data:
            data += (more := theirs.recv(65_536))
            if not more:
                return
        seen.append(True)

    reader = threading.Thread(target=read)
    reader.start()
    watchdog = Watchdog()
    sink = await started(SocketStream(ours), watchdog)
    try:
        for round_ in range(5):  # the watchdog has slept in between, or has not
            await burst(sink)
            await sink.write(b"later %d" % round_)
        await sink.write(b"last one")
        until(lambda: seen)
    finally:
        ours.shutdown(socket.SHUT_WR)
        reader.join()
        theirs.close()
        ours.close()


async def test_through_the_real_bootstrap_while_the_app_computes(tmp_path: Path) -> None:
    signal = tmp_path / "signal"
    signal.write_bytes(b"\0")
    handler, variables = "tests.apps.shared_writes_app:handler", {"ASGI_STREAM_SHARE_WRITES": "on"}
    async with process(handler, variables) as running:
        event = function_url_event(query=f"signal={signal}")
        invocation = await running.api.invoke(json.dumps(event).encode())
        chunks: list[bytes] = []
        async for piece in invocation:
            chunks[len(chunks) - (not piece.chunk_start) :] = [(b"" if piece.chunk_start else chunks[-1]) + piece.data]
            if chunks[-1] == b"%d." % (MESSAGES - 1):
                with signal.open("r+b") as file:
                    file.write(b"\1")
    assert chunks[1:] == [*(b"%d." % number for number in range(MESSAGES)), b"end"]


@pytest.mark.usefixtures("endless_burst")
async def test_a_message_that_is_sent_while_the_watchdog_writes_is_kept_behind() -> None:
    stream = Held(b"kept")
    sink = await started(stream, kind=NoTurns)
    await burst(sink)
    await sink.write(b"kept")
    stream.inside.wait()
    await sink.write(b"behind")
    stream.go.set()
    stream.wait_for(chunk(b"behind"))
    assert stream.written.endswith(chunk(b"kept") + chunk(b"behind"))


@pytest.mark.usefixtures("endless_burst")
async def test_the_end_waits_for_the_watchdogs_write() -> None:
    stream = Held(b"kept")
    sink = await started(stream, kind=NoTurns)
    sink._lock = Announced(stream.go)  # type: ignore[assignment]
    await burst(sink)
    await sink.write(b"kept")
    stream.inside.wait()
    await sink.end()
    assert not stream.at_once
    assert parse(stream.written)[0][1:] == [b"first"] * FIRST + [b"kept"]


@pytest.mark.usefixtures("endless_burst")
async def test_a_socket_that_is_full_strands_nothing() -> None:
    """The app neither sends again nor gives the event loop a turn; the reader takes a little now and then."""
    stream = Recorder(capacity=0)
    stream.take(10_000)
    sink = await started(stream, kind=NoTurns)
    await burst(sink)
    assert stream._capacity is not None
    messages = [b"%d" % number * 300 for number in range(10)]
    stream.take(100 - stream._capacity)
    with stream.changed:  # which the watchdog's write waits for: all are kept before the socket takes the first
        for message in messages:
            await sink.write(message)
    whole = b"".join(map(chunk, messages))
    taken = stream.written.index(chunk(b"first") * FIRST) + len(chunk(b"first") * FIRST)
    for count in range(100, len(whole), 100):
        stream.wait_for(whole[:count])
        assert stream.written[taken:] == whole[:count]
        stream.take(min(100, len(whole) - count))
    stream.wait_for(whole)
    assert stream.written[taken:] == whole


@pytest.mark.usefixtures("endless_burst")
async def test_a_socket_that_was_full_at_the_loops_turn_strands_nothing() -> None:
    stream = Recorder(capacity=10_000)
    sink = await started(stream)
    await burst(sink)
    assert stream._capacity is not None
    stream.take(3 - stream._capacity)
    await sink.write(b"kept")
    await asyncio.sleep(0)
    stream.take(100)
    stream.wait_for(chunk(b"kept"))
    await sink.end()
    assert parse(stream.written)[0][-1] == b"kept"


@pytest.mark.usefixtures("endless_burst")
async def test_a_slow_reader_blocks_send_while_something_is_kept() -> None:
    stream, sink = await one_kept_and_room_for_three_bytes()
    await asyncio.sleep(0)  # three bytes of it have gone
    sending = asyncio.create_task(sink.write(b"next"))
    await stream.stalled.wait()
    assert not sending.done()
    stream.take(100)
    await sending
    assert stream.written.endswith(chunk(b"kept") + chunk(b"next"))


@pytest.mark.usefixtures("endless_burst")
async def test_a_cancelled_send_tears_nothing_of_what_was_kept() -> None:
    stream, sink = await one_kept_and_room_for_three_bytes()
    sending = asyncio.create_task(sink.write(b"x" * MOST))
    await stream.stalled.wait()
    sending.cancel()
    await asyncio.wait((sending,))
    stream.take(2 * MOST)
    await sink.end()
    assert parse(stream.written)[0][1:] == [b"first"] * FIRST + [b"kept", b"x" * MOST]


@pytest.mark.usefixtures("endless_burst")
async def test_a_message_that_is_cancelled_in_the_queue_lets_no_clean_end_follow() -> None:
    stream, sink = await one_kept_and_room_for_three_bytes()
    first = asyncio.create_task(sink.write(b"x" * MOST))
    second = asyncio.create_task(sink.write(b"never"))
    await stream.stalled.wait()
    second.cancel()
    await asyncio.wait((second,))
    stream.take(3 * MOST)
    await first
    with pytest.raises(AppError, match="cancelled"):
        await sink.end()
    chunks, trailers = parse(stream.written)
    assert chunks[-2:] == [b"kept", b"x" * MOST]
    assert trailers


@pytest.mark.usefixtures("endless_burst")
@pytest.mark.parametrize("kind", [SharingStream, NoTurns])
async def test_a_connection_that_breaks_is_told_to_the_next_send(kind: type[SharingStream]) -> None:
    stream = Recorder()
    watchdog = Asleep() if kind is SharingStream else Watchdog()
    sink = await started(stream, watchdog, kind)
    await burst(sink)
    stream.break_writes(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    stream.say(TOO_LARGE)
    await sink.write(b"lost")
    await asyncio.sleep(0)
    until(lambda: sink._failed and not watchdog._streams)
    with pytest.raises(StreamClosed, match="413"):
        await sink.write(b"next")
    with pytest.raises(StreamClosed, match="413"):
        await sink.write(b"after")
    reply = await sink.settle()
    assert reply is not None
    assert reply.status == 413


@pytest.mark.usefixtures("endless_burst")
async def test_the_watchdog_sleeps_outside_bursts_and_puts_the_switch_interval_back() -> None:
    interval = sys.getswitchinterval()
    stream = Held(b"kept")
    watchdog = Watchdog()
    sink = await started(stream, watchdog, NoTurns)
    await sink.write(b"one")
    assert watchdog._thread is None
    for _ in range(3):
        await burst(sink)
        await sink.write(b"kept")
        stream.inside.wait()
        assert sys.getswitchinterval() <= shared_writes.SWITCH_INTERVAL
        stream.go.set()
        until(lambda: not watchdog._streams)
        with watchdog._lock:
            assert sys.getswitchinterval() == interval
        stream.go.clear()


@pytest.mark.usefixtures("endless_burst")
@pytest.mark.parametrize("microseconds", [100, 200, 201, 290, 999, 7_001])
async def test_an_apps_own_switch_interval_is_the_same_after_any_number_of_bursts(
    microseconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python cuts what it is given off to whole microseconds: put back as it was read, it would shrink each time."""
    monkeypatch.setattr(shared_writes, "TICK", 3600)  # so that it is the event loop's turn that puts it back
    before = sys.getswitchinterval()
    sys.setswitchinterval((microseconds + 0.5) / 1e6)
    interval = sys.getswitchinterval()
    try:
        sink = await started(Recorder(), Watchdog())
        for _ in range(3):
            await burst(sink)
            await sink.write(b"kept")
            assert sys.getswitchinterval() <= shared_writes.SWITCH_INTERVAL
            await asyncio.sleep(0)
            assert sys.getswitchinterval() == interval
        await sink.end()
    finally:
        sys.setswitchinterval(before)


@pytest.mark.usefixtures("endless_burst")
async def test_one_watchdog_serves_all_responses_of_a_process() -> None:
    watchdog = Watchdog()
    streams = [Recorder() for _ in range(8)]
    sinks = [await started(stream, watchdog, NoTurns) for stream in streams]
    for sink in sinks:
        await burst(sink)
    thread = watchdog._thread
    for number, sink in enumerate(sinks):
        await sink.write(b"kept %d" % number)
    for number, stream in enumerate(streams):
        stream.wait_for(chunk(b"kept %d" % number))
    assert watchdog._thread is thread


@pytest.mark.usefixtures("endless_burst")
async def test_a_response_that_goes_on_sending_does_not_hold_up_another() -> None:
    """Each write puts the watchdog off, but only where nobody else waits for it."""
    watchdog = Watchdog()
    busy, quiet = Recorder(), Recorder()
    sending, waiting = await started(busy, watchdog, NoTurns), await started(quiet, watchdog, NoTurns)
    for sink in (sending, waiting):
        await burst(sink)
        await sink.write(b"kept")
    over = monotonic() + 20
    while chunk(b"kept") not in quiet.written:
        await sending.write(b"x" * MOST)  # written at once, with whatever is kept
        await sending.write(b"kept")
        assert monotonic() < over
    await sending.end()
    await waiting.end()


@pytest.mark.usefixtures("endless_burst")
async def test_a_burst_that_has_left_needs_no_watchdog() -> None:
    """At the event loop's turn, and at the end of a response, nothing is left to look after."""
    watchdog = Watchdog()
    sink = await started(Recorder(), watchdog)
    interval = sys.getswitchinterval()
    for leave in (lambda: asyncio.sleep(0), sink.end):
        await burst(sink)
        await sink.write(b"kept")
        await leave()
        with watchdog._lock:
            assert not watchdog._streams
            assert sys.getswitchinterval() == interval


class ByHand:
    """An alarm that rings when the test says so; it counts how often somebody has waited, and notes what was set."""

    def __init__(self) -> None:
        self.waits = 0
        self.was_set: list[float] = []
        self._rings = threading.Semaphore(0)

    def set(self, seconds: float) -> None:
        self.was_set.append(seconds)

    def stop(self) -> None:
        pass

    def wait(self) -> None:
        self.waits += 1
        self._rings.acquire()

    def ring(self) -> None:
        self._rings.release()

    def has_waited(self, times: int) -> None:
        """Blocks until somebody waits for that many times."""
        until(lambda: self.waits == times)


async def two_of_one_watchdog(kind: type[SharingStream]) -> tuple[Watchdog, ByHand, Held, SharingStream]:
    """Two responses that have kept something. The watchdog has written that of the one that is returned, and is about
    to write that of the other, to the stream that is returned."""
    watchdog, alarm = Watchdog(), ByHand()
    watchdog._alarm = alarm  # type: ignore[assignment]
    streams: dict[SharingStream, Held] = {}
    for _ in range(2):
        stream = Held(b"kept")
        sink = await started(stream, watchdog, kind)
        streams[sink] = stream
        await burst(sink)
        await sink.write(b"kept")
    first, last = watchdog._streams  # in the order in which it comes to them
    streams[first].go.set()
    alarm.ring()
    streams[last].inside.wait()
    return watchdog, alarm, streams[last], first


@pytest.mark.usefixtures("endless_burst")
async def test_a_response_that_ends_under_the_watchdogs_eyes_leaves_the_switch_interval_to_be_put_back() -> None:
    interval = sys.getswitchinterval()
    watchdog, alarm, stream, other = await two_of_one_watchdog(NoTurns)
    await other.end()
    stream.go.set()
    alarm.has_waited(2)
    assert not watchdog._streams
    assert sys.getswitchinterval() == interval


@pytest.mark.usefixtures("endless_burst")
async def test_a_response_that_has_left_and_keeps_something_again_is_watched_again() -> None:
    """The watchdog, which still has it in hand, looks at it just before the event loop's thread says so."""

    class Interrupted(NoTurns):
        __slots__ = ()
        interrupt: Callable[[], None] | None = None

        @property
        def _scheduled(self) -> bool:
            """Asked for by ``put``, once the message is kept."""
            if Interrupted.interrupt is not None:
                Interrupted.interrupt()
            return False

        @_scheduled.setter
        def _scheduled(self, value: bool) -> None:
            pass

    def let_it_look() -> None:
        Interrupted.interrupt = None
        stream.go.set()
        alarm.has_waited(2)

    watchdog, alarm, stream, other = await two_of_one_watchdog(Interrupted)
    SharingStream._push_soon(other)  # as at the event loop's turn
    assert other not in watchdog._streams
    Interrupted.interrupt = let_it_look
    await other.write(b"kept again")
    assert other in watchdog._streams
    await other.end()


@pytest.mark.usefixtures("endless_burst")
async def test_a_reader_that_takes_nothing_does_not_hold_up_another_response() -> None:
    """The watchdog looks less and less often then, until somebody else keeps something."""
    watchdog, alarm = Watchdog(), ByHand()
    watchdog._alarm = alarm  # type: ignore[assignment]
    stuck = Recorder(capacity=10_000)
    stalled, other = await started(stuck, watchdog, NoTurns), await started(Recorder(), watchdog, NoTurns)
    for sink in (stalled, other):
        await burst(sink)
    assert stuck._capacity is not None
    stuck.take(-stuck._capacity)
    await stalled.write(b"kept")
    for count in range(4):
        alarm.ring()
        alarm.has_waited(2 + count)
    tick, longest = shared_writes.TICK, shared_writes.LONGEST_TICK
    assert alarm.was_set == [tick, 2 * tick, 4 * tick, longest, longest]
    await other.write(b"kept")
    assert alarm.was_set[5:] == [tick]
    alarm.ring()
    alarm.has_waited(6)
    assert alarm.was_set[6:] == [tick]  # something has moved
    stuck.take(1_000)
    alarm.ring()
    alarm.has_waited(7)
    assert not watchdog._streams


ALARMS = [shared_writes._Sleeper, *([shared_writes._Timer] if hasattr(os, "timerfd_create") else [])]


@pytest.mark.parametrize("kind", ALARMS)
def test_an_alarm_rings_at_the_time_that_was_set_last(kind: Callable[[], Any]) -> None:
    alarm = kind()
    rang: list[float] = []
    done = threading.Event()

    def wait() -> None:
        for _ in range(2):
            alarm.wait()
            rang.append(monotonic())
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    alarm.set(0.001)
    until(lambda: rang)
    begun = monotonic()
    alarm.set(0.005)
    alarm.stop()
    stopped = monotonic()
    alarm.set(0.01)
    done.wait()
    assert rang[1] >= stopped + 0.01 or stopped >= begun + 0.005  # the time had come before it was stopped


@pytest.mark.parametrize("kind", ALARMS)
def test_an_alarm_that_is_set_to_an_earlier_time_rings_then(kind: Callable[[], Any]) -> None:
    alarm = kind()
    waiting = threading.Thread(target=alarm.wait, daemon=True)
    alarm.set(3600)
    waiting.start()
    if kind is shared_writes._Sleeper:
        until(lambda: alarm._changed._waiters)
    alarm.set(0.001)
    waiting.join()


def test_a_kernel_without_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError("no timers here")

    monkeypatch.setattr(os, "timerfd_create", refuse, raising=False)
    monkeypatch.setattr(os, "TFD_CLOEXEC", 0, raising=False)
    assert isinstance(Watchdog()._alarm, shared_writes._Sleeper)


@pytest.mark.usefixtures("endless_burst")
async def test_what_is_kept_is_what_was_sent() -> None:
    """The app may use its buffer again once ``send`` has returned."""
    stream = Recorder()
    sink = await started(stream, kind=NoTurns)
    await burst(sink)
    data = bytearray(b"kept")
    await sink.write(data)
    data[:] = b"gone"
    await sink.end()
    assert parse(stream.written)[0][-1] == b"kept"


@pytest.mark.usefixtures("endless_burst")
async def test_without_a_thread_every_message_is_a_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    stream = Recorder()
    sink = await started(stream)
    for number in range(10):
        await sink.write(b"%d" % number)
        assert stream.writes[-1] == chunk(b"%d" % number)


@pytest.mark.usefixtures("endless_burst")
async def test_what_was_kept_when_the_app_forked_is_the_parents() -> None:
    """As in a child: the thread is gone, and may have held the lock."""
    stream = Recorder()
    watchdog = Asleep()
    connection = Connection("host:1", connects_to(stream))
    sink = watchdog.response(connection, Invocation("id-1", b""))
    await sink.start(PRELUDE)
    await burst(sink)
    await sink.write(b"kept")
    watchdog._streams.add(sink)
    before = list(stream.writes)
    sink._lock.acquire()
    runtime = Runtime(StreamingAdapter(unused, share_writes=True), connection)
    runtime._watchdog = watchdog
    runtime.abandon()
    with pytest.raises(StreamClosed):
        await sink.write(b"child")
    sink.push()
    assert stream.writes == before


@pytest.mark.usefixtures("endless_burst")
@pytest.mark.parametrize("turns", [0, 1])
async def test_a_child_leaves_the_parents_watchdog_alone(turns: int) -> None:
    """Also where a turn of the event loop has left nothing kept; and with a lock that another thread held."""
    rings = []

    class Alarm(shared_writes._Sleeper):
        def set(self, seconds: float) -> None:
            rings.append("set")
            super().set(seconds)

        def stop(self) -> None:
            rings.append("stop")
            super().stop()

    stream, watchdog = Recorder(), Watchdog()
    watchdog._alarm = Alarm()
    connection = Connection("host:1", connects_to(stream))
    sink = watchdog.response(connection, Invocation("id-1", b""))
    await sink.start(PRELUDE)
    await burst(sink)
    await sink.write(b"kept")
    for _ in range(turns):
        await asyncio.sleep(0)
    interval = sys.getswitchinterval()
    before = list(rings)
    watchdog._lock.acquire()
    connection.abandon()
    watchdog.abandon()
    with pytest.raises(StreamClosed):
        await sink.write(b"child")
    with pytest.raises(StreamClosed):
        await sink.end()
    assert rings == before
    assert not watchdog.runs()
    assert sys.getswitchinterval() >= interval


@pytest.mark.usefixtures("endless_burst")
async def test_a_child_has_the_switch_interval_of_before() -> None:
    """Also where another thread forks at the very moment at which the watchdog has been told of the first stream."""
    interval = sys.getswitchinterval()
    found: list[float] = []

    class Alarm(ByHand):
        def set(self, seconds: float) -> None:
            found.append(sys.getswitchinterval())
            watchdog.abandon()
            found.append(sys.getswitchinterval())

    watchdog = Watchdog()
    watchdog._alarm = Alarm()  # type: ignore[assignment]
    sink = await started(Recorder(), watchdog)
    await burst(sink)
    await sink.write(b"kept")
    assert found == [pytest.approx(shared_writes.SWITCH_INTERVAL), interval]


if hasattr(os, "timerfd_create"):  # a timer of the kernel's

    def test_a_timer_takes_the_place_of_no_standard_stream() -> None:
        program = """
import os
from asgi_stream.runtime.shared_writes import Watchdog
os.close(1)
descriptor = Watchdog()._alarm._descriptor
os.write(2, b"%d" % descriptor)
os._exit(0)
"""
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert int(run.stderr) > 2


def test_off_the_module_is_not_even_imported() -> None:
    program = """
import sys
import asgi_stream.runtime.bootstrap
from asgi_stream import StreamingAdapter, streaming_handler
from asgi_stream.runtime.loop import Runtime
from asgi_stream.runtime.connection import Connection
async def app(scope, receive, send): ...
def handler(event, response, context): ...
connection = Connection("host:1", None)
for made in (StreamingAdapter(app), streaming_handler(handler)):
    Runtime(made, connection)
    print("asgi_stream.runtime.shared_writes" in sys.modules)
import os
os.environ["ASGI_STREAM_SHARE_WRITES"] = "on"
Runtime(SETTING, connection)
print("asgi_stream.runtime.shared_writes" in sys.modules)
"""
    for setting in ("StreamingAdapter(app)", "streaming_handler(handler)"):
        command = [sys.executable, "-c", program.replace("SETTING", setting)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        assert run.stdout.split() == ["False", "False", "True"]


@pytest.mark.parametrize("status", [200, 500])
async def test_an_app_through_the_whole_runtime(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response of status 5xx is held open until the app has returned; what the app has sent is not."""
    monkeypatch.setattr(shared_writes, "PAUSE", math.inf)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        for number in range(20):
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
        await send({"type": "http.response.body", "body": b"last"})
        if status == 500:
            raise ValueError("behind the page")

    api = await serve(StreamingAdapter(app, lifespan="off", share_writes=True), function_url_event())
    (answer,) = api.answers
    assert answer.chunks[1:] == [*(b"%d" % number for number in range(20)), b"last"]
    assert ("lambda-runtime-function-error-type" in answer.trailers) == (status == 500)


# The property. What each sender does, one step after another: a message of so many bytes, a turn of the event loop,
# or a time without one.
STEPS = st.lists(
    st.one_of(
        st.integers(0, 200),
        st.integers(0, 40_000),
        st.sampled_from(["turn", "compute"]),
    ),
    max_size=60,
)
SENDERS = st.lists(STEPS, min_size=1, max_size=3)
ENDS = st.sampled_from(["end", "last", "error"])
PAUSES = st.sampled_from([0.0, shared_writes.PAUSE, math.inf])


@contextlib.contextmanager
def pause(seconds: float) -> Iterator[None]:
    before, shared_writes.PAUSE = shared_writes.PAUSE, seconds
    try:
        yield
    finally:
        shared_writes.PAUSE = before


async def play(sink: SharingStream, senders: list[list[int | str]], end: str) -> list[bytes]:
    """Sends all; returns the chunks that have to arrive, in the order of the calls."""
    sent: list[bytes] = [PRELUDE.encode()]

    async def sender(name: int, steps: list[int | str]) -> None:
        for number, step in enumerate(steps):
            if step == "turn":
                await asyncio.sleep(0)
            elif step == "compute":
                over = monotonic() + 2 * shared_writes.TICK
                while monotonic() < over:
                    pass
            else:
                assert isinstance(step, int)
                data = (b"%d/%d " % (name, number) * step)[:step]
                if data:
                    sent.append(data)
                await sink.write(data)

    await asyncio.gather(*(sender(name, steps) for name, steps in enumerate(senders)))
    if end == "error":
        await sink.abort(ValueError("at the end"))
    else:
        data = b"last" if end == "last" else b""
        sent += [data] if data else []
        await sink.end(data)
    return sent


def check(raw: bytes, sent: list[bytes], end: str) -> None:
    chunks, trailers = parse(raw)
    assert [hashlib.sha256(chunk).digest() for chunk in chunks] == [hashlib.sha256(data).digest() for data in sent]
    assert bool(trailers) == (end == "error")


@given(SENDERS, ENDS, PAUSES, st.lists(st.integers(1, 50_000), min_size=1, max_size=10))
def test_the_same_chunks_arrive_in_the_same_order(
    senders: list[list[int | str]], end: str, seconds: float, takes: list[int]
) -> None:
    """In memory: the reader takes so much, whenever the event loop has a turn and nothing more fits."""

    async def run() -> None:
        stream = Recorder(capacity=1_000)
        sink = await started(stream)

        async def read() -> None:
            for turn in range(1_000_000_000):
                await asyncio.sleep(0)
                if not stream._capacity:
                    stream.take(takes[turn % len(takes)])

        reader = asyncio.create_task(read())
        sent = await play(sink, senders, end)
        reader.cancel()
        check(stream.written, sent, end)

    with pause(seconds):
        asyncio.run(run())


@given(SENDERS, ENDS, PAUSES, st.lists(st.integers(500, 50_000), min_size=1, max_size=10))
def test_the_same_chunks_arrive_in_the_same_order_over_sockets(
    senders: list[list[int | str]], end: str, seconds: float, takes: list[int]
) -> None:
    """Small sockets, and a reader that reads only when the event loop has had a turn, or the app computes."""
    raw = bytearray()

    def read(theirs: socket.socket, turn: threading.Event) -> None:
        number = 0
        while data := theirs.recv(takes[number % len(takes)]):
            raw.extend(data)
            number += 1
            turn.clear()
            turn.wait()

    async def run() -> list[bytes]:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        turn = threading.Event()
        reader = threading.Thread(target=read, args=(theirs, turn))
        reader.start()

        async def give_turns() -> None:
            while True:
                turn.set()
                await asyncio.sleep(0)

        turns = asyncio.create_task(give_turns())
        stream = SocketStream(ours)
        try:
            return await play(await started(stream), senders, end)
        finally:
            ours.shutdown(socket.SHUT_WR)
            await asyncio.to_thread(reader.join)
            turns.cancel()
            stream.close()
            theirs.close()

    with pause(seconds):
        sent = asyncio.run(run())
    check(bytes(raw), sent, end)
