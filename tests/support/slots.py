"""Managed Instances as the function's processes see them: a Runtime API with several slots, and the real ``bootstrap``.

Each poll that is open is a free slot, as on Lambda. An invocation whose connection ends before its answer has ended
with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self

from asgi_stream.local.environment import lambda_environment
from asgi_stream.local.function_error import FunctionError, from_body, from_trailers
from asgi_stream.local.http import HttpConnection, Truncated
from asgi_stream.local.invocation import End, Ending, Head, Invocation
from tests.support.dev import environment
from tests.support.events import function_url_event
from tests.support.platforms import BOOTSTRAP, INVOCATION_LIMIT, REPO, Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import h11

API = "/2018-06-01/runtime"
EXTENSION_API = "/2020-01-01/extension"
_ANSWER = re.compile(rf"{API}/invocation/([^/]+)/(response|error)")
_TRUNCATED = End(Ending.TRUNCATED, FunctionError("Runtime.ExitError", {"errorMessage": "the connection has ended"}))


class ManagedInstancesApi:
    """``calls`` are the requests that are neither for an invocation nor an answer, in the order in which they came.

    A poll is among them if it is the first of all: init ends with it.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.init_errors: list[FunctionError] = []
        self._polls: deque[asyncio.Future[Invocation]] = deque()
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def polled(self, count: int) -> None:
        """Waits until exactly so many slots are free."""
        await self._until(lambda: len(self._polls) == count)

    async def called(self, call: str) -> None:
        """Waits until a request of this kind has come."""
        await self._until(lambda: call in self.calls)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(INVOCATION_LIMIT), self._changed:
            await self._changed.wait_for(condition)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def invoke(self, path: str) -> Invocation:
        """Hands an event to the slot that has been free for the longest."""
        headers = {"Lambda-Runtime-Deadline-Ms": str(int((time.time() + 900) * 1000))}
        invocation = Invocation(json.dumps(function_url_event(path=path)).encode(), headers)
        self._polls.popleft().set_result(invocation)
        return invocation

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        http = HttpConnection(reader, writer)
        invocation: Invocation | None = None
        try:
            while (request := await http.next_request()) is not None:
                method, path = request.method.decode(), request.target.decode()
                if (method, path) == ("GET", f"{API}/invocation/next"):
                    await http.read_body()
                    invocation = await self._poll(reader)
                    if invocation is None:
                        break
                    fields = {"Lambda-Runtime-Aws-Request-Id": invocation.request_id, **invocation.headers}
                    await http.reply(200, invocation.event, fields)
                elif (match := _ANSWER.fullmatch(path)) and invocation is not None:
                    assert match[1] == invocation.request_id, "answered on another connection than it was taken on"
                    await self._answer(http, request, invocation, match[2])
                    await http.reply_json(202, {"status": "OK"})
                else:
                    await self._other(http, request, f"{method} {path}")
        except (Truncated, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            if invocation is not None:
                invocation.finish(_TRUNCATED)
            with contextlib.suppress(asyncio.CancelledError):
                await http.close()

    async def _poll(self, reader: asyncio.StreamReader) -> Invocation | None:
        """Waits for an invocation; None if the function's process has gone."""
        if not self.calls or self.calls[-1] != "poll":
            self.calls.append("poll")
        poll: asyncio.Future[Invocation] = asyncio.get_running_loop().create_future()
        gone = asyncio.create_task(reader.read(1))
        self._polls.append(poll)
        await self._notify()
        try:
            await asyncio.wait((poll, gone), return_when=asyncio.FIRST_COMPLETED)
            return poll.result() if poll.done() else None
        finally:
            gone.cancel()
            await asyncio.wait((gone,))
            if poll in self._polls:
                self._polls.remove(poll)
                await self._notify()

    async def _answer(self, http: HttpConnection, request: h11.Request, invocation: Invocation, kind: str) -> None:
        headers = {name.decode(): value.decode() for name, value in request.headers}
        if kind == "error":
            error = from_body(headers.get("lambda-runtime-function-error-type"), await http.read_body())
            invocation.finish(End(Ending.ERROR, error))
            return
        invocation.begin(Head("streaming"))
        async for piece in http.body():
            await invocation.put(bytes(piece.data), chunk_start=piece.chunk_start, chunk_end=piece.chunk_end)
        reported = from_trailers(http.trailers)
        invocation.finish(End(Ending.TRAILERS, reported) if reported else End(Ending.CLEAN))

    async def _other(self, http: HttpConnection, request: h11.Request, call: str) -> None:
        body = await http.read_body()
        if call == f"POST {API}/init/error":
            headers = {name.decode(): value.decode() for name, value in request.headers}
            self.init_errors.append(from_body(headers.get("lambda-runtime-function-error-type"), body))
            # As Lambda: a second worker hears that another has reported it already.
            await http.reply_json(202 if len(self.init_errors) == 1 else 403, {})
        elif call == f"POST {EXTENSION_API}/register":
            closed = "poll" in self.calls
            self.calls.append("register")
            await http.reply(403 if closed else 200, b"{}", {"Lambda-Extension-Identifier": "identifier"})
        elif call == f"GET {EXTENSION_API}/event/next":
            self.calls.append("wait for events")
            await self._notify()
            await asyncio.Event().wait()
        else:
            raise AssertionError(call)
        await self._notify()


class Environment:
    """An execution environment with ``slots``; ``session`` is the function's processes."""

    def __init__(self, api: ManagedInstancesApi, session: Session) -> None:
        self.api = api
        self.session = session

    @property
    def output(self) -> str:
        return self.session.output.text

    async def exit(self) -> int:
        """Waits until no process of the function is left; returns the exit code of the first."""
        async with asyncio.timeout(INVOCATION_LIMIT):
            code = await self.session.wait()
            await self.session.output.end()
        return code


@contextlib.asynccontextmanager
async def managed_instance(handler: str, slots: int, **variables: str) -> AsyncIterator[Environment]:
    """Starts ``handler`` (``module:attribute``); ``variables`` beat those that Lambda sets."""
    async with ManagedInstancesApi() as api:
        env: Mapping[str, str] = {
            **lambda_environment(handler, api.address, environment()),
            "AWS_LAMBDA_MAX_CONCURRENCY": str(slots),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
            **variables,
        }
        session = await Session.start([BOOTSTRAP, sys.executable, "/var/runtime/bootstrap.py"], env, REPO)
        try:
            yield Environment(api, session)
        finally:
            await session.end()
