"""The Runtime API of the comparison: hands out one event, notes when each piece of the answer arrives.

One thread, `epoll`, and no work between two reads but a look at the last bytes: everything else (chunks, prelude, when
which byte came) is worked out afterwards, from the raw bytes and the times. Where there are several cores it has one of
its own and never sleeps: to wake it would cost the peer that writes more than the write, on a virtual machine most of
all. What it costs itself is in each report, by the C floor, which is measured through the same driver.

Peers differ in how they speak: some keep a connection, some open one for each request, some poll while they answer.
"""

from __future__ import annotations

import bisect
import json
import select
import socket
import time
from typing import NamedTuple, Self

from benchmarks.compare.process import SPINS

RUNTIME = "/2018-06-01/runtime"
EXTENSION = "/2020-01-01/extension"
READ_SIZE = 1 << 20
LAST_CHUNK = b"\r\n0\r\n\r\n"
DELIMITER = bytes(8)


class Failed(Exception):
    """A peer did not do what was asked of it; says what it did."""


class Answer(NamedTuple):
    """One answer. Times are `time.monotonic_ns()`; `raw` is all that followed the head, in the pieces that came.

    `size` is the number of raw bytes, also where they were not kept.
    """

    asked: int
    ended: int
    size: int
    chunked: bool
    pieces: list[bytes]
    times: list[int]

    @property
    def milliseconds(self) -> float:
        """From the event to the last byte."""
        return (self.ended - self.asked) / 1e6

    def chunks(self) -> list[tuple[bytes, int]]:
        """The HTTP chunks (one in all without chunking), each with the time at which it was whole."""
        raw = b"".join(self.pieces)
        if not self.chunked:
            return [(raw, self.ended)]
        ends, position = [], 0
        for piece in self.pieces:
            position += len(piece)
            ends.append(position)
        found: list[tuple[bytes, int]] = []
        position = 0
        while True:
            line = raw.index(b"\r\n", position)
            length = int(raw[position:line], 16)
            if not length:
                return found
            position = line + 2 + length + 2
            found.append((raw[line + 2 : position - 2], self.times[bisect.bisect_left(ends, position)]))

    def body(self) -> list[tuple[bytes, int]]:
        """The pieces of the page, without the prelude, each with the time of its arrival. Raises Failed."""
        chunks = self.chunks()
        if not self.chunked:
            answer = json.loads(chunks[0][0])
            if answer["statusCode"] != 200:
                raise Failed(f"status {answer['statusCode']}: {answer.get('body')!r:.200}")
            return [(answer["body"].encode(), self.ended)]
        head = b""
        while DELIMITER not in head:
            if not chunks:
                raise Failed(f"no prelude in {head!r:.200}")
            chunk, when = chunks.pop(0)
            head += chunk
        prelude, _, rest = head.partition(DELIMITER)
        if json.loads(prelude)["statusCode"] != 200:
            raise Failed(f"prelude {prelude!r:.200}")
        return [(rest, when), *chunks] if rest else chunks


class _Connection:
    __slots__ = ("chunked", "data", "left", "pieces", "polling", "size", "sock", "tail", "target", "times")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = b""
        self.target: str | None = None  # of the request whose body is being read
        self.polling = False
        self.reset()

    def reset(self) -> None:
        self.chunked = False
        self.left = 0
        self.size = 0
        self.tail = b""
        self.pieces: list[bytes] = []
        self.times: list[int] = []


class Driver:
    """`with Driver() as driver:` listens; `driver.address` is for AWS_LAMBDA_RUNTIME_API.

    It never sleeps, where it has a core of its own, unless told otherwise by `spins`.
    """

    def __init__(self, *, spins: bool = SPINS) -> None:
        self._spins = spins
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._connections: dict[int, _Connection] = {}
        self._polling: list[_Connection] = []
        self._asked: dict[str, int] = {}
        self._count = 0
        self._keep = True
        self._answers: list[Answer] = []
        self.polled = 0  # when the last poll came

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.sock.close()
        self._epoll.close()
        self._listener.close()

    def wait_for_poll(self, seconds: float = 30.0, slots: int = 1) -> int:
        """Waits until so many polls are open; returns when the last came. Raises Failed."""
        self._run(lambda: len(self._polling) >= slots, seconds)
        return self.polled

    def invoke(self, event: bytes, *, keep: bool = True, seconds: float = 60.0) -> Answer:
        """Hands out one event and reads the answer; the bytes are kept only if asked for. Raises Failed."""
        self.wait_for_poll()
        self._keep = keep
        self._hand_out(event)
        self._run(lambda: bool(self._answers), seconds)
        return self._answers.pop()

    def invoke_many(self, event: bytes, times: int, slots: int, seconds: float = 120.0) -> list[Answer]:
        """Keeps so many slots busy until there are so many answers, which come without their bytes. Raises Failed."""
        self.wait_for_poll(slots=slots)
        self._keep = False
        left = times

        def step() -> bool:
            nonlocal left
            while left and self._polling:
                self._hand_out(event)
                left -= 1
            return len(self._answers) >= times

        step()
        self._run(step, seconds)
        answers, self._answers = self._answers, []
        return answers

    def _hand_out(self, event: bytes) -> None:
        connection = self._polling.pop(0)
        connection.polling = False
        self._count += 1
        request_id = f"00000000-0000-4000-8000-{self._count:012d}"
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            f"Lambda-Runtime-Aws-Request-Id: {request_id}\r\n"
            f"Lambda-Runtime-Deadline-Ms: {int(time.time() * 1000) + 600_000}\r\n"
            "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:bench\r\n"
            f"Lambda-Runtime-Trace-Id: Root=1-5e6722a7-{self._count:024x};Parent=53995c3f42cd8ad8;Sampled=0\r\n"
            f"Content-Length: {len(event)}\r\n\r\n"
        )
        data = head.encode("ascii") + event
        self._asked[request_id] = time.monotonic_ns()
        connection.sock.sendall(data)

    def _run(self, done: object, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not done():  # type: ignore[operator]
            ready = self._epoll.poll(0 if self._spins else max(0.0, end - time.monotonic()))
            if not ready and time.monotonic() > end:
                raise Failed(f"nothing has happened for {seconds:g} s")
            for descriptor, _ in ready:
                if descriptor == self._listener.fileno():
                    sock, _ = self._listener.accept()
                    self._connections[sock.fileno()] = _Connection(sock)
                    self._epoll.register(sock, select.EPOLLIN)
                else:
                    self._read(self._connections[descriptor])

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(READ_SIZE)
        except ConnectionResetError:
            data = b""
        now = time.monotonic_ns()
        if not data:
            del self._connections[connection.sock.fileno()]
            self._epoll.unregister(connection.sock)
            connection.sock.close()
            if connection in self._polling:
                self._polling.remove(connection)
            if connection.target is not None:
                raise Failed(f"{connection.target} broke off")
            return
        if connection.target is None:
            connection.data += data
            end = connection.data.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = connection.data[:end].decode("latin-1"), connection.data[end + 4 :]
            connection.data = b""
            self._begin(connection, head)
        if connection.target is not None:
            self._take(connection, data, now)

    def _begin(self, connection: _Connection, head: str) -> None:
        line, *fields = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        connection.target = line.split(" ")[1]
        connection.reset()
        connection.chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        connection.left = int(headers.get("content-length", "0"))

    def _take(self, connection: _Connection, data: bytes, now: int) -> None:
        connection.size += len(data)
        if data:
            if self._keep:
                connection.pieces.append(data)
                connection.times.append(now)
            connection.tail = data[-7:] if len(data) >= 7 else (connection.tail + data)[-7:]
        if connection.chunked:
            whole = connection.tail == LAST_CHUNK or (connection.size == 5 and connection.tail == LAST_CHUNK[2:])
        else:
            whole = connection.size >= connection.left
        if whole:
            target, connection.target = connection.target, None
            self._finish(connection, str(target), now)

    def _finish(self, connection: _Connection, target: str, now: int) -> None:
        if target == f"{RUNTIME}/invocation/next":
            connection.polling = True
            self._polling.append(connection)
            self.polled = now
        elif target == f"{EXTENSION}/register":
            _reply(connection, b'{"functionName":"bench"}', "200 OK\r\nLambda-Extension-Identifier: one")
        elif target == f"{EXTENSION}/event/next":
            return  # open for as long as the environment lives
        elif target.endswith("/response"):
            _reply(connection, b'{"status":"OK"}', "202 Accepted")
            asked = self._asked.pop(target.split("/")[4])
            self._answers.append(
                Answer(asked, now, connection.size, connection.chunked, connection.pieces, connection.times)
            )
        else:
            raise Failed(f"{target}: {b''.join(connection.pieces)!r:.500}")


def _reply(connection: _Connection, body: bytes, status: str) -> None:
    """``status`` may have further headers behind it."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sock.sendall(head.encode("ascii") + body)
