"""The ASGI lifespan protocol, once per process, on the loop that serves.

Source: ASGI specification, "Lifespan Protocol". The app runs in a task of its own from startup to shutdown; the
context variables that it sets at startup are those that requests see.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging

from asgi_stream.asgi.scope import ASGI_VERSION
from asgi_stream.errors import AppError, LifespanError
from asgi_stream.foreign import MAX_TEXT, log, of_type, plain_str, shown, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from asgi_stream.asgi import ASGIApp

__all__ = ["Lifespan"]

# How long an app that has failed may take to end, in seconds.
GRACE = 0.2

LIFESPAN_SPEC_VERSION = "2.0"
ANSWERS = frozenset(
    f"lifespan.{moment}.{outcome}" for moment in ("startup", "shutdown") for outcome in ("complete", "failed")
)


class Lifespan:
    """An app's lifespan. ``mode`` is ``auto`` (an app that raises has none), ``on`` (that is an error) or ``off``.

    ``state`` is the namespace that the app may fill at startup; ``variables`` the context variables after it.
    """

    def __init__(self, app: ASGIApp, mode: str) -> None:
        self.state: dict[str, Any] = {}
        self.variables = contextvars.copy_context()
        self._app = app
        self._mode = mode
        self._task: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._outbox: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    @property
    def running(self) -> bool:
        """True from the app's startup until it has returned."""
        return self._task is not None and not self._task.done()

    async def startup(self) -> None:
        """Returns when the app has started. Raises LifespanError when it says or shows that it cannot."""
        if self._mode == "off":
            return
        scope = {
            "type": "lifespan",
            "asgi": {"version": ASGI_VERSION, "spec_version": LIFESPAN_SPEC_VERSION},
            "state": self.state,
        }
        self._task = asyncio.get_running_loop().create_task(self._run(scope), context=self.variables)
        # What the app raises after its answer is nobody's to await; unread it would be logged as a fault of ours.
        self._task.add_done_callback(_error_of)
        answer = await self._ask("lifespan.startup")
        if answer is None:
            error = _error_of(self._task)
            self._task = None
            if of_type(error, LifespanError):
                raise error
            if self._mode == "on":
                raise LifespanError(f"the app has no lifespan, and lifespan is on: {shown(error, MAX_TEXT)}") from error
            if self._inbox.empty() and error is not None:
                # By the specification it has no lifespan; but it did take the event, and so may well have failed in it.
                log(logging.WARNING, "The app raised at lifespan.startup and is taken to have no lifespan", error)
        elif answer[0] != "lifespan.startup.complete":
            await self._end()
            raise LifespanError(f"the app's startup failed: {answer[1] or 'it gave no reason'}")

    async def shutdown(self) -> None:
        """Returns when the app has shut down. Raises LifespanError when that fails."""
        if self._task is None or self._task.done():
            return
        answer = await self._ask("lifespan.shutdown")
        if answer is None:
            error = _error_of(self._task)
            if error is not None:
                raise LifespanError(f"the app raised at shutdown: {shown(error, MAX_TEXT)}") from error
        elif answer[0] != "lifespan.shutdown.complete":
            await self._end()
            raise LifespanError(f"the app's shutdown failed: {answer[1] or 'it gave no reason'}")

    async def _end(self) -> None:
        """Ends an app that may wait for events that will not come."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,), timeout=GRACE)

    async def _run(self, scope: Mapping[str, Any]) -> None:
        try:
            await self._app(scope, self._inbox.get, self._send)
        except (SystemExit, KeyboardInterrupt) as error:
            # These would leave the task and end the event loop.
            raise LifespanError(f"the app raised {shown(error, MAX_TEXT)} in its lifespan") from error

    async def _send(self, message: Mapping[str, Any]) -> None:
        kind = message.get("type")
        # An app that never looks at the scope's type answers an HTTP response here: it has no lifespan.
        if not of_type(kind, str) or plain_str(kind) not in ANSWERS:
            raise AppError(f"{shown(kind)} is not a lifespan message")
        reason = message.get("message")
        self._outbox.put_nowait((plain_str(kind), "" if reason is None else text(reason)))

    async def _ask(self, kind: str) -> tuple[str, str] | None:
        """Sends a lifespan event; returns the app's answer, type and message, and None if it ends without one."""
        if self._task is None:
            raise AssertionError("lifespan has not been started")
        self._inbox.put_nowait({"type": kind})
        answer = asyncio.ensure_future(self._outbox.get())
        await asyncio.wait((answer, self._task), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        return None if self._outbox.empty() else self._outbox.get_nowait()


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()
