"""SIGINT, SIGTERM and SIGHUP end the local Lambda in good order: children must not outlive it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def on_ending(callback: Callable[[], object]) -> Iterator[None]:
    """Within the block these signals call `callback` on the running loop, and do nothing else."""
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, callback)
    try:
        yield
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)
