"""All execution environments of a function: as many as there are invocations at once, up to a limit.

An environment is free from the moment its runtime polls for an event, not from the end of its response:
background tasks keep it busy, as on Lambda. The one used last is used first, so the warmest serves and the
others stay cold.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from asgi_stream.local.runtime_api import EnvironmentFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from asgi_stream.local.environment import Environment
    from asgi_stream.local.function_error import FunctionError
    from asgi_stream.local.invocation import Invocation

# A runtime polls about a millisecond after its response's last byte. A request that comes within it waits for the poll,
# in seconds: a little before a further environment is started, longer before it is refused.
POLL_GRACE = 0.1
THROTTLE_GRACE = 2.0


class Throttled(Exception):
    """Every environment is busy and the limit is reached; Lambda answers 429."""


class Pool:
    """Runs invocations on environments that `factory` makes (not yet started), at most `limit` at once.

    `on_failure` is told of a failure that no invocation reports: of init before a request came, or while
    idle.
    """

    def __init__(
        self,
        factory: Callable[[], Environment],
        *,
        limit: int = 10,
        on_failure: Callable[[FunctionError], None] | None = None,
    ) -> None:
        self._factory = factory
        self._limit = limit
        self._on_failure = on_failure
        self._all: set[Environment] = set()
        self._free: list[Environment] = []
        self._freed = asyncio.Event()
        self._watches: set[asyncio.Task[None]] = set()
        self._closings: set[asyncio.Task[None]] = set()
        self.closed = False

    async def start(self) -> None:
        """Starts the first environment before any request, so that an import error shows at once."""
        environment = await self._create()
        self._free.append(environment)
        _spawn(self._watch_init(environment), self._watches)

    async def invoke(self, event: bytes, **options: Any) -> Invocation:
        """Runs `event` on a free environment, or on a new one. `options` as for `Environment.invoke`.

        Raises Throttled. A failing init or a crash is the invocation's error.
        """
        environment = self._take()
        if environment is None and self._ending():
            self._freed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), THROTTLE_GRACE if self._full else POLL_GRACE)
            environment = self._take()
        if environment is None:
            if self._full:
                raise Throttled
            environment = await self._create()
        try:
            invocation = await environment.invoke(event, **options)
        except BaseException:
            self._free.append(environment)  # it has not been given anything
            self._freed.set()
            raise
        _spawn(self._settle(environment, invocation), self._watches)
        return invocation

    async def close(self) -> None:
        """Ends every environment; what fails from here on fails because of it."""
        self.closed = True
        for task in self._watches:
            task.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        for environment in list(self._all):
            self._drop(environment)
        self._free.clear()
        await asyncio.gather(*self._closings)

    def _take(self) -> Environment | None:
        while self._free:
            environment = self._free.pop()
            if environment.failure is None:
                return environment
            self._drop(environment)
            self._report(environment.failure)
        return None

    @property
    def _full(self) -> bool:
        return sum(environment.failure is None for environment in self._all) >= self._limit

    def _ending(self) -> bool:
        """Whether an environment has answered and is about to be free."""
        return any(environment.answered for environment in self._all)

    async def _create(self) -> Environment:
        environment = self._factory()
        # Counted before it runs: others may ask meanwhile.
        self._all.add(environment)
        try:
            await environment.start()
        except BaseException:
            self._drop(environment)
            raise
        return environment

    async def _watch_init(self, environment: Environment) -> None:
        try:
            await environment.idle()
        except EnvironmentFailed as failure:
            if environment in self._free:
                self._free.remove(environment)
                self._drop(environment)
                self._report(failure.error)

    async def _settle(self, environment: Environment, invocation: Invocation) -> None:
        await invocation.finished()
        try:
            await environment.idle()
        except EnvironmentFailed as failure:
            self._drop(environment)
            if invocation.end is None or invocation.end.error is not failure.error:
                self._report(failure.error)
        else:
            self._free.append(environment)
            self._freed.set()

    def _report(self, error: FunctionError) -> None:
        if self._on_failure is not None:
            self._on_failure(error)

    def _drop(self, environment: Environment) -> None:
        self._all.discard(environment)
        _spawn(environment.close(), self._closings)


def _spawn(work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
