"""The object that a user touches: an ASGI app as a Lambda handler.

One invocation in, one response out through a sink. The adapter joins the rooms that do not know each other: the event
source that reads the event and words the prelude, and the ASGI cycle that runs the app.
"""

from __future__ import annotations

from asgi_stream.asgi.cycle import HttpCycle
from asgi_stream.asgi.lifespan import LIFESPAN_MODES, Lifespan
from asgi_stream.asgi.scope import http_scope
from asgi_stream.errors import ConfigurationError
from asgi_stream.sources import find_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextvars
    from collections.abc import Sequence
    from typing import Any, Literal

    from asgi_stream.asgi import ASGIApp
    from asgi_stream.runtime.context import LambdaContext
    from asgi_stream.sinks import Sink
    from asgi_stream.sources import Source

__all__ = ["StreamingAdapter"]


class StreamingAdapter:
    """Makes a Lambda handler of an ASGI 3 application: ``handler = StreamingAdapter(app)``.

    ``lifespan`` is ``"auto"`` (an app that raises on the lifespan scope has none), ``"on"`` (that is an init error) or
    ``"off"``. Raises ConfigurationError for anything else.
    """

    def __init__(self, app: ASGIApp, *, lifespan: Literal["auto", "on", "off"] = "auto") -> None:
        if not callable(app):
            raise ConfigurationError(f"StreamingAdapter needs an ASGI application, not {app!r:.100}")
        if lifespan not in LIFESPAN_MODES:
            raise ConfigurationError(f"lifespan must be one of {', '.join(LIFESPAN_MODES)}, not {lifespan!r}")
        self.app = app
        self._lifespan = Lifespan(app, lifespan)

    async def startup(self) -> contextvars.Context:
        """Starts the app's lifespan; returns the context variables that invocations see. Raises LifespanError."""
        await self._lifespan.startup()
        return self._lifespan.variables

    async def invoke(self, event: Any, context: LambdaContext, sink: Sink) -> None:
        """Answers one event through ``sink``.

        Raises EventError, with the sink untouched, for an event that is no HTTP request; what the app raises and
        AppError for what it does wrong, with the sink open, so that the error can still be told.
        """
        source = find_source(event)
        request = source.to_request(event)
        scope = http_scope(request, self._lifespan.state)
        # The names that Mangum gave them: apps read these already.
        scope["aws.event"] = event
        scope["aws.context"] = context
        await HttpCycle(request.method, request.body, _Responder(source, sink)).run(self.app, scope)

    async def shutdown(self) -> None:
        """Ends the app's lifespan. Raises LifespanError."""
        await self._lifespan.shutdown()


class _Responder:
    """Words the response the way the event's source wants it."""

    __slots__ = ("_sink", "_source", "end", "write")

    def __init__(self, source: Source, sink: Sink) -> None:
        self._source = source
        self._sink = sink
        self.write = sink.write
        self.end = sink.end

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        await self._sink.start(self._source.to_prelude(status, headers))
