"""One request and its response: the ``receive`` and ``send`` that an app is called with.

The cycle sits between the app and a responder (anything with ``start``, ``put``, ``end`` and ``send_file``): each
message passes the :class:`~asgi_stream.asgi.response.ResponseMachine` and goes on at once. It also keeps a promise: a
failure that the app swallows is not forgotten, and no clean end follows it.

A response that is not complete at its deadline is a failure. The exception is an event stream that answers a GET: it
has no last message, and its client opens it again when it ends. The deadline closes it as a client that goes away
would: ``receive`` gives ``http.disconnect``, ``send`` raises an OSError, and what the app makes of these is not a
failure.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from asgi_stream.asgi.response import BODY, CUT_OFF, PATHSEND, Body, PathSend, ResponseMachine, ResponseState, Start
from asgi_stream.errors import AppError, DeadlineExceeded, StreamClosed, stems_from
from asgi_stream.foreign import cancel, of_type

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from asgi_stream.asgi import ASGIApp
    from asgi_stream.sinks import Buffer

    class Responder(Protocol):
        """Where a response goes, as far as ASGI can tell."""

        def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> Awaitable[None]: ...
        def put(self, data: Buffer) -> Awaitable[None] | None: ...
        def write(self, data: Buffer) -> Awaitable[None]: ...
        def end(self, data: Buffer) -> Awaitable[None]: ...
        async def send_file(self, path: str, length: int | None) -> None: ...
        def cut_short(self) -> None: ...


__all__ = ["PAGE", "PAGE_HEADERS", "HttpCycle"]

FILE_CANCELLED = "the send of a file was cancelled before its end: the response is not whole"
FILE_CUT_OFF = f"{CUT_OFF}: a file has been sent in part"
PAGE = b"Internal Server Error"
PAGE_HEADERS = ((b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(PAGE)))


class HttpCycle:
    """Runs an app on one request. Good for one :meth:`run`."""

    __slots__ = (
        "_blocked", "_body", "_complete", "_expired", "_failure", "_flow", "_is_head", "_lost", "_machine",
        "_responder", "_waiting", "_whole", "left_open", "on_abandoned",
    )  # fmt: skip

    def __init__(self, method: str, body: bytes, responder: Responder) -> None:
        self._body: bytes | None = body
        self._is_head = method == "HEAD"
        self._machine = ResponseMachine(method)
        self._responder = responder
        # `put` while the machine need not see a piece of the body.
        self._flow: Callable[[bytes], Awaitable[None] | None] | None = None
        self._complete = False
        self._waiting: asyncio.Event | None = None  # of `receive`
        self._failure: BaseException | None = None
        self._whole = False
        self._expired = False
        self._lost: StreamClosed | None = None  # what `send` raises once the deadline has closed an event stream
        self._blocked: set[asyncio.Task[Any]] | None = None  # tasks in `send` that wait for a slow reader
        self.left_open = False
        # Called with what the response has failed with, None for one that was left open.
        self.on_abandoned: Callable[[BaseException | None], object] | None = None

    @property
    def has_page(self) -> bool:
        """True once the app has sent a whole error page of its own, whatever it did after that."""
        return self._whole and self._machine.status >= 500

    @property
    def failure(self) -> BaseException | None:
        """What the response has failed with, whatever the app makes of it."""
        return self._failure

    @property
    def may_be_left_open(self) -> bool:
        """True once little time is left, for an event stream that its client opens again when it ends."""
        return self._expired and self._failure is None and self._machine.may_be_left_open

    def expire(self) -> None:
        """Little time is left: ``receive`` gives ``http.disconnect``, and an event stream is closed."""
        self._expired = True
        self._disconnect()
        self._close_event_stream()

    async def leave_open(self) -> None:
        """Ends an event stream that may be left open, whether or not its app has ended."""
        self.left_open = True
        await self._responder.end(b"")

    def fail(self, error: BaseException) -> None:
        """Whatever the app does from now on, the response ends in ``error``."""
        if self._failure is None:
            self._failure = error

    def abandon(self) -> None:
        """The invocation ends without the app, which goes on though it was cancelled."""
        if self.on_abandoned is not None:
            self.on_abandoned(self._failure)

    async def run(self, app: ASGIApp, scope: Mapping[str, Any]) -> None:
        """Calls the app and sees its response to the end.

        Raises what the app raised, AppError for what it did wrong, or DeadlineExceeded for a response that it left
        open at its deadline: the response is then neither ended nor taken back, unless the app had completed it before;
        where nothing had been sent, a plain page of status 500 has.
        """
        try:
            self._machine.pathsend = PATHSEND in scope.get("extensions", ())
            try:
                await app(scope, self.receive, self.send)
            except BaseException as error:
                if not self._comes_of_the_deadline(error):
                    raise
            if self._failure is not None:
                raise self._failure
            if self._machine.state is ResponseState.COMPLETE:
                if self._held_back:
                    await self._responder.end(b"")
            elif self.may_be_left_open:
                # Cancelled while it waits for a slow reader, the end is kept and goes out later.
                with contextlib.suppress(asyncio.CancelledError):
                    await self.leave_open()
            elif self._expired:
                raise DeadlineExceeded(f"{CUT_OFF}: {self._machine.state.value}")
            else:
                raise AppError(f"the app returned before its response was complete: {self._machine.state.value}")
        except BaseException:
            if self._machine.state is ResponseState.NOTHING:
                await self._responder.start(500, PAGE_HEADERS)
                if not self._is_head:
                    await self._responder.write(PAGE)
            raise
        finally:
            # Whatever still waits in receive() would wait for ever.
            if not self._complete:
                self._disconnect()
            if self._lost is not None:  # its traceback and context lead back here
                self._lost.__traceback__ = self._lost.__context__ = None

    def _comes_of_the_deadline(self, error: BaseException) -> bool:
        """True for what `send` has raised for the deadline, and for the cancellation of an event stream."""
        raised = (self._lost, self._failure if of_type(self._failure, DeadlineExceeded) else None)
        if any(cause is not None and stems_from(error, cause) for cause in raised):
            return True
        return self.may_be_left_open and of_type(error, asyncio.CancelledError)

    def _close_event_stream(self) -> None:
        """From now on `send` raises, where a task waits in it for a slow reader too."""
        if self._machine.is_open_event_stream and self._lost is None:
            self._lost = StreamClosed("the event stream was closed: the deadline of its invocation is near")
            self._flow = None
            self._responder.cut_short()
            blocked, self._blocked = self._blocked, None
            for task in blocked or ():
                cancel(task)

    @property
    def _held_back(self) -> bool:
        """True for a response that must not end before the app has returned.

        Frameworks send a complete error page and then raise: the error has to find the stream open to reach Lambda.
        """
        return self._machine.status >= 500 or self._failure is not None

    async def receive(self) -> dict[str, Any]:
        """The app's ``receive``: the whole body, then, once the response is complete, ``http.disconnect``."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if not self._complete:
            if self._waiting is None:
                self._waiting = asyncio.Event()
            await self._waiting.wait()
        if self._expired:
            self._machine.stopped = self._machine.is_open
        return {"type": "http.disconnect"}

    def _disconnect(self) -> None:
        self._complete = True
        if self._waiting is not None:
            self._waiting.set()

    async def send(self, message: Mapping[str, Any]) -> None:
        """The app's ``send``: the message is on its way when it returns.

        Raises AppError for a message that is not allowed, OSError when the peer is gone, and DeadlineExceeded, which is
        one, for the end of a body that the deadline has cut off.
        """
        if (put := self._flow) is not None:
            # The short way of nearly every message: 0.6 µs less than by `accept`, of 5.4 with the system call.
            try:
                data = message["body"] if message["more_body"] and message["type"] == BODY else None
            except BaseException:
                data = None  # `accept` raises for it
            if type(data) is bytes:
                try:
                    if (sending := put(data)) is not None:
                        await self._wait_for_the_reader(sending)
                except Exception as error:
                    self._keep(error)
                    raise
                return
        if self._lost is not None:
            # A turn of the event loop for the others, and for the cancellation of an app that sends on all the same.
            await asyncio.sleep(0)
            raise self._lost.with_traceback(None)
        try:
            step = self._machine.accept(message)
        except (AppError, DeadlineExceeded) as error:
            self._keep(error)
            raise
        self._flow = self._responder.put if self._machine.flows else None
        try:
            if isinstance(step, Start):
                await self._responder.start(step.status, step.headers)
                if self._expired:
                    self._close_event_stream()
            elif isinstance(step, Body) and not step.last:
                if (sending := self._responder.put(step.data)) is not None:
                    await self._wait_for_the_reader(sending)
            else:
                await self._complete_with(step)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._keep(error)
            if isinstance(step, Start) and not of_type(error, OSError):
                # The source would not have this status and these headers; none have gone out.
                self._machine.state = ResponseState.NOTHING
            raise

    def _keep(self, error: BaseException) -> None:
        """Keeps what `send` raises, for an app may swallow it: to the machine the message has been sent."""
        if error is not self._lost:
            self.fail(error)

    async def _wait_for_the_reader(self, sending: Awaitable[None]) -> None:
        """Waits until a message is on its way. Raises StreamClosed if the deadline closes the event stream first."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None  # in a process that the app has forked
        if task is None:
            await sending
            return
        cancelling = task.cancelling()
        blocked = self._blocked = self._blocked or set()
        blocked.add(task)
        try:
            await sending
        except asyncio.CancelledError:
            # As in asyncio.timeout: a cancellation by another party is raised, ours is not.
            if self._blocked is blocked or task.uncancel() > cancelling:
                raise
        finally:
            blocked.discard(task)
        if self._lost is not None:
            raise self._lost

    async def _complete_with(self, step: Body | PathSend) -> None:
        try:
            data: Buffer = b""
            if isinstance(step, Body):
                data = step.data
            elif not step.silent:
                try:
                    await self._responder.send_file(step.path, step.promised)
                except asyncio.CancelledError:
                    # To the machine the file has been sent.
                    self.fail(DeadlineExceeded(FILE_CUT_OFF) if self._expired else AppError(FILE_CANCELLED))
                    raise
            await (self._responder.write if self._held_back else self._responder.end)(data)
            self._whole = True
        finally:
            self._disconnect()
