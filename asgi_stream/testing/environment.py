"""An execution environment in the test's own process: one function, its startup and shutdown, its invocations.

Startup once, before the first invocation; each invocation in a task of its own, in a copy of the context variables that
startup left behind, as the runtime does it. Unlike an environment on Lambda it takes any number of invocations at once.
"""

from __future__ import annotations

import asyncio
import copy
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

from asgi_stream.errors import LifespanError
from asgi_stream.foreign import cancel
from asgi_stream.local.function_url import REGION
from asgi_stream.recognise import as_handler
from asgi_stream.runtime.context import LambdaContext
from asgi_stream.runtime.requests import Invocation
from asgi_stream.testing.delivery import Delivery, LambdaRefused

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable

    from asgi_stream.asgi import ASGIApp
    from asgi_stream.runtime.loop import Handler

    # An ASGI app, an adapter or streaming handler, a function (event, context).
    Function = ASGIApp | Handler | Callable[[Any, Any], Any]

__all__ = ["EVENT_LIMIT", "ExecutionEnvironment"]

# AWS: "Lambda quotas", the payload of a synchronous invocation: the whole event as JSON. Bytes.
EVENT_LIMIT = 6 * 1024 * 1024

FUNCTION_NAME = "test"
FUNCTION_ARN = f"arn:aws:lambda:{REGION}:123456789012:function:{FUNCTION_NAME}"
ENVIRON = {
    "AWS_LAMBDA_FUNCTION_NAME": FUNCTION_NAME,
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{FUNCTION_NAME}",
    "AWS_LAMBDA_LOG_STREAM_NAME": "test/[$LATEST]",
}

# How long an app that is cancelled at the end may take to return, in seconds.
GRACE = 0.2


class ExecutionEnvironment:
    """Runs invocations. ``timeout`` is the function's, in seconds: it makes the context's deadline, and ends nothing.

    All methods belong on one event loop. Raises ConfigurationError for what the runtime would not take either.
    """

    def __init__(self, app: Function, timeout: float) -> None:
        # A copy, for the lifespan that runs here, and the threads, are this environment's own.
        self._handler = copy.copy(as_handler(app))
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[contextvars.Context] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> contextvars.Context:
        """Runs the app's startup, once; later calls give what the first gave: its context variables, or LifespanError.

        Raises RuntimeError after :meth:`close` and on another event loop than before.
        """
        loop = asyncio.get_running_loop()
        if self._closed:
            raise RuntimeError("this transport is closed: its app has shut down")
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("this transport's app runs on another event loop: use one transport for each")
        if self._starting is None:
            # Not by the loop: the app may set a task factory.
            self._starting = asyncio.Task(self._handler.startup(), loop=loop)
        return await asyncio.shield(self._starting)

    async def invoke(self, event: dict[str, Any]) -> Delivery:
        """Begins an invocation; where the app cannot start, that is its error.

        Raises LambdaRefused for an event that is too large, and RuntimeError as :meth:`start`.
        """
        # What JSON cannot say cannot reach a function.
        payload = json.dumps(event, allow_nan=False).encode()
        if len(payload) > EVENT_LIMIT:
            raise LambdaRefused(
                f"the event of a request may have {EVENT_LIMIT} bytes of JSON (6 MB), and this one has {len(payload)}"
            )
        invocation = Invocation(
            request_id=str(uuid.uuid4()),
            event=payload,
            deadline_ms=int((time.time() + self._timeout) * 1000),
            function_arn=FUNCTION_ARN,
        )
        delivery = Delivery(json.loads(payload), invocation.request_id)
        try:
            variables = await self.start()
        except LifespanError as error:
            await delivery.conclude(error)
            return delivery
        task = asyncio.Task(self._run(invocation, delivery), loop=asyncio.get_running_loop(), context=variables.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return delivery

    async def _run(self, invocation: Invocation, delivery: Delivery) -> None:
        error: BaseException | None = None
        try:
            await self._handler.invoke(json.loads(invocation.event), LambdaContext(invocation, ENVIRON), delivery)
        except BaseException as raised:
            # All of them: SystemExit and KeyboardInterrupt would leave the task and end the event loop.
            error = raised
        await delivery.conclude(error, is_closing=self._closed)

    @property
    def closed(self) -> bool:
        return self._closed

    async def close(self) -> None:
        """Cancels the apps that still run, then shuts the app down. Raises LifespanError where that fails."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            cancel(task)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE)
        if self._starting is not None and self._starting.done() and self._starting.exception() is None:
            await self._handler.shutdown()
