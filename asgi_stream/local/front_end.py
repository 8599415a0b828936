"""The Function URL: an ASGI app that turns each request into an event and relays the function's stream.

Every piece is sent the moment it comes; `send` waits for a slow client, and then nothing is read from the
function. As on AWS, the function never learns that a client has gone: its stream is read to the end all the
same. Whatever goes wrong before the status is known is a 502 with nothing in it; the reason stands in the
terminal.
"""

from __future__ import annotations

import json
import time
import traceback
import uuid
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response

from asgi_stream.local.function_url import Request, build_event, trace_id_of
from asgi_stream.local.pool import Throttled
from asgi_stream.local.relay import relay
from asgi_stream.local.terminal import tell, warn

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from asgi_stream.local.invocation import Piece
    from asgi_stream.local.pool import Pool
    from asgi_stream.local.prelude import ResponseStart

# Lambda's limit for a synchronous request, of the whole event as JSON. Bytes.
MAX_EVENT = 6 * 1024 * 1024

_BODYLESS = (204, 304)


class FrontEnd:
    """The ASGI app. Serves `http` scopes on any path, with any method."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = _Client(scope, receive, send)
        try:
            await self._serve(client)
        except ClientDisconnect:
            return  # within its request: there is nothing to invoke the function with
        except Exception:
            warn(f"asgi-stream: {client.name}: an error of the local Lambda itself\n{traceback.format_exc()}")
            if client.status is None:
                await client.refuse(PlainTextResponse("Internal Server Error", 502))
        tell(client.summary())

    async def _serve(self, client: _Client) -> None:
        request = await client.request()
        request_id = str(uuid.uuid4())
        event = build_event(request, request_id=request_id) if request else {}
        payload = json.dumps(event).encode()
        if request is None or len(payload) > MAX_EVENT:
            await client.refuse(JSONResponse({"Message": f"Request must be smaller than {MAX_EVENT} bytes"}, 413))
            return
        try:
            invocation = await self._pool.invoke(payload, request_id=request_id, trace_id=trace_id_of(event))
        except Throttled:
            body = {
                "Reason": "ConcurrentInvocationLimitExceeded",
                "Type": "User",
                "message": "Rate Exceeded.",
            }
            await client.refuse(JSONResponse(body, 429))
            return
        trouble = await relay(invocation, client)
        if trouble is not None and not self._pool.closed:
            warn(f"asgi-stream: {client.name}: {trouble}")
        if client.status is None:
            await client.refuse(PlainTextResponse("Internal Server Error", 502))
        else:
            # Clean also after an error: a Function URL's client only sees a short body.
            await client.end()


@dataclass(slots=True, eq=False)
class _Client:
    """One request's client: what it asked, what it has got so far."""

    scope: Scope
    _receive: Receive
    _send: Send
    status: int | None = None
    _chunks: int = 0
    _bytes: int = 0
    _counted: bool = False
    _gone: bool = False
    _since: float = 0.0

    def __post_init__(self) -> None:
        self._since = time.monotonic()

    @property
    def name(self) -> str:
        """Method and path, for the terminal."""
        path: bytes = self.scope["raw_path"]
        return f"{self.scope['method']} {path.decode('ascii', 'backslashreplace')}"

    async def request(self) -> Request | None:
        """Reads the request; None if it is larger than an event may be. Raises ClientDisconnect."""
        body = bytearray()
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_EVENT:
                return None
        host, _ = self.scope["client"] or ("127.0.0.1", 0)
        _, port = self.scope["server"] or ("127.0.0.1", 80)
        return Request(
            method=self.scope["method"],
            raw_path=self.scope["raw_path"],
            query=self.scope["query_string"],
            headers=self.scope["headers"],
            body=bytes(body),
            source_ip=host,
            port=port or 80,
            scheme=self.scope["scheme"],
            protocol=f"HTTP/{self.scope['http_version']}",
        )

    async def start(self, start: ResponseStart) -> None:
        """Sends status and headers."""
        self.status = start.status
        await self._deliver({"type": "http.response.start", "status": start.status, "headers": start.headers})

    async def write(self, body: bytes, piece: Piece) -> None:
        """Sends a piece; an answer that has no body gets none, whatever the function wrote."""
        # Counted are the HTTP chunks that brought any body; the prelude's own is none of them.
        if piece.chunk_start or not self._counted:
            self._chunks += 1
        self._counted = not piece.chunk_end
        self._bytes += len(body)
        if self.status not in _BODYLESS and self.scope["method"] != "HEAD":
            await self._deliver({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        """Ends the body."""
        await self._deliver({"type": "http.response.body", "body": b"", "more_body": False})

    async def refuse(self, response: Response) -> None:
        """Sends a whole answer of our own."""
        self.status = response.status_code
        await response(self.scope, self._receive, self._deliver)

    async def _deliver(self, message: Message) -> None:
        if self._gone:
            return
        if message["type"] == "http.response.start":
            # Here and not by uvicorn, which would send a second one after an app's own.
            MutableHeaders(raw=message["headers"]).setdefault("date", formatdate(usegmt=True))
        try:
            await self._send(message)
        except Exception as error:
            # OSError is ASGI's sign that the client has gone. The server raises others for what the protocol does not
            # allow, such as a body in a response to CONNECT. The function must not notice either.
            self._gone = True
            if not isinstance(error, OSError):
                warn(f"asgi-stream: {self.name}: the response could not be sent: {error}")

    def summary(self) -> str:
        """One line for the terminal."""
        chunks = f"{self._chunks} chunk{'' if self._chunks == 1 else 's'}"
        return f"{self.name} {self.status} {chunks} {self._bytes} B {time.monotonic() - self._since:.3f} s"
