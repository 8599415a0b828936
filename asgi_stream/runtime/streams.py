"""The one door to the network: a byte stream that says at once how much it took.

The runtime needs little of a socket, and needs it exactly: a write that goes to the kernel before the call returns
(an event loop's transport may keep it), and a wait that ends when the peer takes bytes again or has something to say.
Tests hand in a stream in memory instead.
"""

from __future__ import annotations

import asyncio
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Protocol, TypeAlias

    from asgi_stream.sinks import Buffer

    class Stream(Protocol):
        """What a connection asks of the network. Every method may raise OSError."""

        def write(self, buffers: Sequence[Buffer]) -> int:
            """Hands over what fits without waiting; returns the number of bytes taken, perhaps 0."""
            ...

        async def wait_writable(self) -> bool:
            """Waits until the peer takes bytes again (True) or has sent something (False)."""
            ...

        async def read(self) -> bytes:
            """Waits for bytes; ``b""`` when the peer has closed. No time-out: Lambda may let us wait for hours."""
            ...

        def is_stale(self) -> bool:
            """True if an idle stream has been closed, or been written to, by the peer."""
            ...

        def close(self) -> None:
            """Closes at once; more than once is fine."""
            ...

    Connect: TypeAlias = Callable[[], Awaitable[Stream]]

__all__ = ["SocketStream", "connector", "parse_address"]

READ_SIZE = 262_144


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


class SocketStream:
    """A connected, non-blocking TCP socket on the running event loop."""

    __slots__ = ("_loop", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    def write(self, buffers: Sequence[Buffer]) -> int:
        try:
            return self._sock.sendmsg(buffers)
        except (BlockingIOError, InterruptedError):
            return 0

    async def wait_writable(self) -> bool:
        ready: asyncio.Future[bool] = self._loop.create_future()

        def wake(writable: bool) -> None:
            if not ready.done():
                ready.set_result(writable)

        self._loop.add_reader(self._sock, wake, False)
        self._loop.add_writer(self._sock, wake, True)
        try:
            return await ready
        finally:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)

    async def read(self) -> bytes:
        return await self._loop.sock_recv(self._sock, READ_SIZE)

    def is_stale(self) -> bool:
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        self._sock.close()
