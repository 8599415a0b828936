"""The one door to the network: a byte stream that says at once how much it took.

The runtime needs little of a socket, and needs it exactly: a write that goes to the kernel before the call returns
(an event loop's transport may keep it), and a wait that ends when the peer takes bytes again or has something to say.
Tests hand in a stream in memory instead.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from asgi_stream.sinks import Buffer

    class Stream(Protocol):
        """What a connection asks of the network. Every method may raise OSError."""

        def write(self, buffers: Sequence[Buffer]) -> int:
            """Hands over what fits without waiting; returns the number of bytes taken.

            Where there is no room at all it returns 0, or raises BlockingIOError.
            """
            ...

        def send(self, data: bytes) -> int:
            """As :meth:`write`, for one buffer: a little faster."""
            ...

        async def wait_writable(self) -> bool:
            """Waits until the peer takes bytes again (True) or has sent something (False)."""
            ...

        async def read(self) -> bytes:
            """Waits for bytes; ``b""`` when the peer has closed. No time-out: Lambda may let us wait for hours."""
            ...

        def is_stale(self) -> bool:
            """True if the peer has closed the stream or sent something: then :meth:`read` has no need to wait."""
            ...

        def close(self) -> None:
            """Closes at once; more than once is fine."""
            ...

    Connect: TypeAlias = Callable[[], Awaitable[Stream]]

__all__ = ["SocketStream", "above_the_standard_streams", "connector", "parse_address"]

# Memory for more than 128 KiB at once is mapped for each read and unmapped behind it, which costs more than reading.
READ_SIZE = 65_536


def parse_address(address: str) -> tuple[str, int]:
    """Splits ``AWS_LAMBDA_RUNTIME_API`` (``host:port``, ``[v6]:port``, or a host: port 80). Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, port = address, "80"
    if not host or not (port.isascii() and port.isdigit()):
        raise ValueError(f"AWS_LAMBDA_RUNTIME_API must be host:port, not {address!r}")
    return host.strip("[]"), int(port)


def connector(host: str, port: int) -> Connect:
    """Returns a function that opens one more connection to the Runtime API."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    async def connect() -> Stream:
        sock = socket.socket(family, socket.SOCK_STREAM)
        if sock.fileno() <= 2:
            sock = socket.socket(fileno=above_the_standard_streams(sock.detach()))
        try:
            sock.setblocking(False)
            # A prelude and the first body message are two small writes: without this the second waits some 40 ms.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return SocketStream(sock)

    return connect


def above_the_standard_streams(descriptor: int) -> int:
    """The same file under a descriptor above 2, which is this one where it is; the one below is closed.

    An app that has closed its standard streams leaves their descriptors free: what it prints would go into a request.
    """
    if descriptor > 2:
        return descriptor
    import fcntl

    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)


class _Arrival:
    """What a reader of a stream awaits: like a future, but its task goes on in the very call that has read the bytes.

    A future would have the task wait for the event loop's next turn, one for each reply: 5 µs of CPU more for an
    invocation's 135 on Python 3.13, 1 of 190 on 3.11. The methods are those that :class:`asyncio.Task` asks of what it
    awaits. One task at a time may await it: a second one raises RuntimeError.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_loop", "_message")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._callback: Callable[[object], object] | None = None
        self._context: contextvars.Context | None = None
        self._cancelled = False
        self._message: object = None  # of who has cancelled

    def __await__(self) -> Generator[Self]:
        if self._callback is not None:
            raise RuntimeError("another task reads from this connection")
        self._cancelled = False
        self._asyncio_future_blocking = True
        yield self

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, callback: Callable[[object], object], *, context: contextvars.Context) -> None:
        self._callback, self._context = callback, context

    def cancel(self, msg: object = None) -> bool:
        if self._callback is None:
            return False
        self._loop.call_soon(self._callback, self, context=self._context)
        self._callback = self._context = None
        self._cancelled, self._message = True, msg
        return True

    def result(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError(*([] if self._message is None else [self._message]))

    def come(self) -> None:
        """Lets the task that waits go on; to be called from the event loop, and not in a task."""
        callback, context = self._callback, self._context
        if callback is not None and context is not None:
            self._callback = self._context = None
            context.run(callback, self)

    def come_soon(self) -> None:
        """The same from anywhere, at the event loop's next turn."""
        if self._callback is not None:
            self._loop.call_soon(self.come)


class SocketStream:
    """A connected, non-blocking TCP socket on the running event loop.

    The event loop watches it from the beginning to the end: to begin and to end that for each reply would be four
    system calls more. What comes while nobody reads is held back, one read of it; the rest stays with the peer.
    One task at a time may wait, for bytes or for space.
    """

    __slots__ = (
        "_ahead",
        "_arrival",
        "_loop",
        "_pid",
        "_poll",
        "_ready",
        "_sock",
        "_watched",
        "send",
        "write",
    )

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._ahead: bytes | OSError | None = None  # what came and nobody has read
        self._arrival = _Arrival(self._loop)  # of read
        self._ready: asyncio.Future[bool] | None = None  # of wait_writable
        self._watched = False
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        self._poll = poll.poll
        # With nothing in between: this is the path of every message.
        self.write: Callable[[Sequence[Buffer]], int] = sock.sendmsg
        self.send: Callable[[bytes], int] = sock.send
        self._watch()

    def _watch(self) -> None:
        if not self._watched:
            self._loop.add_reader(self._sock, self._on_readable)
            self._watched = True

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            if self._has_loop():
                self._loop.remove_reader(self._sock)

    def _has_loop(self) -> bool:
        # A child that a fork has made shares the parent's selector, and must leave it alone.
        return not self._loop.is_closed() and os.getpid() == self._pid

    def _on_readable(self) -> None:
        if self._ahead is None:
            try:
                self._ahead = self._sock.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._ahead = error
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(False)
        try:
            self._arrival.come()
        finally:
            if self._ahead is not None:
                self._unwatch()

    async def wait_writable(self) -> bool:
        if self._ahead is not None:
            return False
        self._watch()  # what was held back has been read, and the rest of it may be on its way
        self._ready = self._loop.create_future()
        self._loop.add_writer(self._sock, self._on_writable)
        try:
            return await self._ready
        finally:
            self._ready = None
            if self._sock.fileno() >= 0:
                self._loop.remove_writer(self._sock)

    def _on_writable(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(True)

    async def read(self) -> bytes:
        if self._ahead is None:
            self._watch()
            await self._arrival
        ahead = self._ahead
        if ahead is None:
            raise AssertionError("a reader went on before anything came")
        if isinstance(ahead, OSError):
            raise ahead
        if ahead:  # the end stays, for whoever reads again
            self._ahead = None
        return ahead

    def is_stale(self) -> bool:
        # A request that follows in the very turn that has read the last reply: the event loop has not looked since.
        return self._ahead is not None or bool(self._poll(0))

    def close(self) -> None:
        self._unwatch()
        if self._sock.fileno() >= 0 and self._has_loop():
            # A task that waits must not wait for a socket that is gone.
            self._ahead = ConnectionAbortedError(errno.ECONNABORTED, "the connection has been closed")
            if self._ready is not None:
                self._loop.remove_writer(self._sock)
                if not self._ready.done():
                    self._ready.set_result(False)
            self._arrival.come_soon()
        self._sock.close()
