"""A Runtime API for measurements: every connection that polls is a slot, as on Managed Instances.

It reads just enough HTTP/1.1 to be strict and quick: a head, then a body by its length or in chunks with trailers.
Where `asgi_stream.local` plays Lambda, with its states and refusals, this one hands out events, takes the ends, and
keeps a list of all that should not have happened: a second end, an unknown id, a request that broke off.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNTIME = "/2018-06-01/runtime"
EXTENSION = "/2020-01-01/extension"
LONGEST_TIMEOUT_MS = 15 * 60 * 1000


class EnvironmentEnded(Exception):
    """Raised for invocations that the function's process can no longer end."""


class Answer(NamedTuple):
    """One end of an invocation, as it was POSTed. `kind` is "response" or "error"; names of headers are lower-case."""

    kind: str
    headers: Mapping[str, str]
    body: bytes
    trailers: Mapping[str, str]

    @property
    def error(self) -> dict[str, Any] | None:
        """The error that Lambda is told, by either way; None after a whole response."""
        if self.kind == "error":
            told = self.body
        elif trailer := self.trailers.get("lambda-runtime-function-error-body"):
            told = base64.b64decode(trailer, validate=True)
        else:
            return None
        error: dict[str, Any] = json.loads(told)
        return error


class Invocation:
    """One invocation as its caller sees it. `chunks` has an entry for each HTTP chunk that has come so far."""

    def __init__(self, request_id: str, event: bytes, headers: Mapping[str, str]) -> None:
        self.request_id = request_id
        self.event = event
        self.headers = headers
        self.chunks: list[bytes] = []
        self.ended: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()

    async def answer(self) -> Answer:
        """Waits for the end. Raises EnvironmentEnded."""
        return await self.ended

    async def arrived(self, text: bytes) -> None:
        """Waits until a chunk with `text` in it has come. Raises EnvironmentEnded; AssertionError after the end."""
        while not any(text in chunk for chunk in self.chunks):
            assert not self.ended.done(), f"the response has ended without {text!r}: {self.ended.result()}"
            self._news.clear()
            await self._news.wait()

    def add(self, chunk: bytes) -> None:
        """A chunk has come."""
        self.chunks.append(chunk)
        self._news.set()

    def end(self, answer: Answer | Exception) -> None:
        """It has ended; the first end counts."""
        if not self.ended.done():
            if isinstance(answer, Exception):
                self.ended.set_exception(answer)
                self.ended.exception()  # seen: whoever gave up waiting need not hear of it at the end
            else:
                self.ended.set_result(answer)
        self._news.set()


class RuntimeApi:
    """`async with RuntimeApi() as api:` listens on 127.0.0.1; `api.address` is for AWS_LAMBDA_RUNTIME_API.

    `faults` are the requests that broke the protocol, in words; a function that behaves makes none.
    """

    def __init__(self) -> None:
        self.address = ""
        self.faults: list[str] = []
        self._open: dict[str, Invocation] = {}
        self._queue: deque[Invocation] = deque()
        self._polls: deque[_Exchange] = deque()
        self._polled = asyncio.Event()
        self._ended: EnvironmentEnded | None = None
        self._count = 0
        self._connections: set[_Exchange] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Exchange(self), "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.close()
        await self._server.wait_closed()

    def invoke(self, event: bytes, *, timeout_ms: int = LONGEST_TIMEOUT_MS) -> Invocation:
        """Hands `event` to a slot that polls, or to the next that does. Raises EnvironmentEnded."""
        if self._ended is not None:
            raise self._ended
        self._count += 1
        request_id = f"00000000-0000-4000-8000-{self._count:012d}"
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Invocation-Id": f"once-{self._count}",
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + timeout_ms),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:local",
            "Lambda-Runtime-Trace-Id": f"Root=1-5e6722a7-{self._count:024x};Parent=53995c3f42cd8ad8;Sampled=0",
        }
        invocation = self._open[request_id] = Invocation(request_id, event, headers)
        self._queue.append(invocation)
        self._match()
        return invocation

    async def polled(self, slots: int = 1) -> None:
        """Waits until so many slots poll and have nothing to do. Raises EnvironmentEnded."""
        while len(self._polls) < slots:
            if self._ended is not None:
                raise self._ended
            self._polled.clear()
            await self._polled.wait()

    def fail(self, why: str) -> None:
        """The function's process has ended: so has every invocation that was open."""
        self._ended = EnvironmentEnded(why)
        for invocation in self._open.values():
            invocation.end(self._ended)
        self._open.clear()
        self._polled.set()

    # For the connections.

    def opened(self, connection: _Exchange) -> None:
        self._connections.add(connection)

    def closed(self, connection: _Exchange) -> None:
        self._connections.discard(connection)
        if connection in self._polls:
            self._polls.remove(connection)

    def poll(self, connection: _Exchange) -> None:
        self._polls.append(connection)
        self._polled.set()
        self._match()

    def find(self, request_id: str) -> Invocation | None:
        return self._open.get(request_id)

    def end(self, invocation: Invocation, answer: Answer) -> None:
        del self._open[invocation.request_id]
        if answer.headers.get("lambda-runtime-invocation-id") != invocation.headers["Lambda-Runtime-Invocation-Id"]:
            self.faults.append(f"the Invocation-Id of {invocation.request_id} was not echoed")
        invocation.end(answer)

    def _match(self) -> None:
        while self._queue and self._polls:
            invocation = self._queue.popleft()
            self._polls.popleft().reply(200, invocation.event, invocation.headers)


class _Exchange(asyncio.Protocol):
    """One connection: requests, one after another."""

    def __init__(self, api: RuntimeApi) -> None:
        self._api = api
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._read = self._read_head
        self._method = self._target = ""
        self._headers: dict[str, str] = {}
        self._left = 0
        self._body: list[bytes] = []
        self._invocation: Invocation | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._api.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._api.closed(self)
        if self._read != self._read_head or self._data:
            self._api.faults.append(f"{self._method} {self._target} broke off")

    def data_received(self, data: bytes) -> None:
        self._data += data
        while self._read():
            pass

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        assert self._transport is not None
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        self._transport.write(head.encode("latin-1") + body)

    # Each reads one part and says whether there was enough for it.

    def _read_head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        line, *fields = self._data[:end].decode("latin-1").split("\r\n")
        del self._data[: end + 4]
        self._method, self._target, _ = line.split(" ")
        pairs = (field.partition(":") for field in fields)
        self._headers = {name.lower(): value.strip() for name, _, value in pairs}
        self._body = []
        self._invocation = None
        parts = self._target.split("/")
        if self._method == "POST" and self._target.startswith(f"{RUNTIME}/invocation/") and len(parts) == 6:
            self._invocation = self._api.find(parts[4])
            if self._invocation is not None:
                self._body = self._invocation.chunks
        if self._headers.get("transfer-encoding") == "chunked":
            self._read = self._read_chunk
            return True
        self._left = int(self._headers.get("content-length", "0"))
        self._read = self._read_body
        return True

    def _read_body(self) -> bool:
        if len(self._data) < self._left:
            return False
        self._add(bytes(self._data[: self._left]))
        del self._data[: self._left]
        self._finish({})
        return True

    def _read_chunk(self) -> bool:
        end = self._data.find(b"\r\n")
        if end < 0:
            return False
        size = int(self._data[:end], 16)
        if size == 0:
            del self._data[: end + 2]
            self._read = self._read_trailers
            return True
        start = end + 2
        if len(self._data) < start + size + 2:
            return False
        self._add(bytes(self._data[start : start + size]))
        if self._data[start + size : start + size + 2] != b"\r\n":
            self._api.faults.append(f"a chunk of {self._target} is longer than it says")
        del self._data[: start + size + 2]
        return True

    def _read_trailers(self) -> bool:
        if self._data.startswith(b"\r\n"):
            del self._data[:2]
            self._finish({})
            return True
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        pairs = (field.partition(":") for field in self._data[:end].decode("latin-1").split("\r\n"))
        del self._data[: end + 4]
        self._finish({name.lower(): value.strip() for name, _, value in pairs})
        return True

    def _add(self, data: bytes) -> None:
        if self._invocation is not None:
            self._invocation.add(data)
        else:
            self._body.append(data)

    def _finish(self, trailers: Mapping[str, str]) -> None:
        self._read = self._read_head
        if (self._method, self._target) == ("GET", f"{RUNTIME}/invocation/next"):
            self._api.poll(self)
        elif self._invocation is not None:
            # Replied first: whoever waits for the end finds a slot that is on its way to the next poll.
            self.reply(202, b'{"status":"OK"}')
            kind = self._target.rpartition("/")[2]
            self._api.end(self._invocation, Answer(kind, self._headers, b"".join(self._body), trailers))
        elif (self._method, self._target) == ("POST", f"{EXTENSION}/register"):
            self.reply(200, b"{}", {"Lambda-Extension-Identifier": "one"})
        elif (self._method, self._target) == ("GET", f"{EXTENSION}/event/next"):
            pass  # open for as long as the environment lives
        else:
            self._api.faults.append(f"{self._method} {self._target}: {b''.join(self._body)[:500]!r}")
            self.reply(400, b'{"errorType":"InvalidRequestID"}')
