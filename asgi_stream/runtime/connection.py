"""One client connection to the Runtime API: a request out, a reply in, over any :class:`Stream`.

Writes have a fast path and a slow one. A message usually fits into the socket's buffer: then it is one system call and
nothing else. Where it does not, the rest waits its turn behind a lock, and a writer that is cancelled there leaves its
half-sent bytes to whoever writes next, so that a chunk is never torn.
"""

from __future__ import annotations

import asyncio

from asgi_stream.runtime.http11 import ProtocolError, Reply, ReplyParser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from asgi_stream.runtime.requests import Request
    from asgi_stream.runtime.streams import Connect, Stream
    from asgi_stream.sinks import Buffer

__all__ = ["SMALL", "Connection", "ConnectionLost", "EarlyReply"]

# So many bytes are faster copied together than gathered by the kernel. More than that is never copied.
SMALL = 2048


class ConnectionLost(ConnectionError):
    """Raised when the Runtime API cannot be reached, closes a connection or answers in something else than HTTP."""


class EarlyReply(Exception):
    """Raised when the server answers before the request's body has ended, as it may for one that is too large."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"status {reply.status} before the end of the request's body")
        self.reply = reply


class Connection:
    """A kept-alive connection that is opened when needed, and anew after the server has closed it.

    One exchange at a time: :meth:`request`, or :meth:`begin`, any number of :meth:`send`, then :meth:`reply`.
    """

    __slots__ = ("_connect", "_lock", "_parser", "_rest", "_slow", "_stream", "direct", "host", "left_out")

    def __init__(self, host: str, connect: Connect) -> None:
        self.host = host
        self._connect = connect
        self._stream: Stream | None = None
        self._parser = ReplyParser()
        self._lock = asyncio.Lock()
        self._slow = 0  # writers that hold the lock or wait for it
        self._rest: list[memoryview] = []  # bytes that are promised to the stream and not yet taken
        self.left_out = False  # a part of the request was cancelled before it was taken
        # The stream's own `send`, for small messages, while nothing stands before them; else None.
        self.direct: Callable[[bytes], int] | None = None

    async def request(self, request: Request) -> Reply:
        """Sends a whole request and returns its reply, an early one too. Raises ConnectionLost."""
        if left := self.try_begin(request):
            try:
                await self.begin_slowly(left)
            except EarlyReply as early:
                return early.reply
        return await self.reply()

    async def begin(self, request: Request, *more: Buffer) -> None:
        """Sends a request's head (and ``more`` in the same write). Raises ConnectionLost and EarlyReply."""
        if left := self.try_begin(request, *more):
            await self.begin_slowly(left)

    def try_begin(self, request: Request, *more: Buffer) -> Sequence[Buffer]:
        """Begins a request on the connection that is open, and hands over what goes at once.

        Returns what is left, for :meth:`begin_slowly`. Raises ProtocolError for a request that cannot be written.
        """
        head = request.encode(self.host)
        self.left_out = False
        if self._stream is not None and (not self._parser.idle or self._stream.is_stale()):
            self.close()
        return self.try_send((head, *more))

    async def begin_slowly(self, left: Sequence[Buffer]) -> None:
        """Sends what :meth:`try_begin` has left. Raises ConnectionLost and EarlyReply."""
        if self._stream is None:
            try:
                self._stream = await self._connect()
            except OSError as error:
                raise ConnectionLost(f"the Runtime API at {self.host} cannot be reached: {error}") from error
            self._set_direct()
            left = self.try_send(left)
        if left:
            await self.send(left)

    def try_send(self, buffers: Sequence[Buffer]) -> Sequence[Buffer]:
        """Hands over what goes at once; returns what is left, which is for :meth:`send`. Raises nothing.

        The short way of nearly every message: no coroutine, no lock.
        """
        if self._slow or self._rest or self._stream is None:
            return buffers
        size = sum(map(len, buffers))
        try:
            taken = self._stream.send(b"".join(buffers)) if size <= SMALL else self._stream.write(buffers)
        except BlockingIOError:
            taken = 0
        except OSError:
            return buffers  # the next write will say the same, to somebody who can explain it
        return () if taken == size else _after(buffers, taken)

    def try_send_small(self, data: bytes) -> Sequence[Buffer]:
        """As :meth:`try_send`, for what is in one piece and small."""
        if self.direct is None:
            return (data,)
        try:
            taken = self.direct(data)
        except OSError:
            taken = 0  # there is no room, or the next write will say what is wrong
        return () if taken == len(data) else (memoryview(data)[taken:],)

    async def send(self, buffers: Sequence[Buffer], *, last: bool = False) -> None:
        """Returns once every byte is with the operating system; waits for a slow reader.

        ``buffers`` are of single bytes. A call that is cancelled before their first byte has gone leaves them out, and
        ``left_out`` says so; the ``last`` ones of a request are kept all the same and go out before its reply is read.
        Raises ConnectionLost, and EarlyReply if the server has answered already.
        """
        if self._slow == 0 and not self._rest:
            try:
                taken = _write(self._live(), buffers)
            except OSError as error:
                raise await self._broken(error) from error
            if taken == sum(map(len, buffers)):
                return
            # Nobody holds the lock or awaits it, so taking it below lets no other writer in between.
            self._rest = _after(buffers, taken)
            buffers = ()
        self._slow += 1
        self.direct = None
        try:
            async with self._lock:
                await self._flush()
                self._live()  # whoever had the lock before may have found the connection closed
                self._rest, buffers = _after(buffers, 0), ()
                await self._flush()
        except asyncio.CancelledError:
            if last:
                self._rest += _after(buffers, 0)
            elif buffers:
                self.left_out = True
            # What is half sent must go out whole, but the app is free now to change what it handed over.
            self._rest = [memoryview(bytes(view)) for view in self._rest]
            raise
        finally:
            self._slow -= 1
            self._set_direct()

    def _set_direct(self) -> None:
        self.direct = None if self._stream is None or self._slow or self._rest else self._stream.send

    async def _flush(self) -> None:
        while self._rest:
            stream = self._live()
            try:
                self._rest = _after(self._rest, _write(stream, self._rest))
                if not self._rest or await stream.wait_writable():
                    continue
                self._parser.receive_data(await stream.read())
                reply = self._parser.next_reply()
            except OSError as error:
                raise await self._broken(error) from error
            except ProtocolError as error:
                self.close()
                raise ConnectionLost(f"no reply from the Runtime API: {error}") from error
            # None for an informational reply, and for one of which a part has come: the server may still be reading.
            if reply is not None:
                self.close()
                raise EarlyReply(reply)

    async def _broken(self, error: OSError) -> EarlyReply | ConnectionLost:
        """Says why a write failed: a server that refuses a body may answer and hang up before we have read it."""
        try:
            return EarlyReply(await self._last_reply())
        except ConnectionLost:
            return ConnectionLost(f"the Runtime API has closed the connection: {error}")

    async def _last_reply(self) -> Reply:
        try:
            return await self._read_reply()
        finally:
            self.close()

    def reply(self) -> Awaitable[Reply]:
        """Waits for the reply to what was sent. Raises ConnectionLost."""
        return self._reply_behind_the_rest() if self._rest else self._read_reply()

    async def _reply_behind_the_rest(self) -> Reply:
        try:
            await self.send(())
        except EarlyReply as early:
            return early.reply
        return await self._read_reply()

    async def _read_reply(self) -> Reply:
        parser = self._parser
        try:
            while (reply := parser.next_reply()) is None:
                parser.receive_data(await (self._stream or self._live()).read())
        except (OSError, ProtocolError) as error:
            self.close()
            raise ConnectionLost(f"no reply from the Runtime API: {error}") from error
        if not reply.keep_alive:
            self.close()
        return reply

    def _live(self) -> Stream:
        if self._stream is None:
            raise ConnectionLost("the connection to the Runtime API is closed")
        return self._stream

    def abandon(self) -> None:
        """Closes the connection for good, in a process that a fork has made: it is another process's."""
        self._connect = _abandoned
        self.close()

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        if self._stream is not None:
            self._stream.close()
            self._stream = self.direct = None
        self._rest = []
        self._parser = ReplyParser()


async def _abandoned() -> Stream:
    raise ConnectionRefusedError("the connection belongs to another process")


def _write(stream: Stream, buffers: Sequence[Buffer]) -> int:
    try:
        return stream.write(buffers)
    except BlockingIOError:
        return 0


def _after(buffers: Sequence[Buffer], taken: int) -> list[memoryview]:
    """What is left of ``buffers`` behind the first ``taken`` bytes."""
    left = []
    for buffer in buffers:
        if taken >= len(buffer):
            taken -= len(buffer)
        else:
            left.append(memoryview(buffer)[taken:])
            taken = 0
    return left
