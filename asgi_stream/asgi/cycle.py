"""One request and its response: the ``receive`` and ``send`` that an app is called with.

The cycle sits between the app and a responder (anything with ``start``, ``put``, ``end`` and ``send_file``): each
message passes the :class:`~asgi_stream.asgi.response.ResponseMachine` and goes on at once. It also keeps a promise: a
failure that the app swallows is not forgotten, and no clean end follows it.
"""

from __future__ import annotations

import asyncio

from asgi_stream.asgi.response import BODY, Body, PathSend, ResponseMachine, ResponseState, Start
from asgi_stream.errors import AppError
from asgi_stream.foreign import of_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Any, Protocol

    from asgi_stream.asgi import ASGIApp
    from asgi_stream.sinks import Buffer

    class Responder(Protocol):
        """Where a response goes, as far as ASGI can tell."""

        def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> Awaitable[None]: ...
        def put(self, data: Buffer) -> Awaitable[None] | None: ...
        def write(self, data: Buffer) -> Awaitable[None]: ...
        def end(self, data: Buffer) -> Awaitable[None]: ...
        async def send_file(self, path: str, length: int | None) -> None: ...


__all__ = ["PAGE", "PAGE_HEADERS", "HttpCycle"]

PAGE = b"Internal Server Error"
PAGE_HEADERS = ((b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(PAGE)))


class HttpCycle:
    """Runs an app on one request. Good for one :meth:`run`."""

    __slots__ = (
        "_body", "_complete", "_expired", "_failure", "_flow", "_is_head", "_machine", "_responder", "_waiting",
        "_whole",
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

    @property
    def has_page(self) -> bool:
        """True once the app has sent a whole error page of its own, whatever it did after that."""
        return self._whole and self._machine.status >= 500

    def expire(self) -> None:
        """Little time is left: ``receive`` says ``http.disconnect``, and an app that returns then has ended well."""
        self._expired = True
        self._disconnect()

    def fail(self, error: BaseException) -> None:
        """Whatever the app does from now on, the response ends in ``error``."""
        if self._failure is None:
            self._failure = error

    async def run(self, app: ASGIApp, scope: Mapping[str, Any]) -> None:
        """Calls the app and sees its response to the end.

        Raises what the app raised, or AppError for what it did wrong: the response is then neither ended nor taken
        back, unless the app had completed it before; where nothing had been sent, a plain page of status 500 has.
        """
        try:
            await app(scope, self.receive, self.send)
            if self._failure is not None:
                raise self._failure
            if self._expired and self._machine.may_end:
                # An event stream has no last message: its app stops when the client goes, here at the deadline.
                await self._responder.end(b"")
                return
            if self._machine.state is not ResponseState.COMPLETE:
                raise AppError(f"the app returned before its response was complete: {self._machine.state.value}")
            if self._held_back:
                await self._responder.end(b"")
        except BaseException:
            if self._machine.state is ResponseState.NOTHING:
                await self._responder.start(500, PAGE_HEADERS)
                if not self._is_head:
                    await self._responder.write(PAGE)
            raise
        finally:
            # Whatever still waits in receive() would wait for ever.
            self._disconnect()

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
        return {"type": "http.disconnect"}

    def _disconnect(self) -> None:
        self._complete = True
        if self._waiting is not None:
            self._waiting.set()

    async def send(self, message: Mapping[str, Any]) -> None:
        """The app's ``send``: the message is on its way when it returns.

        Raises AppError for a message that is not allowed, OSError when the peer is gone.
        """
        if (put := self._flow) is not None:
            # The short way of nearly every message, with nothing called that need not be.
            try:
                data = message["body"] if message["more_body"] and message["type"] == BODY else None
            except BaseException:
                data = None  # `accept` raises for it
            if type(data) is bytes:
                try:
                    if (sending := put(data)) is not None:
                        await sending
                except Exception as error:
                    self.fail(error)
                    raise
                return
        try:
            step = self._machine.accept(message)
        except AppError as error:
            self.fail(error)
            raise
        self._flow = self._responder.put if self._machine.flows else None
        try:
            if isinstance(step, Start):
                await self._responder.start(step.status, step.headers)
            elif isinstance(step, Body) and not step.last:
                await self._responder.write(step.data)
            else:
                await self._complete_with(step)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # Kept, for an app may swallow it: to the machine the message has been sent.
            self.fail(error)
            if isinstance(step, Start) and not of_type(error, OSError):
                # The source would not have this status and these headers; none have gone out.
                self._machine.state = ResponseState.NOTHING
            raise

    async def _complete_with(self, step: Body | PathSend) -> None:
        try:
            data: Buffer = b""
            if isinstance(step, Body):
                data = step.data
            elif not step.silent:
                await self._responder.send_file(step.path, step.promised)
            await (self._responder.write if self._held_back else self._responder.end)(data)
            self._whole = True
        finally:
            self._disconnect()
