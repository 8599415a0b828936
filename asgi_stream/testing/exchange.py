"""What lies behind a response: the event that the app was invoked with, and all that Lambda was told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from asgi_stream.foreign import get, shown
from asgi_stream.testing.libraries import EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_stream.testing.delivery import Chunk, Delivery

__all__ = ["Exchange", "exchange"]


class Exchange:
    """One request and its response as Lambda sees them; read-only, :func:`exchange` gives it."""

    __slots__ = ("_delivery", "_loop")

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._loop = asyncio.get_running_loop()

    @property
    def event(self) -> Mapping[str, Any]:
        """The event that the adapter was invoked with."""
        return self._delivery.event

    @property
    def request_id(self) -> str:
        """The id of the invocation, the context's ``aws_request_id``."""
        return self._delivery.request_id

    @property
    def prelude(self) -> Mapping[str, Any] | None:
        """The JSON in front of a streamed body; None where nothing was streamed."""
        return self._delivery.prelude

    @property
    def answer(self) -> Any:
        """The JSON of an answer in one piece; None for a streamed one."""
        return self._delivery.answer

    @property
    def chunks(self) -> Sequence[Chunk]:
        """The chunks of the body so far, whether or not they have been read; one for an answer in one piece."""
        return tuple(self._delivery.chunks)

    @property
    def ended(self) -> bool:
        """True once the response has ended, well or in an error. The app may still be at work."""
        return self._delivery.ended.is_set()

    @property
    def error(self) -> Mapping[str, Any] | None:
        """What Lambda was told: ``errorType``, ``errorMessage``, ``stackTrace``; None if the response ended well.

        Raises RuntimeError as long as the response has not ended.
        """
        self._require_end()
        return None if self._delivery.error is None else self._delivery.error.details

    @property
    def error_type(self) -> str | None:
        """What Lambda counts the error by, such as ``Function.ValueError``. Raises RuntimeError as :attr:`error`."""
        self._require_end()
        return None if self._delivery.error is None else self._delivery.error.error_type

    @property
    def reported_by(self) -> Literal["trailers", "error"] | None:
        """How Lambda was told: trailers behind the body, or an error endpoint. Raises RuntimeError as :attr:`error`."""
        self._require_end()
        if self._delivery.error is None:
            return None
        return "error" if self._delivery.error.reported_by == "error" else "trailers"

    def _require_end(self) -> None:
        if not self.ended:
            raise RuntimeError("the response has not ended: read it to its end, or wait until the app has finished")

    async def finished(self) -> None:
        """Waits until the app has returned, also where the client stopped reading early. For ``LambdaTransport``."""
        await self._delivery.returned.wait()

    def wait(self) -> None:
        """:meth:`finished`, for ``SyncLambdaTransport``."""
        if self._delivery.returned.is_set():
            return
        try:
            own = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            own = False
        if own:
            raise RuntimeError("wait() would block the event loop that the app runs on: await finished()")
        asyncio.run_coroutine_threadsafe(self.finished(), self._loop).result()

    def __repr__(self) -> str:
        status = None if self._delivery.head is None else self._delivery.head.status
        return f"<Exchange {self.request_id} status={status} chunks={len(self._delivery.chunks)} ended={self.ended}>"


def exchange(response: Any) -> Exchange:
    """Returns what lies behind a response of a ``LambdaTransport``. Raises TypeError for any other response."""
    extensions = get(response, "extensions")
    found = extensions.get(EXCHANGE) if isinstance(extensions, dict) else None
    if not isinstance(found, Exchange):
        raise TypeError(f"not a response that came through a LambdaTransport: {shown(response)}")
    return found
