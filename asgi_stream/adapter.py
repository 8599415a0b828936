"""The object that a user touches: an ASGI app as a Lambda handler.

One invocation in, one response out through a sink. The adapter joins the rooms that do not know each other: the event
source that reads the event and words the answer, and the ASGI cycle that runs the app.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import logging
import os
import weakref

from asgi_stream.asgi.cycle import PAGE, PAGE_HEADERS, HttpCycle
from asgi_stream.asgi.lifespan import Lifespan
from asgi_stream.asgi.scope import http_scope
from asgi_stream.config import load_config
from asgi_stream.errors import AnswerTooLarge, ConfigurationError, UnknownEventError
from asgi_stream.foreign import get, log, shown, text
from asgi_stream.responders import BufferedResponder, StreamingResponder
from asgi_stream.sources import can_stream, check_source, find_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Any, Literal

    from asgi_stream.asgi import ASGIApp
    from asgi_stream.sinks import Prelude, Sink
    from asgi_stream.sources import Source

__all__ = ["StreamingAdapter"]

# Those that are alive, by number. The runtime starts the apps of those that were made while the handler was imported.
_adapters: weakref.WeakValueDictionary[int, StreamingAdapter] = weakref.WeakValueDictionary()
_numbers = itertools.count()


def adapters() -> list[StreamingAdapter]:
    """Returns the adapters of this process that are alive, in the order in which they were made."""
    return list(_adapters.values())


def _trace_id(context: Any) -> bytes | None:
    """The invocation's X-Ray tracing header, which names Lambda's own segment and says whether it is sampled.

    The event's header cannot: it was there before Lambda decided. AWS's own runtime has it in the environment alone.
    """
    trace = get(context, "trace_id", os.environ.get("_X_AMZN_TRACE_ID"))
    return trace.encode("latin-1", "replace") if type(trace) is str else None


class StreamingAdapter:
    """Makes a Lambda handler of an ASGI 3 application: ``handler = StreamingAdapter(app)``.

    Each argument that is None is read from the environment variable ``ASGI_STREAM_`` and its name in capitals, where
    there is one; after that the default stands.

    - ``lifespan``: ``"auto"`` (the default; an app that raises on the lifespan scope has none), ``"on"`` (that is an
      init error) or ``"off"``.
    - ``invoke_mode``: how the source is set up to take answers, ``"stream"`` (the default) or ``"buffered"``; for each
      source by a mapping such as ``{"function_url": "stream", "rest_api": "buffered"}``. Sources that cannot stream are
      always answered in one piece.
    - ``root_path``: where the app is mounted, as ASGI's ``root_path``.
    - ``api_gateway_base_path``: a prefix that is taken off each path, such as a custom domain's base path.
    - ``text_mime_types``: beginnings of content types that travel as text in a buffered answer.
    - ``exclude_headers``: names of response headers to leave out.
    - ``deadline_margin``: how long before its deadline an invocation is told that its time is up, in seconds;
      by default the smaller of one second and a tenth of the time given.
    - ``workers``: how many processes share the slots of an environment on Lambda Managed Instances, for apps that
      compute; 1 by default. Elsewhere there is one slot, and one process.
    - ``share_writes``: True lets the later messages of a burst share a write; each stays a chunk of its own, and none
      waits long. False by default; see docs/share-writes.md.
    - ``on_event``: a function ``(event, context)``, sync or async, for events that are no HTTP request (a queue's, a
      schedule's); what it returns is the answer, as JSON.
    - ``event_sources``: your own event sources, asked before the built-in ones; see docs/event-sources.md.

    ``lifespan`` and the names from ``api_gateway_base_path`` to ``exclude_headers`` mean what they mean to Mangum.
    Raises ConfigurationError for a value that is not understood and for an unknown ``ASGI_STREAM_`` variable.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        lifespan: Literal["auto", "on", "off"] | None = None,
        invoke_mode: Literal["stream", "buffered"] | Mapping[str, str] | None = None,
        root_path: str | None = None,
        api_gateway_base_path: str | None = None,
        text_mime_types: Sequence[str] | None = None,
        exclude_headers: Sequence[str] | None = None,
        deadline_margin: float | None = None,
        workers: int | None = None,
        share_writes: bool | None = None,
        on_event: Callable[[Any, Any], Any] | None = None,
        event_sources: Sequence[Source] = (),
    ) -> None:
        if not callable(app):
            raise ConfigurationError(f"StreamingAdapter needs an ASGI application, not {shown(app)}")
        if on_event is not None and not callable(on_event):
            raise ConfigurationError(f"on_event must be a function (event, context), not {shown(on_event)}")
        self._event_sources = tuple(event_sources)
        for source in self._event_sources:
            check_source(source)
        self.app = app
        self.config = load_config(
            {
                "lifespan": lifespan,
                "invoke_mode": invoke_mode,
                "root_path": root_path,
                "api_gateway_base_path": api_gateway_base_path,
                "text_mime_types": text_mime_types,
                "exclude_headers": exclude_headers,
                "deadline_margin": deadline_margin,
                "workers": workers,
                "share_writes": share_writes,
            },
            sources=[source.name for source in self._event_sources],
        )
        # Read by the runtime.
        self.deadline_margin = self.config.deadline_margin
        self.workers = self.config.workers
        self.share_writes = self.config.share_writes
        self._on_event = on_event
        self._lifespan = Lifespan(app, self.config.lifespan)
        _adapters[next(_numbers)] = self

    async def startup(self) -> contextvars.Context:
        """Starts the app's lifespan, a new one each time; returns the context variables that invocations see.

        Raises LifespanError.
        """
        self._lifespan = Lifespan(self.app, self.config.lifespan)
        await self._lifespan.startup()
        return self._lifespan.variables

    @property
    def wants_shutdown(self) -> bool:
        """True while the app has a lifespan that wants to hear of its end."""
        return self._lifespan.running

    def invoke(self, event: Any, context: Any, sink: Sink) -> Coroutine[Any, Any, None]:
        """Answers one event through ``sink``.

        Raises EventError, with the sink untouched, for an event that is no HTTP request. For a streamed answer it
        raises what the app raises, and AppError for what it does wrong, with the sink open, so that the error can still
        be told. A buffered answer is a page or an error, not both: the client gets a page of status 500, the log the
        error.
        """
        return self.answer(event, context, sink, self._lifespan.state)

    def would_stream(self, event: Any) -> bool:
        """True if the answer to this event is a stream, where its sink can take one."""
        try:
            source = find_source(event, self._event_sources)
        except UnknownEventError:
            return False
        return can_stream(source) and self.config.streams(source.name)

    async def answer(
        self,
        event: Any,
        context: Any,
        sink: Sink,
        state: Mapping[str, Any],
        on_start: Callable[[Prelude], object] | None = None,
    ) -> None:
        """As :meth:`invoke`, with the state of the app's lifespan; a streamed response calls ``on_start`` first."""
        try:
            source = find_source(event, self._event_sources)
        except UnknownEventError:
            if self._on_event is None:
                raise
            await self._answer_event(self._on_event, event, context, sink)
            return
        request = source.to_request(event)
        scope = http_scope(
            request,
            state,
            root_path=self.config.root_path,
            base_path=self.config.api_gateway_base_path,
        )
        if trace := _trace_id(context):
            headers = scope["headers"] = [header for header in scope["headers"] if header[0] != b"x-amzn-trace-id"]
            headers.append((b"x-amzn-trace-id", trace))
        # The names that Mangum gave them: apps read these already.
        scope["aws.event"] = event
        scope["aws.context"] = context
        if sink.can_stream and can_stream(source) and self.config.streams(source.name):
            streaming = StreamingResponder(self.config, source, sink, on_start)
            sink.watcher = cycle = HttpCycle(request.method, request.body, streaming)
            await cycle.run(self.app, scope)
            return
        buffered = BufferedResponder(self.config, source, event, sink)
        sink.watcher = cycle = HttpCycle(request.method, request.body, buffered)
        try:
            await cycle.run(self.app, scope)
        except BaseException as error:
            if sink.done:
                raise
            sink.note(error)
            log(logging.ERROR, "The app failed; its client gets a page of status 500", error)
            if cycle.has_page:
                # Frameworks send their own page and then raise.
                with contextlib.suppress(AnswerTooLarge):
                    await buffered.end(b"")
                    return
            await buffered.replace(500, PAGE_HEADERS, b"" if request.method == "HEAD" else PAGE)

    async def _answer_event(self, on_event: Callable[[Any, Any], Any], event: Any, context: Any, sink: Sink) -> None:
        result = on_event(event, context)
        if inspect.isawaitable(result):
            result = await result
        try:
            payload = json.dumps(result, allow_nan=False).encode("ascii")
        except (TypeError, ValueError) as error:
            raise TypeError(f"on_event returned what cannot be said in JSON: {text(error)}") from error
        await sink.reply(payload)

    async def shutdown(self) -> None:
        """Ends the app's lifespan. Raises LifespanError."""
        await self._lifespan.shutdown()

    def __call__(self, event: Any, context: Any) -> Any:
        """Answers one event. What that means depends on who calls.

        In a function that this package's runtime runs, ``return adapter(event, context)`` streams, once in an
        invocation: the call returns when the response has ended, with a dict of its ``statusCode`` and ``headers``. In
        a coroutine function it returns an awaitable of that dict. Raises what the app raises, and HandlerError for a
        call after the end of the invocation.

        Everywhere else (AWS's own Python runtime, scripts, tests), and where the source or ``invoke_mode`` does not
        stream, it returns the whole answer as a dict. The first call starts the app's lifespan, on an event loop that
        stays for the calls after it; an app that fails is answered with a page of status 500.

        Raises LifespanError, EventError, and what ``on_event`` raises.
        """
        from asgi_stream.calls import running_calls

        if (calls := running_calls()) is not None:
            return calls.answer(self, event, context)
        from asgi_stream.managed import call

        return call(self, event, context)

    def close(self) -> None:
        """Ends the lifespan and the event loop that calls have started; a further call starts new ones."""
        from asgi_stream.managed import close

        close(self.app)
