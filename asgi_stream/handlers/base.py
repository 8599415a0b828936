"""What all handlers without ASGI have in common: threads for code that blocks, and the adapters that they may call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from asgi_stream.calls import Environment
from asgi_stream.config import load_config
from asgi_stream.sinks import Handler

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Sequence

    from asgi_stream.adapter import StreamingAdapter
    from asgi_stream.handlers.threads import Threads

    T = TypeVar("T")

__all__ = ["BaseHandler", "is_a"]

# Of threads at once; no more are started than there are invocations at once, and those that were given up.
MOST_THREADS = 1000


class BaseHandler(Handler):
    """A handler as the runtime drives it. Its settings come from the environment; see docs/settings.md.

    Raises ConfigurationError for a setting that is not understood.
    """

    def __init__(self) -> None:
        self.configure(load_config({}))
        self._adapters: Sequence[StreamingAdapter] = ()
        self._environment = Environment()
        self._threads: Threads | None = None

    def adopt(self, adapters: Sequence[StreamingAdapter]) -> None:
        """Takes the adapters that were made while the function's module was imported.

        Their apps start with the execution environment, and their settings for the runtime count.
        """
        self._adapters = adapters
        margins = [adapter.deadline_margin for adapter in adapters if adapter.deadline_margin is not None]
        self.deadline_margin = max(margins, default=self.deadline_margin)
        lengths = [adapter.disconnect_after for adapter in adapters if adapter.disconnect_after is not None]
        self.disconnect_after = max(lengths, default=self.disconnect_after)
        self.workers = max([self.workers, *(adapter.workers for adapter in adapters)])
        self.share_writes = self.share_writes or any(adapter.share_writes for adapter in adapters)

    @property
    def wants_shutdown(self) -> bool:
        """True while an app that the function calls waits for its shutdown."""
        return self._environment.running

    async def startup(self) -> contextvars.Context:
        """Starts the apps of the function's adapters; returns the context variables that invocations see.

        Raises LifespanError.
        """
        self._environment = Environment()
        return await self._environment.startup(self._adapters)

    async def shutdown(self) -> None:
        """Shuts down the apps that the function has called, and ends idle threads. Raises LifespanError."""
        try:
            await self._environment.shutdown()
        finally:
            if self._threads is not None:
                self._threads.close()
                self._threads = None

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Calls ``function`` in a thread, with the context variables of the invocation."""
        return await self.threads.run(function, *arguments)

    @property
    def threads(self) -> Threads:
        """Those that the function runs in."""
        if self._threads is None:
            from asgi_stream.handlers.threads import Threads

            self._threads = Threads(MOST_THREADS, "asgi-stream-handler", with_loops=True)
        return self._threads


def is_a(function: Callable[..., Any], *kinds: Callable[[object], bool]) -> bool:
    """True if the function, or the ``__call__`` of an object, is of one of inspect's kinds."""
    try:
        return any(kind(function) or kind(getattr(function, "__call__", None)) for kind in kinds)  # noqa: B004
    except BaseException:
        return False  # an object that cannot be looked at, and may be called all the same
