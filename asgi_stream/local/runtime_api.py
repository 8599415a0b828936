"""A Runtime API server for one execution environment: the other end of what `bootstrap` speaks.

What is allowed when stands in `lifecycle`; all else is answered with
403 InvalidStateTransition, as Lambda does. Sources: the Lambda developer guide, "Using the Lambda runtime API",
and the behaviour of AWS's own server. Internal extensions may register (`extensions`) and get INVOKE; SnapStart's
restore is served; Managed Instances are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import uuid
from typing import TYPE_CHECKING, Any, Self

from asgi_stream.local.extensions import Extensions, RegistrationRefused
from asgi_stream.local.function_error import ERROR_TYPE, FunctionError, from_body, from_trailers
from asgi_stream.local.function_url import OWS
from asgi_stream.local.http import HttpConnection, Truncated
from asgi_stream.local.invocation import End, Ending, Head, Invocation
from asgi_stream.local.lifecycle import TRANSITIONS, Call, State
from asgi_stream.local.limits import LONGEST_TIMEOUT
from asgi_stream.local.prelude import FIELD_VALUE, TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import h11

MODE_HEADER = "lambda-runtime-function-response-mode"

DEADLINE_HEADER = "Lambda-Runtime-Deadline-Ms"
TIMED_OUT = "Sandbox.Timedout"

# The headers of a reply to `/next`: less than any runtime's HTTP client takes (Node.js: 16 KiB in all). Bytes.
MAX_HEADERS = 8 * 1024

_NUMBER = re.compile("[0-9]{1,18}")
_REQUEST_ID = re.compile(r"[\w.:~-]{1,256}", re.ASCII)
_INVOCATION_PATH = re.compile(r"/2018-06-01/runtime/invocation/([^/]+)/(response|error)")


class EnvironmentFailed(Exception):
    """Raised by `RuntimeApiServer.idle` when the environment will never be idle again; `error` says why."""

    def __init__(self, error: FunctionError) -> None:
        super().__init__(str(error))
        self.error = error


class RuntimeApiServer:
    """`async with RuntimeApiServer() as api:` listens on 127.0.0.1.

    `api.address` is for AWS_LAMBDA_RUNTIME_API.
    """

    def __init__(self) -> None:
        self.state = State.STARTING
        self.failure: FunctionError | None = None
        self.extensions = Extensions()
        self._invocation: Invocation | None = None
        self._answering: asyncio.Task[Any] | None = None
        self._handed_out: Invocation | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Begins to listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    @property
    def address(self) -> str:
        """`host:port`. Raises RuntimeError if it is not listening."""
        if self._server is None or not self._server.sockets:
            raise RuntimeError("the Runtime API server is not listening")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def close(self) -> None:
        """Closes the port and every connection; an unfinished invocation ends with Runtime.ExitError."""
        closed = FunctionError("Runtime.ExitError", {"errorMessage": "the execution environment was closed"})
        self.fail(closed)
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._invocation is not None:
            self._invocation.finish(End(Ending.TRUNCATED, self.failure or closed))
        if self._server is not None:
            await self._server.wait_closed()

    async def invoke(
        self,
        event: bytes,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the function's, not this call's
        deadline_ms: int | None = None,
        request_id: str | None = None,
        trace_id: str | None = None,
        function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:local",
        headers: Mapping[str, str | None] | None = None,
    ) -> Invocation:
        """Hands `event` to the open poll, or to the next one, and returns at once.

        `timeout` is in seconds from the moment that the event is handed out: where the runtime has not polled again by
        then, the environment fails with Sandbox.Timedout, and its process has to be ended. Without it nothing ends, and
        `deadline_ms`, in milliseconds since the epoch, is what the runtime is told. `headers` adds to or replaces those
        of the reply to `/next` (None: leaves it out). If the environment has failed, or fails, the invocation's head is
        that error. Raises RuntimeError while an earlier invocation has not ended, and ValueError for what cannot be in
        the head of the reply, which would end the function's process: control characters, more than MAX_HEADERS bytes,
        a `request_id` that is not part of a path.
        """
        if self._invocation is not None and self._invocation.end is None:
            raise RuntimeError("an execution environment runs one invocation at a time")
        fields: dict[str, str | None] = {
            DEADLINE_HEADER: str(deadline_ms or _in_ms(LONGEST_TIMEOUT)),
            "Lambda-Runtime-Invoked-Function-Arn": function_arn,
            "Lambda-Runtime-Trace-Id": trace_id,
            "Content-Type": "application/json",
            **(headers or {}),
        }
        present = {name: value.strip(OWS) for name, value in fields.items() if value is not None}
        _check_headers(present, request_id)
        invocation = self._invocation = Invocation(event, present, request_id, timeout)
        if self.failure is not None:
            invocation.finish(End(Ending.ERROR, self.failure))
        else:
            self._step(Call.INVOKE)
        return invocation

    async def idle(self) -> None:
        """Waits until a poll is open, of every extension too, and no event waits for it. Raises EnvironmentFailed."""
        await self._reach(State.IDLE)

    async def ready_for_snapshot(self) -> None:
        """SnapStart: waits until runtime and extensions are ready for the snapshot. Raises EnvironmentFailed."""
        await self._reach(State.SNAPSHOT)

    def restore(self) -> None:
        """SnapStart: the runtime, which is ready for its snapshot, learns that it has been restored from it.

        Raises RuntimeError if it is not ready.
        """
        if not self._step(Call.RESTORE):
            raise RuntimeError(f"the environment is {self.state.name}, not waiting for a restore")

    def send_event(self, event: Mapping[str, Any]) -> None:
        """Hands `event` to every registered extension; INVOKE to those that have registered for it."""
        self.extensions.send(event)
        self._wake()

    async def _reach(self, state: State) -> None:
        await self._until(lambda: self.state is State.FAILED or (self.state is state and self.extensions.ready))
        if self.failure is not None:
            raise EnvironmentFailed(self.failure)

    def fail(self, error: FunctionError) -> None:
        """The environment is lost (exit, init error). Its invocation, if any, ends with `error`.

        The first failure counts. A response whose body is being read is read on to where it breaks off: bytes
        may still be on their way.
        """
        if self.failure is not None:
            return
        self.failure = error
        if self._step(Call.FAIL) and self._invocation is not None:
            self._invocation.finish(End(Ending.ERROR, error))

    def _step(self, call: Call) -> bool:
        """Takes the table's row for `call`, if there is one; returns whether."""
        state = TRANSITIONS.get((self.state, call))
        if state is None:
            return False
        if state is State.RESPONDED and self.failure is not None:
            state = State.FAILED
        self.state = state
        self._wake()
        return True

    def _hand_out(self, invocation: Invocation) -> None:
        """The event goes out now, perhaps once more. With the first time begins what Lambda calls the invoke phase."""
        if self._handed_out is invocation:
            return
        self._handed_out = invocation
        if invocation.timeout is not None:
            invocation.headers[DEADLINE_HEADER] = str(_in_ms(invocation.timeout))
            self._timer = asyncio.get_running_loop().call_later(invocation.timeout, self._time_out, invocation)
        self.send_event(_invoke_event(invocation))

    def _time_out(self, invocation: Invocation) -> None:
        message = f"RequestId: {invocation.request_id} Error: Task timed out after {invocation.timeout:.2f} seconds"
        error = FunctionError(TIMED_OUT, {"errorMessage": message})
        self.fail(error)
        if self.state is State.RESPONDING:
            # As Lambda does: the socket that the response comes on is closed, and the process ended after it.
            self._end(invocation, End(Ending.TRUNCATED, error))
            if self._answering is not None:
                self._answering.cancel()

    def _wake(self) -> None:
        # The function's timeout covers its extensions too.
        over = self.state is State.FAILED or (self.state is State.IDLE and self.extensions.ready)
        if over and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs this in a task
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        http = HttpConnection(reader, writer)
        try:
            while (request := await http.next_request()) is not None:
                await self._answer(http, request)
        except Truncated:
            with contextlib.suppress(OSError):
                await _refuse(http, 400, "TruncatedHTTPRequest", "the request broke off")
        except (ConnectionError, asyncio.CancelledError):
            # The runtime has gone, or `close` was called; Python 3.11 would log a cancelled connection as an error.
            pass
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await http.close()

    async def _answer(self, http: HttpConnection, request: h11.Request) -> None:
        method, path = request.method.decode("ascii"), request.target.decode("ascii")
        match = _INVOCATION_PATH.fullmatch(path)
        if (method, path) == ("GET", "/2018-06-01/runtime/invocation/next"):
            await self._next(http)
        elif (method, path) == ("POST", "/2018-06-01/runtime/init/error"):
            await self._report(http, request, Call.INIT_ERROR)
        elif method == "POST" and match and match[2] == "response":
            await self._response(http, request, match[1])
        elif method == "POST" and match:
            await self._error(http, request, match[1])
        elif (method, path) == ("GET", "/2018-06-01/runtime/restore/next"):
            await self._restore_next(http)
        elif (method, path) == ("POST", "/2018-06-01/runtime/restore/error"):
            await self._report(http, request, Call.RESTORE_ERROR)
        elif (method, path) == ("POST", "/2020-01-01/extension/register"):
            await self._register(http, request)
        elif (method, path) == ("GET", "/2020-01-01/extension/event/next"):
            await self._next_event(http, request)
        else:
            await http.read_body()
            await _refuse(http, 404, "NotFound", f"{method} {path} is not served")

    async def _next(self, http: HttpConnection) -> None:
        """`GET /runtime/invocation/next`."""
        await http.read_body()
        if not self._step(Call.NEXT):
            await self._refuse_state(http, Call.NEXT)
            return
        if self._invocation is not None and self._invocation.end is None:
            self._step(Call.INVOKE)
        # An event is handed out once init is over, which it is when every extension polls too.
        await self._until(
            lambda: (
                self.state is State.FAILED
                or (self.state is not State.IDLE and (self.extensions.ready or self._handed_out is self._invocation))
            )
        )
        invocation = self._invocation
        if self.state is State.FAILED or invocation is None:
            await self._refuse_state(http, Call.NEXT)
        else:
            self._hand_out(invocation)
            headers = {"Lambda-Runtime-Aws-Request-Id": invocation.request_id, **invocation.headers}
            await http.reply(200, invocation.event, headers)

    async def _response(self, http: HttpConnection, request: h11.Request, request_id: str) -> None:
        """`POST /runtime/invocation/{id}/response`."""
        mode = _header(request, MODE_HEADER)
        invocation = await self._claim(http, request_id, Call.RESPONSE, valid=mode in (None, "streaming"))
        if invocation is None:
            return
        streaming = mode is not None
        invocation.begin(Head("streaming" if streaming else "buffered", _header(request, "content-type")))
        try:
            async for piece in http.body():
                data = bytes(piece.data)
                await invocation.put(data, chunk_start=piece.chunk_start, chunk_end=piece.chunk_end)
        except Truncated as error:
            self._truncated(invocation, error)
            raise
        announced = {name.strip(OWS).lower() for name in (_header(request, "trailer") or "").split(",")}
        trailers = {name: value for name, value in http.trailers.items() if streaming and name in announced}
        reported = from_trailers(trailers)
        self._end(invocation, End(Ending.TRAILERS, reported) if reported else End(Ending.CLEAN))
        await http.reply_json(202, {"status": "OK"})

    async def _error(self, http: HttpConnection, request: h11.Request, request_id: str) -> None:
        """`POST /runtime/invocation/{id}/error`."""
        invocation = await self._claim(http, request_id, Call.ERROR, valid=True)
        if invocation is None:
            return
        try:
            body = await http.read_body()
        except Truncated as error:
            self._truncated(invocation, error)
            raise
        self._end(invocation, End(Ending.ERROR, from_body(_header(request, ERROR_TYPE), body)))
        await http.reply_json(202, {"status": "OK"})

    async def _report(self, http: HttpConnection, request: h11.Request, call: Call) -> None:
        """`POST /runtime/init/error` and `POST /runtime/restore/error`."""
        body = await http.read_body()
        if not self._step(call):
            await self._refuse_state(http, call)
            return
        self.fail(from_body(_header(request, ERROR_TYPE), body))
        await http.reply_json(202, {"status": "OK"})

    async def _restore_next(self, http: HttpConnection) -> None:
        """`GET /runtime/restore/next`: answered by `restore`."""
        await http.read_body()
        if not self._step(Call.RESTORE_NEXT):
            await self._refuse_state(http, Call.RESTORE_NEXT)
            return
        await self._until(lambda: self.state is not State.SNAPSHOT)
        if self.state is State.FAILED:
            await self._refuse_state(http, Call.RESTORE_NEXT)
        else:
            await http.reply(200, b"", {})

    async def _register(self, http: HttpConnection, request: h11.Request) -> None:
        """`POST /extension/register`."""
        body = await http.read_body()
        try:
            identifier = self.extensions.register(
                _header(request, "lambda-extension-name"), body, closed=self.state is not State.STARTING
            )
        except RegistrationRefused as refused:
            await _refuse(http, 403, refused.error_type, str(refused))
            return
        about = json.dumps({"functionName": "local", "functionVersion": "$LATEST", "handler": ""}).encode()
        await http.reply(200, about, {"Content-Type": "application/json", "Lambda-Extension-Identifier": identifier})

    async def _next_event(self, http: HttpConnection, request: h11.Request) -> None:
        """`GET /extension/event/next`: open until the next invocation, or `send_event`."""
        await http.read_body()
        try:
            extension = self.extensions.poll(_header(request, "lambda-extension-identifier"))
        except RegistrationRefused as refused:
            await _refuse(http, 403, refused.error_type, str(refused))
            return
        self._wake()
        await self._until(lambda: bool(extension.events))
        headers = {"Content-Type": "application/json", "Lambda-Extension-Event-Identifier": str(uuid.uuid4())}
        await http.reply(200, json.dumps(extension.take()).encode(), headers)

    async def _claim(self, http: HttpConnection, request_id: str, call: Call, *, valid: bool) -> Invocation | None:
        """Returns the invocation that may now be answered; or refuses, and returns None.

        `valid` says whether the mode header is.
        """
        invocation = self._invocation
        if invocation is None or invocation.request_id != request_id or self.state is State.STARTING:
            await http.read_body()
            await _refuse(http, 400, "InvalidRequestID", "this is not the id of the current invocation")
            return None
        if not valid:
            await http.read_body()
            if self.state is State.INVOKED:
                self.fail(FunctionError("Runtime.InvalidResponseMode", {"errorMessage": "unknown response mode"}))
            await _refuse(http, 400, "InvalidFunctionResponseMode", f"{MODE_HEADER} may only be streaming")
            return None
        if self.state is State.RESPONDING:
            # AWS's server holds a second answer back until the first has ended, and refuses it then.
            await invocation.finished()
        if self.state is not State.INVOKED or self._invocation is not invocation or not self._step(call):
            await http.read_body()
            await self._refuse_state(http, call)
            return None
        self._answering = asyncio.current_task()
        return invocation

    def _end(self, invocation: Invocation, end: End) -> None:
        self._step(Call.END)
        invocation.finish(end)

    def _truncated(self, invocation: Invocation, error: Truncated) -> None:
        # As Lambda's production server: the invocation has failed, the environment may go on.
        details = {"errorMessage": f"the response broke off: {error}"}
        failure = self.failure or FunctionError("Runtime.TruncatedResponse", details)
        self._end(invocation, End(Ending.TRUNCATED, failure))

    async def _refuse_state(self, http: HttpConnection, call: Call) -> None:
        message = f"{call.name} is not allowed in state {self.state.name}"
        await _refuse(http, 403, "InvalidStateTransition", message)


def _in_ms(seconds: float) -> int:
    """The time that many seconds from now, in milliseconds since the epoch."""
    return int((time.time() + seconds) * 1000)


def _invoke_event(invocation: Invocation) -> dict[str, Any]:
    """What an extension gets. Source: the Lambda developer guide, "Extensions API reference", Next."""
    headers = invocation.headers
    deadline = headers.get(DEADLINE_HEADER, "")
    return {
        "eventType": "INVOKE",
        "deadlineMs": int(deadline) if _NUMBER.fullmatch(deadline) else _in_ms(LONGEST_TIMEOUT),
        "requestId": invocation.request_id,
        "invokedFunctionArn": headers.get("Lambda-Runtime-Invoked-Function-Arn", ""),
        "tracing": {"type": "X-Amzn-Trace-Id", "value": headers.get("Lambda-Runtime-Trace-Id", "")},
    }


def _check_headers(headers: Mapping[str, str], request_id: str | None) -> None:
    """Raises ValueError for what the function's process could not read."""
    for name, value in headers.items():
        if not (TOKEN.fullmatch(name) and FIELD_VALUE.fullmatch(value)):
            raise ValueError(f"the header {name} of an invocation cannot have the value {value!r:.100}")
    if (size := sum(len(name) + len(value) for name, value in headers.items())) > MAX_HEADERS:
        raise ValueError(f"the headers of an invocation have {size} bytes, and may have {MAX_HEADERS}")
    if request_id is not None and not _REQUEST_ID.fullmatch(request_id):
        raise ValueError(f"{request_id!r:.100} is not the id of an invocation")


async def _refuse(http: HttpConnection, status: int, error_type: str, message: str) -> None:
    await http.reply_json(status, {"errorType": error_type, "errorMessage": message})


def _header(request: h11.Request, name: str) -> str | None:
    for field_name, value in request.headers:
        if field_name == name.encode("ascii"):
            return value.decode("latin-1")
    return None
