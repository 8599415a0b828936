"""How each call of an app under uvicorn has ended, for a client in another thread."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Outcomes"]

PATIENCE = 20.0  # seconds, for an app that does not return


class Outcomes:
    """Wraps an app; passes everything on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        outcome = ""
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            self._ended.put(outcome)

    def forget(self) -> None:
        """Drops the outcomes of requests that nobody has asked about."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._ended.get_nowait()

    async def next(self) -> str:
        """Waits until a request's app has ended; returns the exception's name, or "" if it returned."""
        try:
            return await asyncio.to_thread(self._ended.get, timeout=PATIENCE)
        except queue.Empty:
            return "(the app has not returned)"
