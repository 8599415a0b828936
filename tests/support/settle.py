"""An event loop that stops when nothing is ready: what has not ended by then waits for something that never comes."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class _Selector(selectors.DefaultSelector):
    """Stops the event loop where that would go to sleep."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self._limit = limit
        self.stop: Callable[[], None] | None = None
        self.until: Callable[[], bool] = lambda: True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and timeout != 0:
            if self._limit and not self.until():
                events = super().select(self._limit)
            if not events and self.stop is not None:
                self.stop()
        return events


class SettlingLoop(asyncio.SelectorEventLoop):
    """An event loop that is run by :meth:`settle`, again and again. Its timers never come.

    ``limit`` is for what the kernel brings a little later, in seconds: only a test that fails waits for so long.
    """

    def __init__(self, limit: float) -> None:
        self._settling = _Selector(limit)
        super().__init__(self._settling)
        self._settling.stop = self.stop

    def settle(self, until: Callable[[], bool] = lambda: True) -> bool:
        """Runs all that is ready, and what that makes ready.

        Where ``until`` does not hold then, waits for events from other ends of sockets. Returns whether it holds.
        """
        self._settling.until = until
        self.run_forever()
        return until()

    def turns(self, count: int) -> None:
        """Runs so many turns of the event loop."""
        for _ in range(count):
            self.call_soon(self.stop)
            self.run_forever()
