"""A Runtime API server that takes anything from any runtime, and writes down what it got."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import h11

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    Headers = Iterable[tuple[bytes, bytes]]

API = "/2018-06-01/runtime/invocation"
DELIMITER = bytes(8)
LIMIT = 20.0  # of a wait that ends much earlier, in seconds


class Post(NamedTuple):
    """What a runtime posted for one invocation. Names of headers and trailers are lower-case.

    ``kind`` is the last part of the path; ``prelude`` the JSON before the delimiter, None for a stream without one.
    ``complete`` is False for a body that broke off, or that was not at its end when the next invocation was asked for.
    """

    kind: str
    headers: dict[str, str]
    body: bytes
    trailers: dict[str, str]
    complete: bool

    @property
    def prelude(self) -> Any:
        head, delimiter, _ = self.body.partition(DELIMITER)
        return json.loads(head) if delimiter else None

    @property
    def content(self) -> bytes:
        return self.body.partition(DELIMITER)[2] if self.prelude is not None else self.body

    @property
    def error_type(self) -> str | None:
        name = "lambda-runtime-function-error-type"
        return self.headers.get(name) if self.kind == "error" else self.trailers.get(name)

    @property
    def error(self) -> dict[str, Any] | None:
        """The error's JSON, from the body of /error or out of the trailers."""
        if self.kind == "error":
            data = self.body
        elif text := self.trailers.get("lambda-runtime-function-error-body"):
            data = base64.b64decode(text, validate=True)
        else:
            return None
        value: dict[str, Any] = json.loads(data)
        return value


class Recorder:
    """``async with Recorder(command, environ, folder) as runtime: posts = await runtime.invoke(event)``.

    ``command`` is a runtime with its handler; it is ended with the block.
    """

    def __init__(self, command: Sequence[str], environ: dict[str, str], folder: Path) -> None:
        self._command = command
        self._environ = environ
        self._folder = folder
        self._events: asyncio.Queue[bytes] = asyncio.Queue()
        self._posts: list[Post] = []
        self._polls = 0
        self._invocations = 0
        self._changed = asyncio.Condition()
        self._exited = False
        self._open: list[Request] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=self._folder,
            env={**self._environ, "AWS_LAMBDA_RUNTIME_API": f"{host}:{port}"},
            stdin=asyncio.subprocess.DEVNULL,
        )
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._watcher
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections)
        await self._server.wait_closed()

    async def invoke(self, event: object) -> tuple[list[Post], bool]:
        """Returns all posts until the runtime asks for the next invocation (True) or has exited (False)."""
        self._invocations += 1
        self._posts = []
        self._events.put_nowait(json.dumps(event).encode())
        async with asyncio.timeout(LIMIT), self._changed:
            await self._changed.wait_for(lambda: (self._exited and not self._open) or self._polls > self._invocations)
        posts = [*self._posts, *(post.made(complete=False) for post in self._open if post.kind != "next")]
        return posts, not self._exited

    async def _watch(self) -> None:
        await self._process.wait()
        self._exited = True
        await self._wake()

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError), contextlib.closing(writer):
            http = h11.Connection(h11.SERVER)
            while (request := await self._read(http, reader)) is not None:
                if request.kind == "next":
                    self._polls += 1
                    await self._wake()
                    body = await self._events.get()
                    status = 200
                    headers = [
                        ("Lambda-Runtime-Aws-Request-Id", f"id-{self._invocations}"),
                        ("Lambda-Runtime-Deadline-Ms", "4102444800000"),
                        ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:0:function:test"),
                        ("Content-Type", "application/json"),
                    ]
                else:
                    status, headers, body = 202, [("Content-Type", "application/json")], b'{"status":"OK"}'
                headers.append(("Content-Length", str(len(body))))
                for event in (
                    h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage(),
                ):  # fmt: skip
                    writer.write(http.send(event) or b"")
                await writer.drain()
                http.start_next_cycle()

    async def _read(self, http: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
        """Reads a request to its end, and keeps what it posted; None at the end of the connection."""
        request: Request | None = None
        try:
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(await reader.read(65_536))
                elif isinstance(event, h11.Request):
                    request = Request(event.target.decode().rpartition("/")[2], event.headers)
                    self._open.append(request)
                elif isinstance(event, h11.Data) and request is not None:
                    request.body += event.data
                elif isinstance(event, h11.EndOfMessage) and request is not None:
                    self._close(request, request.made(joined(event.headers), complete=True))
                    return request
                else:
                    return None
        except (h11.RemoteProtocolError, ConnectionError):
            if request is not None:
                self._close(request, request.made(complete=False))
                await self._wake()
            return None

    def _close(self, request: Request, post: Post) -> None:
        self._open.remove(request)
        if post.kind != "next":
            self._posts.append(post)


class Request:
    """One that is being read."""

    def __init__(self, kind: str, headers: Headers) -> None:
        self.kind = kind
        self.headers = joined(headers)
        self.body = bytearray()

    def made(self, trailers: dict[str, str] | None = None, *, complete: bool) -> Post:
        return Post(self.kind, self.headers, bytes(self.body), trailers or {}, complete)


def joined(headers: Headers) -> dict[str, str]:
    """A header that comes more than once is one with all values."""
    fields: dict[str, str] = {}
    for name, value in headers:
        text = value.decode("latin-1")
        fields[name.decode()] = f"{fields[name.decode()]}, {text}" if name.decode() in fields else text
    return fields
