"""A Runtime API over real sockets that misbehaves on purpose, in a thread of its own, and keeps what it was sent.

It answers one request after another on one connection after another, as Lambda does for one slot. A :class:`Fault` says
what it does otherwise with the request of that number; the first is 1. After the last event every poll gets a 403, so
that a runtime which has gone on to the end stops there.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import h11

from tests.support.wire import Received

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OK = b'HTTP/1.1 202 Accepted\r\nContent-Length: 15\r\n\r\n{"status":"OK"}'
# A bound of waits that end much earlier, in seconds: a runtime that hangs fails its test.
LIMIT = 20.0


def reply(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status} Because\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Fault(NamedTuple):
    """What happens to one request.

    ``read``: how many of its bytes are read (None: all). ``say``: the reply, None for the regular one, and ``tail``
    behind it; of both ``said`` bytes go out (None: all), in pieces of ``piece`` bytes (0: at once). With ``drain`` what
    is left of the request is then read, and ``late`` said. Then ``end``: the connection is kept, closed (``close``),
    reset (``reset``), closed with the port (``gone``), or neither read nor closed until
    the runtime has opened another (``wait``).
    """

    read: int | None = None
    say: bytes | None = None
    tail: bytes = b""
    said: int | None = None
    piece: int = 0
    drain: bool = False
    late: bytes = b""
    end: str = "keep"


class Closed(Exception):
    """Raised when the runtime has closed its connection."""


class Server:
    """``with Server(events) as server:`` listens on ``server.address``; ``requests`` is what it was sent."""

    def __init__(
        self,
        events: Sequence[bytes],
        faults: Mapping[int, Fault] | None = None,
        *,
        ids: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        at_poll: Callable[[], object] | None = None,
    ) -> None:
        self.requests: list[Received] = []
        self.replies: list[bytes] = []
        self.at_polls: list[object] = []
        self.connections = 0
        self.handed_out: dict[int, str] = {}  # the ids, by the number of the poll in `requests`
        self.error: BaseException | None = None
        self._events = list(events)
        self._faults = faults or {}
        self._ids = ids
        self._headers = headers or {}
        self._at_poll = at_poll
        self._closing = False
        self._left = b""  # read, and of the next request
        self._current: socket.socket | None = None
        self._unread: socket.socket | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        host, port = self._listener.getsockname()
        self.host, self.port = host, port
        self.address = f"{host}:{port}"
        self._thread = threading.Thread(target=self._run, name="faulty-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        if self._current is not None:
            with contextlib.suppress(OSError):
                self._current.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        if self.error is not None:
            raise self.error

    @property
    def answers(self) -> list[Received]:
        """All that is not a poll."""
        return [request for request in self.requests if request.kind != "next"]

    @property
    def polls(self) -> int:
        return len(self.requests) - len(self.answers)

    def _run(self) -> None:
        try:
            while True:
                try:
                    self._current = connection = self._listener.accept()[0]
                except OSError:
                    return  # the port is closed
                finally:
                    if self._unread is not None:
                        self._unread.close()
                        self._unread = None
                self.connections += 1
                connection.settimeout(LIMIT)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._left = b""
                try:
                    while not self._closing:
                        self._exchange(connection)
                except (Closed, ConnectionError):
                    pass
                finally:
                    if self._unread is None:
                        connection.close()
        except BaseException as error:
            if not self._closing:
                self.error = error
        finally:
            self._listener.close()

    def _exchange(self, connection: socket.socket) -> None:
        """One request and its reply. Raises Closed at the end of the connection."""
        if not self._left and not connection.recv(1, socket.MSG_PEEK):
            raise Closed
        fault = self._faults.get(len(self.requests) + 1, Fault())
        request = Received("", "", {})
        self.requests.append(request)
        parser = h11.Connection(h11.SERVER)
        self._read(connection, request, parser, fault.read, has_reply=False)
        if fault.read is None and request.kind == "next" and self._at_poll is not None:
            self.at_polls.append(self._at_poll())
        say = fault.say
        if say is None:
            say = self._regular(request) if request.complete else b""
        if fault.end == "gone":
            self._listener.close()
        whole = say + fault.tail
        self.replies.append(whole)
        if fault.said is not None and fault.said < len(whole):
            self.handed_out.pop(len(self.requests) - 1, None)
        self._say(connection, whole[: fault.said], fault.piece)
        if fault.drain:
            self._read(connection, request, parser, None, has_reply=not fault.late)
            self._say(connection, fault.late, 0)
        if fault.end == "wait":
            self._unread = connection
            raise Closed
        if fault.end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if fault.end != "keep":
            connection.close()
            raise Closed

    def _read(
        self, connection: socket.socket, request: Received, parser: h11.Connection, count: int | None, has_reply: bool
    ) -> None:
        """Reads a request to its end, or that many bytes of it."""
        while not request.complete and (count is None or len(request.raw) < count):
            data, self._left = self._left, b""
            if not data and not (data := connection.recv(65_536 if count is None else count - len(request.raw))):
                raise Closed
            request.raw += data
            parser.receive_data(data)
            while True:
                event = parser.next_event()
                if isinstance(event, h11.Request):
                    request.method, request.target = event.method.decode(), event.target.decode()
                    request.headers.update((name.decode(), value.decode()) for name, value in event.headers)
                elif isinstance(event, h11.Data):
                    if event.chunk_start:
                        request.chunks.append(b"")
                    request.chunks[-1:] = [b"".join((*request.chunks[-1:], event.data))]
                elif isinstance(event, h11.EndOfMessage):
                    request.trailers = {name.decode(): value.decode() for name, value in event.headers}
                    request.complete = True
                else:
                    break
            if request.complete and (left := parser.trailing_data[0]):
                assert has_reply, "the runtime sends before it has its reply"
                self._left = left
                request.raw = request.raw[: -len(left)]

    def _regular(self, request: Received) -> bytes:
        if request.kind != "next":
            return OK
        number = len(self.handed_out)
        if number == len(self._events):
            return reply(403, b"the end")
        request_id = self._ids[number] if self._ids else f"id-{number + 1}"
        self.handed_out[len(self.requests) - 1] = request_id
        lines = [f"{name}: {value}" for name, value in self._headers.items()]
        return reply(200, self._events[number], f"Lambda-Runtime-Aws-Request-Id: {request_id}", *lines)

    def _say(self, connection: socket.socket, data: bytes, piece: int) -> None:
        for start in range(0, len(data), piece or len(data) or 1):
            connection.sendall(data[start : start + (piece or len(data))])


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))


def event_for(kind: str, token: str) -> bytes:
    """An event that `tests.apps.faults` answers with its token: streamed, buffered, or by an error."""
    from tests.support.events import function_url_event

    event: dict[str, Any] = function_url_event(path=f"/{token}") if kind == "stream" else {kind: token}
    return json.dumps(event).encode()
