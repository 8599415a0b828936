"""`share_writes`: the later messages of a burst share a write, each a chunk of its own, none late, none lost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import hashlib
import json
import math
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
from asgi_stream.runtime.shared_writes import FIRST, MOST, SharingStream
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
HANDLER, ON = "tests.apps.shared_writes_app:handler", {"ASGI_STREAM_SHARE_WRITES": "on"}
TOO_LARGE = b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 0\r\n\r\n"


class Recorder(MemoryStream):
    """A stream in memory that keeps the very objects of each write, as ``buffers``."""

    def __init__(self, capacity: int | None = None) -> None:
        super().__init__(capacity)
        self.buffers: list[list[Buffer]] = []

    def write(self, buffers: Sequence[Buffer]) -> int:
        taken = super().write(buffers)
        if taken:
            self.buffers.append(list(buffers))
        return taken


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


@pytest.fixture
def endless_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message comes too late to be of the burst, however slow the machine is."""
    monkeypatch.setattr(shared_writes, "PAUSE", math.inf)


async def started(stream: Stream) -> SharingStream:
    async def connect() -> Stream:
        return stream

    sink = SharingStream(Connection("host:1", connect), Invocation("id-1", b""))
    await sink.start(PRELUDE)
    return sink


async def burst(sink: SharingStream) -> None:
    """The messages of a burst that leave at once; what comes now is kept."""
    for _ in range(FIRST):
        await sink.write(b"first")


async def one_kept_and_room_for_three_bytes() -> tuple[Recorder, SharingStream]:
    """In a burst."""
    stream = Recorder(capacity=10_000)
    sink = await started(stream)
    await burst(sink)
    assert stream._capacity is not None
    stream.take(3 - stream._capacity)
    await sink.write(b"kept")
    return stream, sink


async def test_a_lone_message_and_the_first_of_a_burst_are_on_the_wire_before_send_returns() -> None:
    """With the pause as it is: the app spins for it, and the event loop has no turn."""
    stream = Recorder()
    sink = await started(stream)
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
    sink = await started(stream)
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
    sink = await started(stream)
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
    sink = await started(stream)
    monkeypatch.setattr(shared_writes, "PAUSE", math.inf)
    await burst(sink)
    await sink.write(b"kept")
    monkeypatch.setattr(shared_writes, "PAUSE", 0)
    await sink.write(b"late")
    assert stream.writes[-1] == chunk(b"kept") + chunk(b"late")
    monkeypatch.setattr(shared_writes, "PAUSE", math.inf)
    for number in range(FIRST - 1):  # a burst of which the late one was the first
        await sink.write(b"%d" % number)
        assert stream.writes[-1] == chunk(b"%d" % number)
    before = len(stream.writes)
    await sink.write(b"kept again")
    assert len(stream.writes) == before


@pytest.mark.usefixtures("endless_burst")
async def test_16_kib_leave_at_once() -> None:
    stream = Recorder()
    sink = await started(stream)
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
    sink = await started(stream)
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
    sink = await started(stream)
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
    sink = await started(stream)
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
    sink = await started(stream)
    await burst(sink)
    await sink.write(b"kept")
    await sink.end(data)
    assert stream.writes[-1] == chunk(b"kept") + (chunk(data) if data else b"") + b"0\r\n\r\n"
    await asyncio.sleep(0)
    assert stream.writes[-1].endswith(b"0\r\n\r\n")


@pytest.mark.usefixtures("endless_burst")
async def test_an_error_comes_behind_what_was_kept() -> None:
    stream = Recorder()
    sink = await started(stream)
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
async def test_an_app_that_computes_holds_its_last_messages_back_until_the_loops_turn() -> None:
    """However long that takes: nothing but the event loop looks."""
    stream = Recorder()
    threads = threading.active_count()
    interval = sys.getswitchinterval()
    sink = await started(stream)
    await burst(sink)
    await sink.write(b"later")
    await sink.write(b"last")
    over = monotonic() + 0.05
    while monotonic() < over:
        assert stream.writes[-1] == chunk(b"first")
    assert threading.active_count() == threads
    assert sys.getswitchinterval() == interval
    await asyncio.sleep(0)
    assert stream.writes[-1] == chunk(b"later") + chunk(b"last")


async def test_through_the_real_bootstrap_while_the_app_awaits(tmp_path: Path) -> None:
    """A handshake: the app goes on once its reader has all messages of the burst."""
    signal = tmp_path / "signal"
    signal.write_bytes(b"\0")
    async with process(HANDLER, ON) as running:
        event = function_url_event(query=f"signal={signal}")
        invocation = await running.api.invoke(json.dumps(event).encode())
        chunks: list[bytes] = []
        async for piece in invocation:
            chunks[len(chunks) - (not piece.chunk_start) :] = [(b"" if piece.chunk_start else chunks[-1]) + piece.data]
            if chunks[-1] == b"%d." % (MESSAGES - 1):
                with signal.open("r+b") as file:
                    file.write(b"\1")
    assert chunks[1:] == [*(b"%d." % number for number in range(MESSAGES)), b"end"]


async def test_a_child_sends_nothing_of_what_its_parent_has_kept() -> None:
    async with process(HANDLER, ON) as running:
        answer = await running.invoke("/")
        running.child.terminate()
        code, output = await running.end()
    body = b"".join(b"%d." % number for number in range(MESSAGES))
    assert answer.body.partition(bytes(8))[2] == body + b"child: 1.end"
    assert answer.error is None
    assert code == 0
    assert "the child cannot send" in output
    assert "A process that the app has forked came back" in output


@pytest.mark.usefixtures("endless_burst")
async def test_a_socket_that_is_full_strands_nothing() -> None:
    """The app sends nothing more; the reader takes a little now and then."""
    stream = Recorder(capacity=10_000)
    sink = await started(stream)
    await burst(sink)
    assert stream._capacity is not None
    messages = [b"%d" % number * 300 for number in range(10)]
    for message in messages:
        await sink.write(message)
    stream.take(100 - stream._capacity)
    whole = b"".join(map(chunk, messages))
    before = len(stream.written)
    for count in range(100, len(whole), 100):
        await stream.stalled.wait()
        assert stream.written[before:] == whole[:count]
        stream.take(min(100, len(whole) - count))
    assert sink._waits is not None
    await sink._waits
    assert stream.written[before:] == whole


@pytest.mark.usefixtures("endless_burst")
async def test_what_a_full_socket_has_left_survives_the_end_of_all_tasks() -> None:
    """An app that cancels every task cancels the one that waits for the reader, too."""
    stream, sink = await one_kept_and_room_for_three_bytes()
    await stream.stalled.wait()
    assert sink._waits is not None
    sink._waits.cancel()
    await asyncio.wait((sink._waits,))
    stream.take(1_000)
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
async def test_a_connection_that_breaks_is_told_to_the_next_send(caplog: pytest.LogCaptureFixture) -> None:
    stream = Recorder()
    sink = await started(stream)
    await burst(sink)
    stream.break_writes(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    stream.say(TOO_LARGE)
    await sink.write(b"lost")
    await asyncio.sleep(0)
    assert sink._waits is not None
    await asyncio.wait((sink._waits,))
    for _ in range(2):
        with pytest.raises(StreamClosed, match="413"):
            await sink.write(b"next")
    reply = await sink.settle()
    assert reply is not None
    assert reply.status == 413
    sink._waits = None
    gc.collect()
    assert caplog.records == []  # by asyncio, of a task whose error nobody has seen


@pytest.mark.usefixtures("endless_burst")
@pytest.mark.parametrize("size", [4, MOST])
async def test_a_response_that_is_lost_keeps_nothing_for_the_next_one(size: int) -> None:
    """A task that an app has left behind goes on sending, in the invocation after its own."""
    old, new = Recorder(), Recorder()
    connection = Connection("host:1", connects_to(old, new))
    sink = SharingStream(connection, Invocation("id-1", b""))
    await sink.start(PRELUDE)
    await burst(sink)
    old.break_writes(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    with contextlib.suppress(StreamClosed):
        await sink.write(b"x" * size)
        await asyncio.sleep(0)
        assert sink._waits is not None
        await asyncio.wait((sink._waits,))
    assert sink.lost is not None
    following = SharingStream(connection, Invocation("id-2", b""))
    await following.start(PRELUDE)
    await burst(following)
    with pytest.raises(StreamClosed):
        await sink.write(b"POISON")
    await asyncio.sleep(0)
    await following.end()
    assert parse(new.written)[0][1:] == [b"first"] * FIRST


@pytest.mark.usefixtures("endless_burst")
async def test_messages_that_come_while_a_full_socket_gets_room_stay_in_order() -> None:
    """In the very turn of the event loop in which a part of what was kept has left."""
    stream, sink = await one_kept_and_room_for_three_bytes()
    asyncio.get_running_loop().call_soon(stream.take, 1_000)
    tasks = [asyncio.create_task(sink.write(data)) for data in (b"second", b"third", b"fourth")]
    await asyncio.wait(tasks)
    await sink.end()
    assert parse(stream.written)[0][-4:] == [b"kept", b"second", b"third", b"fourth"]


@pytest.mark.usefixtures("endless_burst")
async def test_what_is_kept_is_what_was_sent() -> None:
    """The app may use its buffer again once ``send`` has returned."""
    stream = Recorder()
    sink = await started(stream)
    await burst(sink)
    data = bytearray(b"kept")
    await sink.write(data)
    data[:] = b"gone"
    await sink.end()
    assert parse(stream.written)[0][-1] == b"kept"


@pytest.mark.usefixtures("endless_burst")
async def test_what_was_kept_when_the_app_forked_is_the_parents() -> None:
    stream = Recorder()
    connection = Connection("host:1", connects_to(stream))
    sink = SharingStream(connection, Invocation("id-1", b""))
    await sink.start(PRELUDE)
    await burst(sink)
    await sink.write(b"kept")
    before = list(stream.writes)
    Runtime(StreamingAdapter(unused, share_writes=True), connection).abandon()  # as in a child
    for _ in range(2):
        with pytest.raises(StreamClosed):
            await sink.write(b"child")
    with pytest.raises(StreamClosed):
        await sink.end()
    await asyncio.sleep(0)
    assert stream.writes == before


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
                over = monotonic() + 0.001
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
