"""A Runtime API in memory: reads what the runtime writes by h11, keeps the raw bytes, answers, hands out events."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h11

from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.loop import Fatal, Runtime
from tests.support.memory import MemoryStream, connects_to

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_stream.sinks import Buffer, Handler

API = "/2018-06-01/runtime"


@dataclass
class Received:
    """One request of the runtime, as it came."""

    method: str
    target: str
    headers: dict[str, str]
    raw: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    trailers: dict[str, str] = field(default_factory=dict)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def prelude(self) -> dict[str, Any]:
        prelude: dict[str, Any] = json.loads(self.body.partition(bytes(8))[0])
        return prelude

    @property
    def content(self) -> bytes:
        """The body behind the prelude."""
        return self.body.partition(bytes(8))[2]

    @property
    def kind(self) -> str:
        return self.target.rpartition("/")[2]


class FakeRuntimeApi(MemoryStream):
    """Answers ``/next`` with one event after another, then closes; takes every response and error with 202."""

    def __init__(
        self, *events: object, replies: Sequence[bytes] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.received: list[Received] = []
        self._events = deque(event if isinstance(event, bytes) else json.dumps(event).encode() for event in events)
        self._headers = headers or {}
        self._replies = deque(replies)
        self._served = 0
        self._h11 = h11.Connection(h11.SERVER)

    @property
    def answers(self) -> list[Received]:
        """All that is not a request for the next invocation."""
        return [request for request in self.received if request.kind != "next"]

    def write(self, buffers: Sequence[Buffer]) -> int:
        taken = super().write(buffers)
        if not taken:
            return 0
        data = self.writes[-1]
        self._h11.receive_data(data)
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Request):
                headers = {name.decode(): value.decode() for name, value in event.headers}
                self.received.append(Received(event.method.decode(), event.target.decode(), headers))
            elif isinstance(event, h11.Data):
                chunks = self.received[-1].chunks
                if event.chunk_start:
                    chunks.append(b"")
                chunks[-1:] = [b"".join((*chunks[-1:], event.data))]
            elif isinstance(event, h11.EndOfMessage):
                self.received[-1].trailers = {name.decode(): value.decode() for name, value in event.headers}
                self.received[-1].complete = True
                self._answer(self.received[-1])
            else:
                break
        if self.received:
            self.received[-1].raw += data
        return taken

    def _answer(self, request: Received) -> None:
        if request.kind != "next":
            body = b'{"status":"OK"}'
            reply = b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            self.say(self._replies.popleft() if self._replies else reply)
        elif self._events:
            self._served += 1
            body = self._events.popleft()
            headers = {"Lambda-Runtime-Aws-Request-Id": f"id-{self._served}", **self._headers}
            lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
            self.say(f"HTTP/1.1 200 OK\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        else:
            self.say(b"")
            return
        self._h11.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        self._h11.send(h11.EndOfMessage())
        self._h11.start_next_cycle()


async def serve(handler: Handler, *events: object, api: FakeRuntimeApi | None = None, **headers: str) -> FakeRuntimeApi:
    """Runs the events through the runtime's own loop; returns the Runtime API with all it received."""
    if api is None:
        api = FakeRuntimeApi(*events, headers=headers)
    runtime = Runtime(handler, Connection("host:1", connects_to(api)))
    runtime._variables = await handler.startup()
    try:
        await runtime.serve()
    except Fatal:
        assert not api._events, "the runtime gave up before the last event"
    await handler.shutdown()
    await asyncio.sleep(0)
    return api
