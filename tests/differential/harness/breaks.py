"""Deliberate faults of the adapter, which the suite has to catch: `./scripts/differential --break NAME` puts one in.

Each changes what an app gets from the adapter's cycle, or what the cycle takes from it, in the process of the target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from asgi_stream.asgi.cycle import HttpCycle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Message = Mapping[str, Any]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ["BREAKS", "break_adapter"]


class _LostHeader:
    """The last header of each response is gone."""

    def scope(self, scope: dict[str, Any]) -> dict[str, Any]:
        return scope

    async def send(self, message: Message, send: Send) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": list(message.get("headers", ()))[:-1]}
        await send(message)


class _JoinedChunk(_LostHeader):
    """The first piece of each body is held back, and leaves with the second."""

    def __init__(self) -> None:
        self._held: bytes | None = None
        self._pieces = 0

    async def send(self, message: Message, send: Send) -> None:
        if message["type"] == "http.response.body":
            self._pieces += 1
            if self._pieces == 1 and message.get("more_body"):
                self._held = bytes(message.get("body", b""))
                return
            if self._held is not None:
                message, self._held = {**message, "body": self._held + bytes(message.get("body", b""))}, None
        await send(message)


class _DecodedTwice(_LostHeader):
    """The path is percent-decoded once more than it should be."""

    def scope(self, scope: dict[str, Any]) -> dict[str, Any]:
        return {**scope, "path": unquote(scope["path"])}

    async def send(self, message: Message, send: Send) -> None:
        await send(message)


BREAKS: dict[str, type[_LostHeader]] = {
    "decoded-twice": _DecodedTwice,
    "joined-chunk": _JoinedChunk,
    "lost-header": _LostHeader,
}


def break_adapter(name: str) -> None:
    """Puts the fault into this process. Raises KeyError for a name that is not in :data:`BREAKS`."""
    kind = BREAKS[name]
    run = HttpCycle.run

    async def broken(self: HttpCycle, app: Any, scope: Mapping[str, Any]) -> None:
        fault = kind()

        async def app_with_fault(scope: dict[str, Any], receive: Any, send: Send) -> None:
            async def faulty_send(message: Message) -> None:
                await fault.send(message, send)

            await app(fault.scope(scope), receive, faulty_send)

        await run(self, app_with_fault, scope)

    HttpCycle.run = broken  # type: ignore[method-assign]
