"""One client connection to the Runtime API: a request out, a reply in, over any :class:`Stream`.

Writes have a fast path and a slow one. A message usually fits into the socket's buffer: then it is one system call and
nothing else. Everything that may have to wait takes turns: one task at a time has the turn, it alone writes and reads,
and it passes the turn on to the task that has waited longest.

- A writer that is cancelled while it has the turn leaves its half-sent bytes to the next one: no chunk is torn.
- When the connection breaks, the task that has the turn finds out why. All tasks that wait raise the same error at
  once, and none of them comes near the connection that is opened next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from asgi_stream.runtime.http11 import ProtocolError, Reply, ReplyParser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from asgi_stream.runtime.requests import Request
    from asgi_stream.runtime.streams import Connect, Stream
    from asgi_stream.sinks import Buffer

__all__ = ["SMALL", "Connection", "ConnectionLost", "EarlyReply"]

TOO_LARGE = 413
# So many bytes are faster copied together than gathered by the kernel. More than that is never copied.
SMALL = 2048


class ConnectionLost(ConnectionError):
    """Raised when the Runtime API cannot be reached, closes a connection or answers in something else than HTTP."""


class EarlyReply(ConnectionLost):
    """Raised when the server answers before the request's body has ended, as it may for one that is too large.

    ``reply`` is its reply. The connection is closed: a part of the body is on it, and nothing else could follow.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"status {reply.status} before the end of the request's body")
        self.reply = reply


NO_REQUEST = "the connection to the Runtime API is closed, or has no request open"


class _Turn:
    """The place of one task in the queue of those that write and read."""

    # What the task awaits, if it waits: None when the turn has come, or the error that has ended the request.
    comes: asyncio.Future[ConnectionLost | None] | None = None
    kept: Sequence[memoryview] = ()  # the bytes of a task that was cancelled while it waited


class Connection:
    """A kept-alive connection that is opened when needed, and opened again after the server has closed it.

    One exchange at a time: :meth:`request`, or :meth:`try_begin`, any number of :meth:`send`, then :meth:`reply`. Any
    number of tasks may send at once.
    """

    __slots__ = (
        "_connect", "_over", "_parser", "_queue", "_rest", "_stream", "_turn", "_whole", "direct", "host", "left_out",
    )  # fmt: skip

    def __init__(self, host: str, connect: Connect) -> None:
        self.host = host
        self._connect = connect
        self._stream: Stream | None = None
        self._parser = ReplyParser()
        self._turn: _Turn | None = None  # of the task that has it
        self._queue: deque[_Turn] = deque()
        self._rest: list[memoryview] = []  # bytes that are promised to the stream and not yet taken
        self._over: ConnectionLost | None = ConnectionLost(NO_REQUEST)  # why no more of a request can be sent
        self._whole = False  # the last part of the request has been handed over
        self.left_out = False  # a part of the request was cancelled before it was taken
        # The stream's own `send`, for small messages, while nothing has to go out before them; else None.
        self.direct: Callable[[bytes], int] | None = None

    async def request(self, request: Request) -> Reply:
        """Sends a whole request and returns its reply, an early one too. Raises ConnectionLost."""
        if left := self.try_begin(request):
            try:
                await self.send(left)
            except EarlyReply as early:
                return early.reply
        return await self.reply()

    def try_begin(self, request: Request, *more: Buffer) -> Sequence[Buffer]:
        """Begins a request on the connection that is open, and hands over what goes at once.

        Returns what is left, for :meth:`send`. Raises ProtocolError for a request that cannot be written.
        """
        head = request.encode(self.host)
        # Without an end to the request before this one, the next reply would be that one's.
        if self._over is None or (self._stream is not None and (not self._parser.idle or self._stream.is_stale())):
            self.close()
        self._over = None
        self._whole = self.left_out = False
        return self.try_send((head, *more))

    def try_send(self, buffers: Sequence[Buffer]) -> Sequence[Buffer]:
        """Hands over what goes at once; returns what is left, which is for :meth:`send`. Raises nothing.

        The short way of nearly every message: no coroutine, no turn.
        """
        if self._turn is not None or self._rest or self._stream is None:
            return buffers
        size = sum(map(len, buffers))
        try:
            taken = self._stream.send(b"".join(buffers)) if size <= SMALL else self._stream.write(buffers)
        except OSError:
            return buffers  # the socket is full, or the next write finds the same error and the reason for it
        return () if taken == size else _after(buffers, taken)

    def try_send_small(self, data: bytes) -> Sequence[Buffer]:
        """As :meth:`try_send`, for one small buffer."""
        if self.direct is None:
            return (data,)
        try:
            taken = self.direct(data)
        except OSError:
            taken = 0  # as above
        return () if taken == len(data) else (memoryview(data)[taken:],)

    def promise(self, data: bytes) -> bool:
        """Hands over what goes at once; what is left goes out by the next :meth:`send`, before its own bytes.

        True if nothing is left. For a caller that knows that no other writer waits.
        """
        left = self.try_send((data,))
        if left:
            self._rest += _after(left, 0)
            self.direct = None
        return not left

    async def send(self, buffers: Sequence[Buffer], *, last: bool = False) -> None:
        """Returns once every byte is with the operating system; waits for a slow reader.

        ``buffers`` are of single bytes. A call that is cancelled before their first byte has gone leaves them out, and
        ``left_out`` is True from then on. Once the ``last`` part of a request has been handed over, nothing is left out
        any more: what is cancelled then still goes out in its place, before the reply is read.

        Raises ConnectionLost, which is EarlyReply if the server has answered already: the same one in all tasks.
        """
        turn = _Turn()
        begun = False
        self._whole = self._whole or last
        try:
            await self._take(turn)
            await self._flush(turn)  # what cancelled writers have left
            self._rest, begun = _after(buffers, 0), True
            await self._flush(turn)
        except BaseException:
            self._keep(turn, buffers, begun)
            raise
        finally:
            self._pass_on(turn)

    async def reply(self) -> Reply:
        """Waits for the reply to what was sent, and returns an early one too. Raises ConnectionLost."""
        turn = _Turn()
        try:
            if self._turn is None and self._over is None and not self._rest:
                self._turn, self.direct = turn, None  # as nearly always, with nothing called
            else:
                await self._take(turn)
                await self._flush(turn)
            parser, stream = self._parser, self._stream
            try:
                while (reply := parser.next_reply()) is None:
                    if stream is None:
                        raise ConnectionLost(NO_REQUEST)
                    parser.receive_data(await stream.read())
            except (OSError, ProtocolError) as error:
                raise self._lost(turn, ConnectionLost(f"no reply from the Runtime API: {error}")) from error
            if turn is not self._turn:
                raise ConnectionLost(NO_REQUEST)
            self._over = ConnectionLost(NO_REQUEST)
            # A refusal may have come before the end of the body, of which the server then reads no more.
            if not reply.keep_alive or reply.status == TOO_LARGE:
                self.close()
            return reply
        except EarlyReply as early:
            return early.reply
        except BaseException:
            self._keep(turn, (), begun=False)
            raise
        finally:
            self._pass_on(turn)

    # Turns

    async def _take(self, turn: _Turn) -> None:
        """Returns when the turn has come. Raises ConnectionLost when the request ends before."""
        over = self._over
        if over is None and self._turn is None:
            self._turn, self.direct = turn, None
        elif over is None:
            turn.comes = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            over = await turn.comes
            if over is None and turn is not self._turn:
                over = ConnectionLost(NO_REQUEST)  # closed since the turn has come
        if over is not None:
            raise over.with_traceback(None)  # else each raise would add to it, and keep what its frames hold

    def _pass_on(self, turn: _Turn | None) -> None:
        """Gives the turn, if this is the one that has it, to the task that has waited longest."""
        if turn is not self._turn:
            return
        while self._queue:
            following = self._queue.popleft()
            if following.comes is None:
                self._rest += following.kept
                continue
            if not following.comes.done():  # else its task has been cancelled, and is about to pass the turn on
                following.comes.set_result(self._over)
            if self._over is None:
                self._turn = following
                return
        self._turn = None
        self.direct = None if self._stream is None or self._rest else self._stream.send

    def _keep(self, turn: _Turn, buffers: Sequence[Buffer], begun: bool) -> None:
        """Keeps what must go out though its writer is cancelled, as a copy: the app may use its buffers again."""
        kept = _copies(buffers) if self._whole else []
        if turn is self._turn:
            # What is half sent must go out whole.
            self._rest = _copies(self._rest) if begun else [*self._rest, *kept]
        elif turn in self._queue:
            if self._whole:
                turn.comes, turn.kept = None, kept
            else:
                self._queue.remove(turn)
        else:
            return  # the request is over
        self.left_out = self.left_out or not (begun or self._whole or not buffers)

    # What only the task does that has the turn

    async def _flush(self, turn: _Turn) -> None:
        while self._rest:
            stream = self._stream or await self._open(turn)
            try:
                self._rest = _after(self._rest, _write(stream, self._rest))
                if not self._rest:
                    return
                is_writable = await stream.wait_writable()
            except OSError as error:
                raise await self._broken(turn, stream, error) from error
            if turn is not self._turn:
                raise ConnectionLost(NO_REQUEST)
            # None for an informational reply, and for one of which a part has come: the server may still be reading.
            if not is_writable and (reply := await self._receive(turn, stream)) is not None:
                raise self._lost(turn, EarlyReply(reply))

    async def _open(self, turn: _Turn) -> Stream:
        try:
            stream = await self._connect()
        except OSError as error:
            lost = ConnectionLost(f"the Runtime API at {self.host} cannot be reached: {error}")
            raise self._lost(turn, lost) from error
        if turn is not self._turn:
            stream.close()
            raise ConnectionLost(NO_REQUEST)
        self._stream = stream
        return stream

    async def _receive(self, turn: _Turn, stream: Stream) -> Reply | None:
        """Reads once; returns the reply if it is whole now."""
        parser = self._parser
        try:
            parser.receive_data(await stream.read())
            reply = parser.next_reply()
        except (OSError, ProtocolError) as error:
            raise self._lost(turn, ConnectionLost(f"no reply from the Runtime API: {error}")) from error
        if turn is not self._turn:
            raise ConnectionLost(NO_REQUEST)
        return reply

    async def _broken(self, turn: _Turn, stream: Stream, error: OSError) -> ConnectionLost:
        """Returns why a write failed: a server that refuses a body may have answered before it hung up.

        What has not come by then never comes, and is not waited for.
        """
        parser, reply = self._parser, None
        with contextlib.suppress(OSError, ProtocolError):
            while reply is None and stream.is_stale():
                parser.receive_data(await stream.read())
                reply = parser.next_reply()
        lost = ConnectionLost(f"the connection to the Runtime API is closed: {error}")
        return self._lost(turn, lost if reply is None else EarlyReply(reply))

    def _lost(self, turn: _Turn, error: ConnectionLost) -> ConnectionLost:
        """Closes the connection, unless that has happened meanwhile; returns the error to raise."""
        if turn is self._turn:
            self.close(error)
        return error

    def abandon(self) -> None:
        """Closes the connection for good, in a process that a fork has made: it is another process's."""
        self._connect = _abandoned
        self._queue.clear()  # of tasks of another process's event loop
        self.close()

    def close(self, error: ConnectionLost | None = None) -> None:
        """Closes the connection; the next request opens another. All tasks that wait raise ``error``."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._over = error or ConnectionLost(NO_REQUEST)
        self._pass_on(self._turn)
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


def _copies(buffers: Iterable[Buffer]) -> list[memoryview]:
    return [memoryview(bytes(buffer)) for buffer in buffers]
