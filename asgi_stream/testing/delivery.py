"""The sink of a test: a response on its way from the app to the test's client, bytes and all.

What the adapter gives is encoded as for Lambda, held against Lambda's limits, and decoded again as a Function URL does.
Pieces of the body are handed over one by one: one may wait for its reader, the next blocks ``send``.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from asgi_stream.errors import LambdaRefused, StreamClosed, stems_from
from asgi_stream.foreign import of_type, text
from asgi_stream.local.function_error import from_body, from_trailers
from asgi_stream.local.prelude import INTEGRATION_RESPONSE, InvalidPrelude, ResponseDecoder, ResponseStart
from asgi_stream.runtime.logs import log_exception
from asgi_stream.runtime.reports import describe
from asgi_stream.sinks import DELIMITER, Sink
from asgi_stream.testing.answers import add_multi_values, read_payload

if TYPE_CHECKING:
    from asgi_stream.local.function_error import FunctionError
    from asgi_stream.sinks import Buffer

__all__ = ["STREAM_LIMIT", "Chunk", "Delivery"]

# AWS: "Lambda quotas", response streaming. Bytes, the prelude's among them; they are counted and not kept.
STREAM_LIMIT = 200 * 1024 * 1024

BAD_GATEWAY = ResponseStart(502, [(b"content-type", b"text/plain; charset=utf-8")])
BAD_GATEWAY_BODY = b"Internal Server Error"


class Handover:
    """Pieces from an app to one reader, of which one may wait. For one event loop."""

    def __init__(self) -> None:
        self._piece: bytes | None = None
        self._closed = False
        self._abandoned = False
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    async def put(self, piece: bytes) -> None:
        """Waits until no other piece does, and leaves this one. Returns at once when nobody will read it."""
        while self._piece is not None:
            self._emptied.clear()
            await self._emptied.wait()
        if self._abandoned:
            # An app that sends without end must not keep the loop from everybody else.
            await asyncio.sleep(0)
        else:
            self._piece = piece
            self._filled.set()

    async def get(self) -> bytes | None:
        """Waits for a piece; None when all have been read."""
        while self._piece is None:
            if self._closed:
                return None
            self._filled.clear()
            await self._filled.wait()
        piece, self._piece = self._piece, None
        self._emptied.set()
        return piece

    def close(self) -> None:
        """No further piece will come; the one that waits can still be read."""
        self._closed = True
        self._filled.set()

    def abandon(self) -> None:
        """Nobody reads any more: writers go on as if somebody did."""
        self._abandoned = True
        self._piece = None
        self._emptied.set()
        self.close()


class Chunk(NamedTuple):
    """One chunk of a body, as it left the app: its size in bytes, and the seconds since the request."""

    size: int
    seconds: float


class Delivery(Sink):
    """One response. What stands here as attributes, :class:`~asgi_stream.testing.Exchange` shows to a test.

    ``raised`` is what the app raised, ``refusal`` why Lambda would not have taken the response; ``started`` is set once
    status and headers are known (``head``, None after an error without a response), ``ended`` once the response has
    ended, ``returned`` once the app has returned.
    """

    def __init__(self, event: dict[str, Any], request_id: str) -> None:
        super().__init__()
        self.event = event
        self.request_id = request_id
        self.head: ResponseStart | None = None
        self.prelude: dict[str, Any] | None = None
        self.answer: Any = None
        self.chunks: list[Chunk] = []
        self.error: FunctionError | None = None
        self.raised: BaseException | None = None
        self.refusal: LambdaRefused | None = None
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.returned = asyncio.Event()
        self._handover = Handover()
        self._decoder = ResponseDecoder("streaming", INTEGRATION_RESPONSE)
        self._since = time.perf_counter()
        self._size = 0
        self._lost: StreamClosed | None = None

    # What the adapter calls

    async def _start(self, prelude: bytes) -> None:
        self._count(prelude)
        try:
            self._decoder.feed(prelude)
            self.prelude = json.loads(prelude.removesuffix(DELIMITER))
            self.head = add_multi_values(self._decoder.start, self.prelude)
        except InvalidPrelude as error:
            raise self._refuse(f"this prelude is not one that Lambda takes: {error}") from error
        self.started.set()

    async def _open(self, content_type: str) -> None:
        # Without metadata, as on a Function URL: status 200.
        self._decoder = ResponseDecoder("streaming", content_type)
        self.head = self._decoder.start
        self.started.set()

    async def _write(self, data: Buffer) -> None:
        if self._lost is not None:
            raise self._lost
        # A copy: to an app that uses its buffer again, the piece is gone.
        piece = bytes(data)
        self._count(piece)
        self.chunks.append(Chunk(len(piece), time.perf_counter() - self._since))
        await self._handover.put(self._decoder.feed(piece))

    async def _end(self, data: Buffer) -> None:
        try:
            if data:
                await self._write(data)
        finally:
            self._finish()

    async def _reply(self, payload: bytes, content_type: str) -> None:
        try:
            self.answer, self.head, body = read_payload(payload, content_type)
        except Exception as error:
            raise self._refuse(f"a client of the function gets status 502 for this answer: {text(error)}") from error
        self.started.set()
        if body:
            self.chunks.append(Chunk(len(body), time.perf_counter() - self._since))
            await self._handover.put(body)
        self._finish()

    def note(self, error: BaseException) -> None:
        self.raised = error

    async def _abort(self, error: BaseException) -> None:
        report = describe(error)
        if self.head is not None:
            self.error = from_trailers({name.lower(): value for name, value in report.to_trailers()})
        else:
            self.error = from_body(report.kind, report.to_json())
        self._finish()

    def _count(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > STREAM_LIMIT:
            raise self._refuse(f"a streamed response may have {STREAM_LIMIT} bytes (200 MB), and this one has more")

    def _refuse(self, sentence: str) -> StreamClosed:
        self.refusal = LambdaRefused(sentence)
        self._lost = StreamClosed(f"Lambda has refused the rest of this response: {sentence}")
        self._finish()
        return self._lost

    def _finish(self) -> None:
        self.started.set()
        self.ended.set()
        self._handover.close()

    # What the execution environment calls

    async def conclude(self, error: BaseException | None, *, is_closing: bool = False) -> None:
        """The invocation has run and raised ``error``, which is reported as the runtime does.

        With ``is_closing`` the environment has cancelled the app, which is not logged as a failure.
        """
        if error is None and not self.done:
            error = RuntimeError("the handler returned without ending its response")
        try:
            if error is not None and not (self._lost is not None and stems_from(error, self._lost)):
                self.raised = error
                if is_closing and of_type(error, asyncio.CancelledError):
                    if not self.done:
                        await self.abort(error)
                elif self.done:
                    log_exception("Failed after the response had ended; Lambda counts no error", error, self.request_id)
                else:
                    log_exception("The invocation failed", error, self.request_id)
                    await self.abort(error)
        finally:
            self._finish()  # or the client would wait for ever
            self.returned.set()

    # What the transport calls

    async def read(self) -> bytes | None:
        """Waits for the next piece of the body; None at its end."""
        return await self._handover.get()

    def abandon(self) -> None:
        """The client reads no further. The app does not notice: what it sends from now on goes nowhere."""
        self._handover.abandon()

    async def show_error_page(self) -> ResponseStart:
        """Makes of an invocation that gave no response what its client gets on AWS: a page of status 502."""
        self.head = BAD_GATEWAY
        await self._handover.put(BAD_GATEWAY_BODY)
        return self.head
