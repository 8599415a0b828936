"""Tasks that write at once: whatever the peer does and whoever is cancelled, each `send` returns or raises at once.

No chunk is torn, none is lost or sent twice, and nothing of one request gets into the next. The event loop of these
tests stops when nothing is ready: a task that has not ended by then would wait for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_stream.errors import AppError, StreamClosed
from asgi_stream.runtime import shared_writes
from asgi_stream.runtime.connection import Connection, ConnectionLost, EarlyReply
from asgi_stream.runtime.reports import describe
from asgi_stream.runtime.requests import Invocation, next_invocation, stream_end, stream_response
from asgi_stream.runtime.response import ResponseStream
from asgi_stream.runtime.shared_writes import SharingStream
from asgi_stream.runtime.streams import SocketStream
from asgi_stream.sinks import Prelude
from tests.support.memory import MemoryStream, begin, connects_to
from tests.support.settle import SettlingLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from asgi_stream.runtime.http11 import Reply
    from asgi_stream.runtime.streams import Stream

pytestmark = pytest.mark.anyio

OK = b'HTTP/1.1 202 Accepted\r\nContent-Length: 15\r\n\r\n{"status":"OK"}'
TOO_LARGE = b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 16\r\n\r\nResponseTooLarge"
RESPONSE = stream_response(Invocation("id-1", b""))
HEAD = RESPONSE.encode("host:1")
NEXT = next_invocation()
FOLLOWING = NEXT.encode("host:1")
PRELUDE = Prelude(200, {})
NOT_WHOLE = stream_end(
    describe(AppError("a send was cancelled before its message had been taken: the response is not whole"))
)
# For what is on its way through a real socket, in seconds. Only a test that fails waits for so long.
LIMIT = 5.0


class InMemory:
    """The server's end of a connection in memory."""

    def __init__(self) -> None:
        self.stream = MemoryStream(capacity=len(HEAD) + 150)

    def take(self, count: int) -> None:
        self.stream.take(count)

    def take_all(self) -> None:
        """Takes whatever comes from now on, and replies to the next request."""
        self.stream.take(1_000_000_000)
        if self.stream.written.endswith(FOLLOWING):
            self.say(OK)

    def say(self, data: bytes) -> None:
        self.stream.say(data)

    def finish(self) -> None:
        """Sends nothing more, and reads on."""
        self.stream.say(b"")

    def reset(self) -> None:
        self.stream.break_writes(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    def close(self) -> None:
        self.stream.say(b"")
        self.stream.break_writes(BrokenPipeError(errno.EPIPE, "Broken pipe"))

    def received(self) -> bytes:
        """All that has come, once the client has closed."""
        return self.stream.written


class OnSocket:
    """The server's end of a real connection. It blocks for nothing, but in a thread of :meth:`take_all`."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self._sock = theirs
        self._received = bytearray()
        self._reader: threading.Thread | None = None
        ours.setblocking(False)
        self.stream = SocketStream(ours)

    def take(self, count: int) -> None:
        if self._reader is None:
            with contextlib.suppress(OSError):
                self._received += self._sock.recv(count, socket.MSG_DONTWAIT)

    def take_all(self) -> None:
        if self._reader is None:
            self._reader = threading.Thread(target=self._read)
            self._reader.start()

    def _read(self) -> None:
        self._sock.settimeout(LIMIT)
        with contextlib.suppress(ConnectionError):
            while data := self._sock.recv(65_536):
                self._received += data
                if self._received.endswith(FOLLOWING):
                    self._sock.sendall(OK)

    def say(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self._sock.sendall(data)

    def finish(self) -> None:
        with contextlib.suppress(OSError):  # the client has closed
            self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        if self._sock.family == socket.AF_INET:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        self._sock.close()

    def received(self) -> bytes:
        if self._sock.fileno() >= 0:
            self.take_all()
        if self._reader is not None:
            self._reader.join()
        self._sock.close()
        return bytes(self._received)


def unix() -> OnSocket:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2_048)
    return OnSocket(ours, theirs)


def tcp() -> OnSocket:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        ours = socket.create_connection(listener.getsockname())
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2_048)
        theirs = listener.accept()[0]
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a reset takes along what has not left
        return OnSocket(ours, theirs)


class Message:
    """A part of a request's body; no two are alike. ``wire`` is what has to arrive."""

    def __init__(self, number: int, size: int) -> None:
        self.wire = b"<%d:%b>" % (number, b"%d" % (number % 10) * size)
        self.buffer = bytearray(self.wire)
        self.is_left = False  # cancelled before the last part was handed over
        self.outcome: object = None  # "returned", "cancelled", or the error


class Exchange:
    """A request on a connection, and the tasks that write its body. The next request begins as soon as it can."""

    head = RESPONSE.encode("host:1")
    keeps = False  # what it has taken from a writer

    def __init__(self, end: Callable[[], InMemory | OnSocket]) -> None:
        self._end = end
        self.ends: list[InMemory | OnSocket] = []
        self.loop = SettlingLoop(0.0 if end is InMemory else LIMIT)
        self.connection = Connection("host:1", self._connect)
        self.messages: list[Message] = []  # in the order of their calls
        self.tasks: dict[asyncio.Task[None], Message | None] = {}
        self.errors: list[ConnectionError] = []
        self.reply: Reply | None = None
        self.is_begun = False
        self.is_whole = False  # the last part has been handed over
        self.left_out = False
        self.is_broken = False  # no more can be sent, for one of these reasons
        self.is_closed = False  # by ourselves
        self.is_gone = False  # by the server
        self.is_refused = False  # by a whole reply
        self.next: asyncio.Task[Reply] | None = None
        self._said = 0
        self._reading: asyncio.Task[None] | None = None
        self._start(self._begin())

    async def _connect(self) -> Stream:
        await asyncio.sleep(0)
        self.ends.append(self._end())
        return self.ends[-1].stream

    # Tasks

    def _start(self, work: Coroutine[Any, Any, None], message: Message | None = None) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self.tasks[task] = message
        self.loop.turns(1)  # a task that is cancelled before has done nothing
        return task

    async def begin(self) -> None:
        await begin(self.connection, RESPONSE)

    async def send(self, message: Message, last: bool) -> None:
        view = memoryview(message.buffer)
        await self.connection.send((view[:3], view[3:]), last=last)

    async def read(self) -> Reply | None:
        return await self.connection.reply()

    async def _begin(self) -> None:
        with self._noted():
            await self.begin()
            self.is_begun = True

    async def _write(self, message: Message, last: bool) -> None:
        if self.next is not None:
            return
        self.messages.append(message)
        self.is_whole = last
        try:
            with self._noted():
                await self.send(message, last)
            message.outcome = "returned"
        except asyncio.CancelledError:
            message.outcome = "cancelled"
        except (ConnectionError, AppError) as error:
            message.outcome = error
        finally:
            message.buffer[:] = b"X" * len(message.buffer)  # the app uses it again

    async def _read(self) -> None:
        if self.next is not None:
            return
        with self._noted():
            self.reply = await self.read()
            self._follow()

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            self.errors.append(error)
            self._follow()
            raise

    def _follow(self) -> None:
        """Begins the next request, as the runtime does: other tasks may not have run since the end of this one."""
        if self.next is None:
            self.left_out = self.connection.left_out
            self.next = self.loop.create_task(self.connection.request(NEXT))

    def pending(self) -> list[asyncio.Task[None]]:
        return [task for task in self.tasks if not task.done()]

    def _has_sent_all(self) -> bool:
        return self.pending() in ([], [self._reading]) and not self.connection._rest

    # Steps

    def play(self, step: str, number: int) -> None:
        if step in ("send", "last") and not self.is_whole:
            message = Message(len(self.tasks), number)
            self._start(self._write(message, step == "last"), message)
        elif step == "reply" and self.is_whole and self._reading is None:
            self._reading = self._start(self._read())
        elif step == "cancel":
            tasks = [task for task in self.tasks if task is not self._reading]
            task = tasks[number % len(tasks)]
            if (left := self.tasks[task]) is not None and not task.done() and not self.is_whole:
                left.is_left = True
            task.cancel()
        elif step == "close the connection" and self.next is None and not self.keeps:
            self.connection.close()
            self.is_broken = self.is_closed = True
        elif step == "turns":
            self.loop.turns(number)
        elif step == "settle":
            self.settle()
        elif self.ends and not self.is_gone and self.next is None:
            self._serve(self.ends[0], step, number)

    def _serve(self, end: InMemory | OnSocket, step: str, number: int) -> None:
        if step in ("finish", "reset", "close"):
            {"finish": end.finish, "reset": end.reset, "close": end.close}[step]()
            self.is_gone = True
        elif step == "take":
            end.take(number)
        elif step == "say" and not self.is_refused:
            end.say(TOO_LARGE[self._said : self._said + number])
            self._said += number
            self.is_refused = self._said >= len(TOO_LARGE)
        elif step == "garbage" and not self._said:
            end.say(b"garbage\r\n\r\n")
            self.is_gone = True
        self.is_broken = self.is_broken or self.is_gone or self.is_refused

    def settle(self) -> None:
        self.loop.settle(lambda: not (self.is_broken and self.pending()))
        assert not (self.is_broken and self.pending()), "a task hangs on a broken connection"

    def end(self) -> bytes:
        """The server takes all that comes and replies, then to the next request too. Returns what has come."""
        self.settle()
        if self._reading is None and self.next is None:
            self._reading = self._start(self._read())
        self.settle()
        if not self.is_broken:
            self.ends[0].take_all()
            assert self.loop.settle(self._has_sent_all), "a task hangs"
            self.ends[0].say(TOO_LARGE[self._said :] if self._said else OK)
        assert self.loop.settle(lambda: not self.pending()), "the reader hangs"
        self._follow()
        assert self.next is not None
        for _ in range(2):  # what it takes, and what it replies to
            self.loop.settle()
            self.ends[-1].take_all()
        assert self.loop.settle(self.next.done), "the next request hangs"
        assert self.next.result().status == 202
        self.connection.close()
        self.loop.settle()
        received = [end.received() for end in self.ends]
        if len(received) > 1:
            assert received[1] == FOLLOWING
            return received[0]
        assert received[0].endswith(FOLLOWING)
        return received[0].removesuffix(FOLLOWING)

    def leave(self) -> None:
        self.connection.close()
        for task in [*self.tasks, *([self.next] if self.next is not None else [])]:
            task.cancel()
        self.loop.settle()
        for task in self.tasks:
            if not task.cancelled():
                task.exception()
        self.loop.close()
        for end in self.ends:
            end.received()


class Response(Exchange):
    """The same through the sink that apps write to."""

    head = Exchange.head + b"%x\r\n%b\r\n" % (len(PRELUDE.encode()), PRELUDE.encode())
    kind = ResponseStream

    def __init__(self, end: Callable[[], InMemory | OnSocket]) -> None:
        self._sink: ResponseStream | None = None
        super().__init__(end)

    @property
    def sink(self) -> ResponseStream:
        self._sink = self._sink or self.kind(self.connection, Invocation("id-1", b""))
        return self._sink

    async def begin(self) -> None:
        await self.sink.start(PRELUDE)

    async def send(self, message: Message, last: bool) -> None:
        size = len(message.buffer)
        message.wire = b"%x\r\n%b\r\n" % (size, message.wire) + b"0\r\n\r\n" * last
        if last and self.connection.left_out:
            message.wire = NOT_WHOLE
        await (self.sink.end if last else self.sink.write)(message.buffer)

    async def read(self) -> Reply | None:
        return await self.sink.settle()


class Sharing(Response):
    keeps = True
    kind = SharingStream


def check(exchange: Exchange, received: bytes) -> None:
    """Each message is there whole, once, in the order of the calls. Only what was cancelled or lost is missing."""
    head = exchange.head
    if not received.startswith(head):
        assert exchange.is_broken
        assert head.startswith(received)
        assert not (exchange.is_begun and isinstance(exchange.ends[0], InMemory))
        received = head
    at = len(head)
    missing = []
    for message in exchange.messages:
        rest = received[at:]
        if rest.startswith(message.wire):
            at += len(message.wire)
        elif rest and message.wire.startswith(rest):
            assert exchange.is_broken
            at += len(rest)  # cut off with the connection
        else:
            missing.append(message)
    assert at == len(received), received[at:]
    if not exchange.is_broken:
        assert all(message.is_left for message in missing)
        assert all(not isinstance(message.outcome, AppError) or missing for message in exchange.messages)
        assert exchange.left_out == bool(missing)
        assert exchange.errors == []
    elif exchange.ends and isinstance(exchange.ends[0], InMemory) and not exchange.keeps:
        # What a socket has taken may be lost with the connection.
        assert all(message.outcome != "returned" for message in missing)
    if not exchange.is_closed:
        assert not exchange.is_refused or all("status 413" in str(error) for error in exchange.errors)
        assert len(set(map(id, exchange.errors))) <= 1, "tasks raise different errors"


SEND = st.tuples(st.just("send"), st.integers(0, 5_000))
STEP = st.one_of(
    SEND,
    st.tuples(st.just("take"), st.integers(1, 5_000)),
    st.tuples(st.just("cancel"), st.integers(0, 50)),
    st.tuples(st.just("turns"), st.integers(1, 3)),
    st.tuples(st.just("say"), st.integers(1, len(TOO_LARGE))),
    st.tuples(st.sampled_from(["last", "finish", "reset", "close", "garbage", "close the connection"]), st.just(500)),
    st.tuples(st.sampled_from(["settle", "reply"]), st.just(0)),
)
# Some writers first, the second of which waits already.
STEPS = st.builds(
    lambda sends, steps: [*sends, *steps],
    st.lists(SEND, min_size=1, max_size=5),
    st.lists(STEP, min_size=3, max_size=40),
)


def play(end: Callable[[], InMemory | OnSocket], steps: list[tuple[str, int]], kind: type[Exchange] = Exchange) -> None:
    exchange = kind(end)
    try:
        for step in steps:
            exchange.play(*step)
        check(exchange, exchange.end())
    finally:
        exchange.leave()


BLOCKED = [("send", 5_000), ("send", 3_000), ("send", 3_000)]
REPLY = ("say", len(TOO_LARGE))
PROGRAMS: dict[str, list[tuple[str, int]]] = {
    "the server closes its side": [*BLOCKED, ("settle", 0), ("finish", 0), ("settle", 0)],
    "the server closes": [*BLOCKED, ("settle", 0), ("close", 0), ("settle", 0)],
    "the server resets": [*BLOCKED, ("settle", 0), ("reset", 0), ("settle", 0)],
    "the server resets while the first writer connects": [*BLOCKED, ("turns", 1), ("reset", 0), ("settle", 0)],
    "an early reply": [*BLOCKED, ("settle", 0), REPLY, ("settle", 0)],
    "an early reply and a reset": [*BLOCKED, ("settle", 0), REPLY, ("reset", 0), ("settle", 0)],
    "an early reply byte by byte": [*BLOCKED, *[("say", 1), ("settle", 0)] * len(TOO_LARGE)],
    "a part of a reply, then the end": [*BLOCKED, ("say", 20), ("settle", 0), ("finish", 0), ("settle", 0)],
    "a part of a reply, then a reset": [*BLOCKED, ("say", 20), ("settle", 0), ("reset", 0), ("settle", 0)],
    "a part of a reply, then the body goes on": [*BLOCKED, ("say", 20), ("settle", 0), ("take", 99), ("last", 1)],
    "no HTTP": [*BLOCKED, ("settle", 0), ("garbage", 0), ("settle", 0)],
    "closed by this side": [*BLOCKED, ("settle", 0), ("close the connection", 0), ("settle", 0)],
    "closed by this side as the turn is passed on": [
        *BLOCKED,
        ("cancel", 1),
        ("turns", 1),
        ("close the connection", 0),
    ],
    "closed by this side while it connects": [("send", 9), ("close the connection", 0), ("settle", 0)],
    "the writer that has the turn is cancelled": [*BLOCKED, ("settle", 0), ("cancel", 1), ("settle", 0), ("last", 9)],
    "a writer that waits is cancelled": [*BLOCKED, ("settle", 0), ("cancel", 2), ("settle", 0), ("last", 9)],
    "it is cancelled when its turn has come": [*BLOCKED, ("cancel", 1), ("turns", 1), ("cancel", 2), ("last", 9)],
    "all are cancelled": [*BLOCKED, ("cancel", 1), ("cancel", 2), ("cancel", 3), ("settle", 0), ("last", 9)],
    "cancelled as the server closes": [*BLOCKED, ("settle", 0), ("close", 0), ("cancel", 1), ("cancel", 2)],
    "cancelled as the server refuses": [*BLOCKED, ("settle", 0), REPLY, ("cancel", 1), ("turns", 1), ("cancel", 3)],
    "the last part is cancelled while others wait": [*BLOCKED, ("last", 9), ("cancel", 4), ("settle", 0), ("reply", 0)],
    "the last part is cancelled in its turn": [BLOCKED[0], *[("cancel", 1), ("last", 9), ("cancel", 2), ("reply", 0)]],
    "all are cancelled, the last part too": [
        *BLOCKED,
        ("last", 9),
        *[("cancel", n) for n in (3, 4, 2, 1)],
        ("reply", 0),
    ],
    "a writer before the last part is cancelled": [*BLOCKED, ("last", 9), ("cancel", 2), ("settle", 0)],
    "the beginning is cancelled while it connects": [("cancel", 0), ("settle", 0), *BLOCKED, ("last", 9)],
    "the beginning is cancelled, others wait": [*BLOCKED, ("cancel", 0), ("settle", 0), ("last", 9)],
    "the reader waits for writers": [*BLOCKED, ("last", 9), ("reply", 0), ("settle", 0), ("take", 100), ("finish", 0)],
}


@pytest.fixture(autouse=True, scope="module")
def _endless_burst() -> Iterator[None]:
    """All that can be kept is, however slow the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_writes, "PAUSE", math.inf)
        yield


@pytest.mark.parametrize("kind", [Exchange, Response, Sharing])
@pytest.mark.parametrize("end", [InMemory, unix, tcp])
@pytest.mark.parametrize("name", PROGRAMS)
def test_writers_at_once(name: str, end: Callable[[], InMemory | OnSocket], kind: type[Exchange]) -> None:
    play(end, PROGRAMS[name], kind)


@pytest.mark.parametrize("kind", [Exchange, Response, Sharing])
@settings(max_examples=200)
@given(steps=STEPS)
def test_each_send_returns_or_raises_at_once(steps: list[tuple[str, int]], kind: type[Exchange]) -> None:
    play(InMemory, steps, kind)


@pytest.mark.parametrize("kind", [Exchange, Sharing])
@pytest.mark.parametrize("end", [unix, tcp])
@settings(max_examples=50)
@given(steps=STEPS)
def test_each_send_returns_or_raises_at_once_on_real_sockets(
    end: Callable[[], OnSocket], steps: list[tuple[str, int]], kind: type[Exchange]
) -> None:
    play(end, steps, kind)


@pytest.mark.parametrize("make", [unix, tcp])
@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("cancelled", [False, True])
def test_writers_that_find_the_broken_connection_in_the_same_turn(
    make: Callable[[], OnSocket], refused: bool, cancelled: bool
) -> None:
    """Nothing blocks: the write of each fails, and each would look for the reason."""
    loop = SettlingLoop(LIMIT)
    ends: list[OnSocket] = []

    async def connect() -> Stream:
        ends.append(make())
        return ends[-1].stream

    connection = Connection("host:1", connect)

    async def write() -> None:
        while True:
            await connection.send((b"x" * 10,))
            await asyncio.sleep(0)

    loop.run_until_complete(begin(connection, RESPONSE))
    (end,) = ends
    if refused:
        end.say(TOO_LARGE)
    end.close()
    tasks = [loop.create_task(write()) for _ in range(3)]
    assert loop.settle(lambda: len(connection._queue) == 2 or all(task.done() for task in tasks))
    if cancelled:
        tasks[0].cancel()
    assert loop.settle(lambda: all(task.done() for task in tasks)), "a task hangs"
    errors = [task.exception() for task in tasks if not task.cancelled()]
    assert len(errors) >= 2
    assert len(set(map(id, errors))) == 1
    assert type(errors[0]) is (EarlyReply if refused else ConnectionLost)
    end.received()
    loop.close()


def test_a_peer_that_takes_nothing_more_and_never_closes() -> None:
    """As a socket's other end after `shutdown`: a write fails, and nothing can be read for ever."""
    loop = SettlingLoop(LIMIT)

    async def run() -> None:
        ours, theirs = socket.socketpair()
        end = OnSocket(ours, theirs)

        async def connect() -> Stream:
            return end.stream

        connection = Connection("host:1", connect)
        await begin(connection, RESPONSE)
        theirs.shutdown(socket.SHUT_RD)
        with pytest.raises(ConnectionLost, match="Broken pipe"):
            await connection.send((b"x",))
        theirs.close()

    running = loop.create_task(run())
    assert loop.settle(running.done)
    running.result()
    loop.close()


async def blocked(*more: bytes) -> tuple[MemoryStream, Connection, list[asyncio.Task[None]]]:
    """A connection on which the first writer waits for the reader, and others for their turn."""
    stream = MemoryStream(capacity=len(HEAD) + 10)
    connection = Connection("host:1", connects_to(stream, MemoryStream()))
    await begin(connection, RESPONSE)
    tasks = [asyncio.create_task(connection.send((data,))) for data in (b"x" * 100, *more)]
    await stream.stalled.wait()
    return stream, connection, tasks


async def test_a_writer_that_is_cancelled_while_it_waits_leaves_nothing_behind() -> None:
    """An app that tries again and again, each time with a time limit, has flat memory."""
    stream, connection, tasks = await blocked()
    for _ in range(100):
        waiting = asyncio.create_task(connection.send((b"y" * 1_000,)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait((waiting,))
    assert not connection._queue
    assert connection.left_out
    stream.take(1_000)
    await asyncio.gather(*tasks)
    assert stream.written == HEAD + b"x" * 100


async def test_many_writers_that_wait_leave_the_next_request_alone() -> None:
    """It is begun by the first of them that raises; the others have not run yet."""
    old, connection, tasks = await blocked(*[b"POISON"] * 50)
    following: list[asyncio.Task[Reply]] = []
    tasks[0].add_done_callback(lambda _: following.append(asyncio.create_task(connection.request(NEXT))))
    old.say(TOO_LARGE)
    await asyncio.wait(tasks)
    errors = {task.exception() for task in tasks}
    assert [type(error) for error in errors] == [EarlyReply]
    new = connection._stream
    assert isinstance(new, MemoryStream)
    new.say(OK)
    assert (await following[0]).status == 202
    assert new.written == FOLLOWING
    assert b"POISON" not in old.written


async def test_a_request_whose_reader_was_cancelled_lends_its_connection_to_no_other() -> None:
    """Its reply would be taken for that of the next."""
    old, new = MemoryStream(), MemoryStream()
    connection = Connection("host:1", connects_to(old, new))
    waiting = asyncio.create_task(connection.request(RESPONSE))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    new.say(OK)
    assert (await connection.request(NEXT)).status == 202
    assert old.closed
    assert (old.written, new.written) == (HEAD, FOLLOWING)


async def test_a_reader_of_a_connection_that_was_closed_leaves_the_next_request_alone() -> None:
    old, new = MemoryStream(), MemoryStream()
    connection = Connection("host:1", connects_to(old, new))
    await begin(connection, RESPONSE)
    reading = asyncio.create_task(connection.reply())
    await asyncio.sleep(0)
    connection.close()
    left = connection.try_begin(NEXT)  # before the reader has heard of it
    sending = asyncio.create_task(connection.send(left))
    with pytest.raises(ConnectionLost):
        await reading
    await sending
    new.say(OK)
    assert (await connection.reply()).status == 202
    assert new.written == FOLLOWING


async def test_sends_while_the_connection_is_opened_come_after_the_head() -> None:
    stream = MemoryStream()
    may_connect = asyncio.Event()

    async def connect() -> Stream:
        await may_connect.wait()
        return stream

    connection = Connection("host:1", connect)
    tasks = [asyncio.create_task(begin(connection, RESPONSE))]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(connection.send((b"%d" % number,))) for number in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.sleep(0)
    may_connect.set()
    await asyncio.wait(tasks)
    assert stream.written == HEAD + b"02"
    assert connection.left_out


async def test_an_error_that_is_raised_again_and_again_does_not_grow() -> None:
    """An app may swallow it and go on: the frames of each raise would keep what that call has sent."""
    stream = MemoryStream()
    sink = ResponseStream(Connection("host:1", connects_to(stream)), Invocation("id-1", b""))
    await sink.start(Prelude(200, {}))
    stream.break_writes(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    lengths: list[int] = []
    errors: list[StreamClosed] = []
    for _ in range(10):
        with pytest.raises(StreamClosed) as info:
            await sink.write(b"x")
        lengths.append(len(info.traceback))
        errors.append(info.value)
    assert set(errors) == {sink.lost}
    assert len(set(lengths[1:])) == 1


async def test_all_writers_of_a_response_raise_the_same_error() -> None:
    """The runtime compares what an app raises with it."""
    stream = MemoryStream(capacity=1_000)
    sink = ResponseStream(Connection("host:1", connects_to(stream)), Invocation("id-1", b""))
    await sink.start(Prelude(200, {}))
    tasks = [asyncio.create_task(sink.write(b"x" * 3_000)) for _ in range(3)]
    await stream.stalled.wait()
    stream.say(TOO_LARGE)
    await asyncio.wait(tasks)
    assert {task.exception() for task in tasks} == {sink.lost}
    assert (await sink.settle()) is not None


async def test_two_tasks_never_read_from_one_socket() -> None:
    end = unix()
    reading = asyncio.create_task(end.stream.read())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another task"):
        await end.stream.read()
    end.say(b"!")
    assert await reading == b"!"
    end.stream.close()
    end.received()


async def test_a_socket_that_is_closed_wakes_its_reader_and_its_writer() -> None:
    for wait in ("read", "wait_writable"):
        end = unix()
        if wait == "wait_writable":
            with contextlib.suppress(BlockingIOError):
                while True:
                    end.stream.send(b"x" * 10_000)
        waiting = asyncio.create_task(getattr(end.stream, wait)())
        await asyncio.sleep(0)
        end.stream.close()
        async with asyncio.timeout(LIMIT):
            if wait == "read":
                with pytest.raises(OSError, match="closed"):
                    await waiting
            else:
                assert await waiting is False
        with pytest.raises(OSError, match="closed"):
            await end.stream.read()
        end.received()
