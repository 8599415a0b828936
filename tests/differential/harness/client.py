"""The client that sends a package's requests: over a socket, or through the transport for tests of Lambda.

Both write down what they see. Requests are built by httpx for both, so that an app gets the same bytes.
"""

from __future__ import annotations

import asyncio
import http.cookies
import os
from typing import TYPE_CHECKING, Any

import h11
import httpx

from asgi_stream.testing import exchange
from tests.differential.harness.gate import Gatekeeper
from tests.differential.harness.records import Decoder, Recording, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from asgi_stream.testing import LambdaTransport
    from tests.differential.harness.outcomes import Outcomes

__all__ = ["HOST", "Client", "LambdaClient", "SocketClient"]

# In the Host header of each request, wherever it goes: links and redirects that an app builds agree then.
HOST = "app.example"

# How long a client waits for what a waiting app has sent, in seconds. Nothing waits for it that passes.
PATIENCE = float(os.environ.get("DIFFERENTIAL_PATIENCE", "20"))

BOUNDARY = {"content-type": "multipart/form-data; boundary=differential"}


class Client:
    """Sends requests, and keeps what comes back.

    ``url`` is the server's address, for clients of other makers, which ``http()`` gives a connection. ``cookies`` are
    those that responses have set; each request carries them.
    """

    url = f"http://{HOST}"
    buffered = False  # whether the path buffers responses, so that nothing of one arrives before its end

    def __init__(self) -> None:
        self.recording = Recording()
        self.gate = Gatekeeper()
        self.cookies: dict[str, str] = {}

    async def get(self, path: str, **options: Any) -> Response:
        """Sends a GET; see :meth:`request`."""
        return await self.request("GET", path, **options)

    async def head(self, path: str, **options: Any) -> Response:
        """Sends a HEAD; see :meth:`request`."""
        return await self.request("HEAD", path, **options)

    async def post(self, path: str, **options: Any) -> Response:
        """Sends a POST; see :meth:`request`."""
        return await self.request("POST", path, **options)

    async def request(
        self,
        method: str,
        path: str,
        *,
        sees: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        label: str | None = None,
        **body: Any,
    ) -> Response:
        """Sends a request and reads the response to its end.

        ``sees`` names what has to be in the body before the gate lets the app pass, once for each mark, in their order.
        After the last mark, and without any, the gate stands open.
        ``body`` is one of httpx's arguments: ``content``, ``data``, ``files``, ``json``. A request is recorded under
        ``label``, by default its method and path.
        """
        named = {"host": HOST, "user-agent": "differential", "accept": "*/*"}
        if self.cookies:
            named["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if "files" in body:
            named |= BOUNDARY
        named |= {name.lower(): value for name, value in (headers or {}).items()}
        fields = {name.encode("ascii"): value.encode("latin-1") for name, value in named.items()}
        request = httpx.Request(method, f"http://{HOST}{path}", headers=fields, **body)
        await request.aread()
        reading = _Reading(Response(label=label or f"{method} {path}", method=method), self, sees)
        self.gate.reset()
        if self.buffered or not sees:
            self.gate.stand_open()
        print(reading.response.label, flush=True)  # for the log of a child that hangs
        response = reading.response
        try:
            await asyncio.wait_for(self._send(request, reading), PATIENCE * 2)
        except TimeoutError:
            response.ended = "never"
        self.gate.stand_open()
        for cookie in response.values("set-cookie"):
            for name, morsel in http.cookies.SimpleCookie(cookie).items():
                self.cookies[name] = morsel.value
                if not morsel.value or morsel["max-age"] == "0":
                    del self.cookies[name]
        self.recording.responses.append(response)
        return response

    def note(self, label: str, value: Any) -> None:
        """Records what a client of another maker has got, as JSON: both servers have to give the same."""
        self.recording.notes.append((label, value))

    def http(self, library: Any = httpx, **options: Any) -> Any:
        """An `AsyncClient` of httpx or httpx2 for the same app, to be handed to clients of other makers.

        The gate stands open for it, unless ``gate.reset()`` is called afterwards.
        """
        self.gate.stand_open()
        return library.AsyncClient(transport=self._transport(library), base_url=f"http://{HOST}", **options)

    def _transport(self, library: Any) -> Any:
        raise NotImplementedError

    async def _send(self, request: httpx.Request, reading: _Reading) -> None:
        raise NotImplementedError


class _Reading:
    """A response as it comes in: opens the gate when the next mark is there."""

    def __init__(self, response: Response, client: Client, sees: Sequence[str]) -> None:
        self.response = response
        self._gate = client.gate
        self._marks = [] if client.buffered else list(sees)
        self._seen = b""
        self._decoder = Decoder(None)

    def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.response.status = status
        self.response.headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
        self._decoder = Decoder(self.response.header("content-encoding"))

    def add(self, data: bytes) -> None:
        self.response.body += data
        if not self._marks:
            return
        self._seen += self._decoder.feed(data)
        while self._marks and self._marks[0].encode() in self._seen:
            self.response.arrived.append(self._marks.pop(0))
            if self._marks:
                self._gate.let_one_pass()
            else:
                self._gate.stand_open()

    async def next(self, reading: Any) -> Any:
        """Awaits the next bytes; an app that waits for a mark that does not come is let go after a while."""
        if not self._marks:
            return await reading
        task = asyncio.ensure_future(reading)
        done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        if not done:
            self.withhold()
        return await task

    def withhold(self) -> None:
        """What was not read by now does not come while the app waits."""
        self.response.withheld += self._marks
        self._marks = []
        self._gate.stand_open()


class SocketClient(Client):
    """For a server at a port of this machine: uvicorn, and the local Lambda. ``outcomes`` knows how the app ended.

    ``ended`` waits until the server is done with a request; the next one is sent after that.
    """

    def __init__(self, port: int, outcomes: Outcomes | None = None) -> None:
        super().__init__()
        self._outcomes = outcomes
        self.ended: Callable[[], Awaitable[None]] | None = None
        self.connect(port)

    def connect(self, port: int) -> None:
        """Says where requests go from now on."""
        self._port = port
        self.url = f"http://127.0.0.1:{port}"

    def _transport(self, library: Any) -> _WithHost:
        return _WithHost(library.AsyncHTTPTransport(), self.url)

    async def _send(self, request: httpx.Request, reading: _Reading) -> None:
        if self._outcomes is not None:
            self._outcomes.forget()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        parser = h11.Connection(h11.CLIENT)
        try:
            head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
            writer.write(parser.send(head) or b"")
            if request.content:
                writer.write(parser.send(h11.Data(data=request.content)) or b"")
            writer.write(parser.send(h11.EndOfMessage()) or b"")
            async for event in self._events(parser, reader, reading):
                if isinstance(event, h11.Response):
                    reading.start(event.status_code, list(event.headers))
                    if reading.response.header("transfer-encoding") == "chunked":
                        reading.response.pieces = []
                elif isinstance(event, h11.Data):
                    self._add(event, reading)
        except h11.RemoteProtocolError:
            reading.response.ended = "cut"
        finally:
            writer.close()
        reading.withhold()
        if self.ended is not None:
            await self.ended()
        if self._outcomes is not None:
            reading.response.raised = await self._outcomes.next()

    async def _events(
        self, parser: h11.Connection, reader: asyncio.StreamReader, reading: _Reading
    ) -> AsyncIterator[h11.Event]:
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                data = await reading.next(reader.read(65536))
                reading.response.raw += data
                parser.receive_data(data)
            elif isinstance(event, h11.EndOfMessage):
                return
            elif isinstance(event, h11.Event):
                yield event
            else:
                raise h11.RemoteProtocolError("the connection ended")

    @staticmethod
    def _add(event: h11.Data, reading: _Reading) -> None:
        data = bytes(event.data)
        pieces = reading.response.pieces
        if pieces is not None:
            if event.chunk_start:
                pieces.append(b"")
            pieces[-1] += data
        reading.add(data)


class LambdaClient(Client):
    """For an app in this process, through the events and responses of an event source."""

    def __init__(self, transport: LambdaTransport, *, buffered: bool = False) -> None:
        super().__init__()
        self.transport = transport
        self.buffered = buffered

    def _transport(self, library: Any) -> _Kept:
        return _Kept(self.transport)

    async def _send(self, request: httpx.Request, reading: _Reading) -> None:
        answer = await reading.next(self.transport.handle_async_request(request))
        reading.start(answer.status_code, answer.headers.raw)
        response = reading.response
        pieces = []
        stream = aiter(answer.stream)
        while True:
            try:
                piece = await reading.next(anext(stream))
            except StopAsyncIteration:
                break
            if piece:
                pieces.append(piece)
                reading.add(piece)
        reading.withhold()
        response.pieces = None if self.buffered else pieces
        shown = exchange(answer)
        # A page of status 500 is whole, whatever is reported besides it.
        response.ended = "cut" if shown.error is not None and response.status < 500 else "complete"
        raised = shown._delivery.raised
        response.raised = "" if raised is None else type(raised).__name__
        head = "".join(f"{name}: {value}\r\n" for name, value in response.headers)
        response.raw = f"HTTP/1.1 {response.status}\r\n{head}\r\n".encode("latin-1")
        response.raw += response.body if self.buffered else b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces)
        if shown.error is not None:
            response.raw += f"Lambda gets: {shown.error_type} by {shown.reported_by}\r\n".encode()


class _WithHost(httpx.AsyncBaseTransport):
    """Sends requests for HOST to a port of this machine. For httpx and httpx2."""

    def __init__(self, inner: Any, url: str) -> None:
        self._inner = inner
        self._url = httpx.URL(url)

    async def handle_async_request(self, request: Any) -> Any:
        request.url = request.url.copy_with(host=self._url.host, port=self._url.port)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Kept(httpx.AsyncBaseTransport):
    """A transport that several clients use one after another, without ending the app."""

    def __init__(self, inner: LambdaTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: Any) -> Any:
        return await self._inner.handle_async_request(request)
