"""The ASGI lifespan protocol, once per process, on the loop that serves.

Source: ASGI specification, "Lifespan Protocol". The app runs in a task of its own from startup to shutdown; the
context variables that it sets at startup are those that requests see.

A lifespan belongs to an app, not to an adapter: :class:`Lifespans` has one for each app object that functions call,
however many adapters they make for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any

from asgi_stream.asgi.scope import ASGI_VERSION
from asgi_stream.errors import AppError, LifespanError
from asgi_stream.foreign import MAX_TEXT, cancel, log, of_type, plain_str, shown, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_stream.asgi import ASGIApp

__all__ = ["Lifespan", "Lifespans"]

# How long an app that has failed may take to end, in seconds.
GRACE = 0.2
# How many apps that were first called in an invocation keep their lifespan. Only functions that make an app for each
# event have more.
MAX_LATE_APPS = 8
TOO_MANY_APPS = (
    "More than %d app objects have been called: the function makes a new one for each event. The oldest ones are shut "
    "down. Make the app and its StreamingAdapter once, when the module is imported"
)

_UNSET = object()

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
        self._before = self.variables.copy()
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
        # Not by the loop: the app may have set a task factory, of those too that take no context.
        self._task = asyncio.Task(self._run(scope), loop=asyncio.get_running_loop(), context=self.variables)
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

    def set_variables(self) -> None:
        """Sets the context variables that startup has set, in the current context.

        What the current context has set since is left as it is.
        """
        current = contextvars.copy_context()
        for variable, value in self.variables.items():
            before = self._before.get(variable, _UNSET)
            if value is not before and current.get(variable, _UNSET) is before:
                variable.set(value)

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
            cancel(task)
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
        answer = asyncio.Task(self._outbox.get(), loop=asyncio.get_running_loop())
        await asyncio.wait((answer, self._task), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        return None if self._outbox.empty() else self._outbox.get_nowait()


class _Home:
    """One app's lifespan, and how many invocations are using it."""

    __slots__ = ("app", "is_late", "lifespan", "starting", "users")

    def __init__(self, app: ASGIApp, lifespan: Lifespan, starting: asyncio.Task[None], is_late: bool) -> None:
        self.app = app  # kept, so that no other object gets its id
        self.lifespan = lifespan
        self.starting = starting
        self.is_late = is_late
        self.users = 0


class Lifespans:
    """The lifespans of the apps that functions call, on one event loop: one for each app object.

    Made in the context in which the apps are to be started.
    """

    def __init__(self) -> None:
        self._variables = contextvars.copy_context()
        self._homes: dict[int, _Home] = {}
        self._warned = False

    @property
    def running(self) -> bool:
        """True while an app waits for its shutdown."""
        return any(home.lifespan.running for home in self._homes.values())

    async def startup(self, app: ASGIApp, mode: str) -> Lifespan:
        """Starts an app, unless it has been started; returns its lifespan. Raises LifespanError."""
        return (await self._started(app, mode, is_late=False)).lifespan

    async def enter(self, app: ASGIApp, mode: str) -> Lifespan:
        """Returns the lifespan of an app, started if it was not; :meth:`leave` follows. Raises LifespanError."""
        home = await self._started(app, mode, is_late=True)
        home.users += 1
        return home.lifespan

    async def leave(self, app: ASGIApp) -> None:
        """The invocation no longer uses the app."""
        if (home := self._homes.get(id(app))) is not None:  # None while the environment shuts down
            home.users -= 1
        await self._end_the_oldest()

    async def _started(self, app: ASGIApp, mode: str, *, is_late: bool) -> _Home:
        home = self._homes.get(id(app))
        if home is None:
            # Not in the context of the invocation that happens to be the first.
            lifespan = self._variables.run(Lifespan, app, mode)
            loop = asyncio.get_running_loop()
            starting = asyncio.Task(lifespan.startup(), loop=loop, context=self._variables.copy())
            starting.add_done_callback(_error_of)
            home = self._homes[id(app)] = _Home(app, lifespan, starting, is_late)
        try:
            await asyncio.shield(home.starting)
        except BaseException:
            # A later call tries again. Where only this caller was cancelled, startup goes on for others.
            if home.starting.done() and self._homes.get(id(app)) is home:
                del self._homes[id(app)]
            raise
        return home

    async def _end_the_oldest(self) -> None:
        late = [home for home in self._homes.values() if home.is_late]
        if len(late) <= MAX_LATE_APPS:
            return
        if not self._warned:
            self._warned = True
            log(logging.WARNING, TOO_MANY_APPS % MAX_LATE_APPS)
        oldest = next((home for home in late if home.starting.done() and not home.users), None)
        if oldest is not None:
            del self._homes[id(oldest.app)]
            try:
                await oldest.lifespan.shutdown()
            except LifespanError as error:
                log(logging.WARNING, "An app that is no longer called could not be shut down", error)

    async def shutdown(self) -> None:
        """Shuts down all apps, the last started first. Raises LifespanError for the first that fails, after all."""
        failure: LifespanError | None = None
        while self._homes:
            _, home = self._homes.popitem()
            try:
                await home.lifespan.shutdown()
            except LifespanError as error:
                failure = failure or error
        if failure is not None:
            raise failure


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()
