"""What all handlers without ASGI have in common: no startup, no shutdown, threads for code that blocks."""

from __future__ import annotations

import contextvars

from asgi_stream.config import load_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from asgi_stream.handlers.threads import Threads

    T = TypeVar("T")

__all__ = ["BaseHandler", "is_a"]

# Of threads at once; no more are started than there are invocations at once, and those that were given up.
MOST_THREADS = 1000


class BaseHandler:
    """A handler as the runtime drives it. Its settings come from the environment; see docs/settings.md.

    Raises ConfigurationError for a setting that is not understood.
    """

    wants_shutdown = False

    def __init__(self) -> None:
        config = load_config({})
        self.deadline_margin = config.deadline_margin
        self.workers = config.workers
        self.share_writes = config.share_writes
        self._threads: Threads | None = None

    async def startup(self) -> contextvars.Context:
        """Returns the context variables that invocations see: those of the import."""
        return contextvars.copy_context()

    async def shutdown(self) -> None:
        """Ends the threads that are idle."""
        if self._threads is not None:
            self._threads.close()
            self._threads = None

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Calls ``function`` in a thread, with the context variables of the invocation."""
        if self._threads is None:
            from asgi_stream.handlers.threads import Threads

            self._threads = Threads(MOST_THREADS, "asgi-stream-handler", with_loops=True)
        return await self._threads.run(function, *arguments)


def is_a(function: Callable[..., Any], *kinds: Callable[[object], bool]) -> bool:
    """True if the function, or the ``__call__`` of an object, is of one of inspect's kinds."""
    try:
        return any(kind(function) or kind(getattr(function, "__call__", None)) for kind in kinds)  # noqa: B004
    except BaseException:
        return False  # an object that cannot be looked at, and may be called all the same
