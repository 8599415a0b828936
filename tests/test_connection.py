"""The connection: writes that leave at once, slow readers, cancelled writers, servers that answer early or hang up."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket

import pytest

from asgi_stream.runtime.connection import Connection, ConnectionLost, EarlyReply
from asgi_stream.runtime.http11 import Reply
from asgi_stream.runtime.requests import Invocation, next_invocation, stream_response
from asgi_stream.runtime.streams import READ_SIZE, SocketStream, connector, parse_address
from tests.support.memory import MemoryStream, begin, connects_to
from tests.support.values import fields

pytestmark = pytest.mark.anyio

OK = b'HTTP/1.1 202 Accepted\r\nContent-Length: 15\r\n\r\n{"status":"OK"}'
TOO_LARGE = b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 0\r\n\r\n"
NEXT = next_invocation()
RESPONSE = stream_response(Invocation("id-1", b""))


def connection_to(*streams: MemoryStream) -> Connection:
    return Connection("host:1", connects_to(*streams))


async def test_requests_share_one_connection() -> None:
    stream = MemoryStream()
    connection = connection_to(stream)
    for _ in range(3):
        asyncio.get_running_loop().call_soon(stream.say, OK)
        reply = await connection.request(NEXT)
        assert (reply.status, reply.body) == (202, b'{"status":"OK"}')
    assert stream.writes == [NEXT.encode("host:1")] * 3


async def test_head_and_first_chunk_are_one_write() -> None:
    stream = MemoryStream()
    await begin(connection_to(stream), RESPONSE, b"3\r\n", b"abc", b"\r\n")
    assert stream.writes == [RESPONSE.encode("host:1") + b"3\r\nabc\r\n"]


@pytest.mark.parametrize(
    ("first", "what"),
    [
        ((OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1),), "a server that says it will close"),
        ((OK, b""), "a server that closes after its reply"),
        ((OK + b"HTTP/1.1 408 Request Timeout\r\n\r\n",), "a server that speaks out of turn"),
    ],
)
async def test_a_new_connection_when_the_old_one_is_spent(first: tuple[bytes, ...], what: str) -> None:
    old, new = MemoryStream(), MemoryStream()
    old.say(*first)
    new.say(OK)
    connection = connection_to(old, new)
    await connection.request(NEXT)
    assert (await connection.request(NEXT)).status == 202
    assert old.closed, what
    assert new.writes


async def test_nobody_listens() -> None:
    with pytest.raises(ConnectionLost, match="host:1 cannot be reached"):
        await connection_to().request(NEXT)


@pytest.mark.parametrize(
    "said",
    [(b"",), (b"HTTP/1.1 200 OK\r\nContent-Le", b""), (b"garbage\r\n\r\n",), (OK[:-1], b"")],
)
async def test_no_whole_reply(said: tuple[bytes, ...]) -> None:
    stream, new = MemoryStream(), MemoryStream()
    connection = connection_to(stream, new)
    await begin(connection, NEXT)
    stream.say(*said)
    with pytest.raises(ConnectionLost, match="no reply"):
        await connection.reply()
    assert stream.closed
    new.say(OK)
    assert (await connection.request(NEXT)).status == 202


async def test_a_slow_reader_blocks_send_and_gets_every_byte() -> None:
    stream = MemoryStream(capacity=10_000)
    connection = connection_to(stream)
    await begin(connection, RESPONSE)
    before = len(stream.written)
    sending = asyncio.create_task(connection.send((b"x" * 20_000, bytearray(b"y" * 10), memoryview(b"z"))))
    await stream.stalled.wait()
    assert not sending.done()
    while not sending.done():
        await stream.stalled.wait()
        stream.take(7)
        await asyncio.sleep(0)
    assert stream.written[before:] == b"x" * 20_000 + b"y" * 10 + b"z"


async def test_writers_at_once_are_served_whole_and_in_turn() -> None:
    stream = MemoryStream(capacity=1_000)
    connection = connection_to(stream)
    await begin(connection, RESPONSE)
    before = len(stream.written)
    senders = [asyncio.create_task(connection.send((letter * 500, letter * 500))) for letter in (b"a", b"b", b"c")]
    await stream.stalled.wait()
    late = asyncio.create_task(connection.send((b"d" * 1_000,)))
    while not all(task.done() for task in (*senders, late)):
        stream.take(13)
        await asyncio.sleep(0)
    assert stream.written[before:] == b"".join(letter * 1_000 for letter in (b"a", b"b", b"c", b"d"))


async def test_a_cancelled_writer_tears_no_chunk() -> None:
    stream = MemoryStream(capacity=1_000)
    connection = connection_to(stream)
    await begin(connection, RESPONSE)
    before = len(stream.written)
    data = bytearray(b"first" * 1_000)
    sending = asyncio.create_task(connection.send((data,)))
    await stream.stalled.wait()
    waiting = asyncio.create_task(connection.send((b"never",)))
    await asyncio.sleep(0)
    sending.cancel()
    waiting.cancel()
    await asyncio.wait((sending, waiting))
    assert sending.cancelled()
    assert waiting.cancelled()
    data[:] = b"other" * 1_000  # the app may use its buffer again
    stream.take(100_000)
    await connection.send((b"second",))
    assert stream.written[before:] == b"first" * 1_000 + b"second"


async def test_an_early_reply_wakes_a_blocked_writer() -> None:
    stream, new = MemoryStream(capacity=1_000), MemoryStream()
    connection = connection_to(stream, new)
    await begin(connection, RESPONSE)
    sending = asyncio.create_task(connection.send((b"x" * 5_000,)))
    await stream.stalled.wait()
    stream.say(TOO_LARGE)
    with pytest.raises(EarlyReply) as info:
        await sending
    assert fields(info.value.reply) == fields(Reply(413, {"content-length": "0"}, b"", True))
    assert stream.closed  # half a chunk is on it: nothing else can follow
    new.say(OK)
    assert (await connection.request(NEXT)).status == 202


async def test_after_a_refusal_the_next_request_has_a_connection_of_its_own() -> None:
    """The server may have replied before it had read the body, of which all has gone, and may never read on."""
    stream, new = MemoryStream(), MemoryStream()
    connection = connection_to(stream, new)
    await begin(connection, RESPONSE)
    stream.say(TOO_LARGE)
    await connection.send((b"x" * 5_000,), last=True)
    assert (await connection.reply()).status == 413
    new.say(OK)
    assert (await connection.request(NEXT)).status == 202
    assert stream.closed


async def test_a_reply_that_came_before_the_reset_is_found() -> None:
    stream = MemoryStream()
    connection = connection_to(stream)
    await begin(connection, RESPONSE)
    stream.say(TOO_LARGE)
    stream.break_writes(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    with pytest.raises(EarlyReply, match="413"):
        await connection.send((b"x",))


async def test_a_writer_that_waits_in_turn_leaves_nothing_for_the_next_connection() -> None:
    stream, new = MemoryStream(capacity=1_000), MemoryStream()
    connection = connection_to(stream, new)
    await begin(connection, RESPONSE)
    first = asyncio.create_task(connection.send((b"x" * 5_000,)))
    await stream.stalled.wait()
    second = asyncio.create_task(connection.send((b"POISON",)))
    await asyncio.sleep(0)
    stream.say(TOO_LARGE)
    with pytest.raises(EarlyReply):
        await first
    with pytest.raises(ConnectionLost):
        await second
    new.say(OK)
    await connection.request(NEXT)
    assert new.written == NEXT.encode("host:1")


async def test_a_reset_without_a_reply() -> None:
    stream = MemoryStream(capacity=1_000)
    connection = connection_to(stream)
    await begin(connection, RESPONSE)
    sending = asyncio.create_task(connection.send((b"x" * 5_000,)))
    await stream.stalled.wait()
    stream.break_writes(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
    with pytest.raises(ConnectionLost, match="reset by peer"):
        await sending
    with pytest.raises(ConnectionLost, match="is closed"):
        await connection.send((b"y",))


async def test_what_is_promised_goes_out_before_anything_else() -> None:
    stream = MemoryStream(capacity=1_000)
    connection = connection_to(stream)
    await begin(connection, RESPONSE)
    stream.take(3 - (stream._capacity or 0))
    assert not connection.promise(b"promised ")
    assert not connection.promise(b"and more ")
    stream.take(1_000)
    assert connection.direct is None
    assert connection.try_send_small(b"now") == (b"now",)
    assert connection.try_send((b"now",)) == (b"now",)
    await connection.send((b"now",))
    assert stream.written.endswith(b"promised and more now")
    assert connection.promise(b"at once")
    assert stream.writes[-1] == b"at once"


async def test_a_connection_that_was_abandoned_opens_no_other() -> None:
    """In a process that a fork has made."""
    old, new = MemoryStream(), MemoryStream()
    connection = connection_to(old, new)
    await begin(connection, RESPONSE)
    connection.abandon()
    with pytest.raises(ConnectionLost):
        await connection.send((b"x",))
    with pytest.raises(ConnectionLost, match="another process"):
        await connection.request(NEXT)
    assert new.writes == []


def fill(stream: SocketStream) -> int:
    """Writes until the socket takes no more; returns how many bytes."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += stream.write((b"x" * 100_000,))
    return sent


def ends() -> tuple[SocketStream, socket.socket]:
    """A stream, and the peer's end of it, which blocks."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return SocketStream(ours), theirs


class TestSocketStream:
    async def test_over_a_real_socket(self) -> None:
        received = bytearray()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.extend(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK)
            received.extend(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            connection = Connection(f"127.0.0.1:{port}", connector("127.0.0.1", port))
            assert (await connection.request(NEXT)).status == 202
            assert (await connection.request(NEXT)).status == 202
            connection.close()
        assert bytes(received) == NEXT.encode(f"127.0.0.1:{port}") * 2

    async def test_small_writes_are_not_delayed(self) -> None:
        async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0) as server:
            stream = await connector("127.0.0.1", server.sockets[0].getsockname()[1])()
            assert isinstance(stream, SocketStream)
            assert stream._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            stream.close()

    async def test_a_full_socket(self) -> None:
        stream, theirs = ends()
        sent = fill(stream)
        theirs.setblocking(False)
        waiting = asyncio.create_task(stream.wait_writable())
        await asyncio.sleep(0)
        assert not waiting.done()
        while sent:
            sent -= len(theirs.recv(sent))
        assert await waiting is True
        assert not stream.is_stale()
        fill(stream)
        theirs.send(b"!")
        assert await stream.wait_writable() is False
        assert stream.is_stale()
        assert await stream.read() == b"!"
        theirs.close()
        stream.close()
        stream.close()

    async def test_what_the_peer_said_before_the_socket_was_full_wakes_who_waits(self) -> None:
        stream, theirs = ends()
        theirs.send(b"!")
        while stream._ahead is None:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0)
        fill(stream)
        async with asyncio.timeout(20):
            assert await stream.wait_writable() is False
        assert await stream.read() == b"!"
        theirs.send(b"?")
        assert await stream.read() == b"?"
        theirs.close()
        stream.close()

    async def test_a_reader_goes_on_in_the_turn_that_brings_the_bytes(self) -> None:
        stream, theirs = ends()
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        theirs.send(b"!")
        done: list[bool] = []

        def readable() -> None:
            stream._on_readable()
            done.append(reading.done())

        asyncio.get_running_loop().call_soon(readable)
        assert await reading == b"!"
        assert done == [True]
        theirs.close()
        stream.close()

    @pytest.mark.parametrize("behind", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
    async def test_what_comes_right_behind_a_reply_is_seen_in_the_same_turn(self, behind: bytes) -> None:
        """The next request is sent from there, and must not go to a server that has hung up or speaks out of turn."""
        stream, theirs = ends()

        async def read() -> tuple[int, bool]:
            return len(await stream.read()), stream.is_stale()

        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        theirs.sendall(b"x" * READ_SIZE + behind)
        if not behind:
            theirs.close()
        assert await reading == (READ_SIZE, True)
        theirs.close()
        stream.close()

    async def test_a_reader_hears_why_it_was_cancelled(self) -> None:
        stream, theirs = ends()
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        reading.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await reading
        theirs.close()
        stream.close()

    @pytest.mark.parametrize("says", [True, False])
    async def test_a_reader_that_is_cancelled_loses_nothing(self, says: bool) -> None:
        stream, theirs = ends()
        reading = asyncio.create_task(stream.read())
        await asyncio.sleep(0)
        reading.cancel()
        reading.cancel()
        if says:
            theirs.send(b"!")
            stream._on_readable()  # before the task has heard of its end
        with pytest.raises(asyncio.CancelledError):
            await reading
        if not says:
            theirs.send(b"!")
        assert await stream.read() == b"!"
        theirs.close()
        stream._ahead = OSError("broken")
        with pytest.raises(OSError, match="broken"):
            await stream.read()
        stream.close()

    async def test_a_closed_peer_is_stale(self) -> None:
        stream, theirs = ends()
        assert not stream.is_stale()
        theirs.close()
        assert stream.is_stale()
        stream.close()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9001", ("127.0.0.1", 9001)),
        ("localhost:1", ("localhost", 1)),
        ("[::1]:9001", ("::1", 9001)),
        ("127.0.0.1", ("127.0.0.1", 80)),
        ("[::1]", ("::1", 80)),
    ],
)
def test_addresses(address: str, expected: tuple[str, int]) -> None:
    assert parse_address(address) == expected


@pytest.mark.parametrize("address", ["", ":9001", "host:", "host:http"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="AWS_LAMBDA_RUNTIME_API must be host:port"):
        parse_address(address)
