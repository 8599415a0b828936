"""The object that a user touches: an ASGI app as a Lambda handler.

One invocation in, one response out through a sink. The adapter joins the rooms that do not know each other: the event
source that reads the event and words the answer, and the ASGI cycle that runs the app.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import os
import threading

from asgi_stream.asgi.cycle import PAGE, PAGE_HEADERS, HttpCycle
from asgi_stream.asgi.lifespan import Lifespan
from asgi_stream.asgi.scope import http_scope
from asgi_stream.config import load_config
from asgi_stream.errors import AnswerTooLarge, ConfigurationError, UnknownEventError
from asgi_stream.responders import BufferedResponder, StreamingResponder
from asgi_stream.sources import can_stream, check_source, find_source
from asgi_stream.sources.request import with_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Literal

    from asgi_stream.asgi import ASGIApp
    from asgi_stream.managed import ManagedLoop
    from asgi_stream.sinks import Sink
    from asgi_stream.sources import Source

__all__ = ["StreamingAdapter"]

logger = logging.getLogger("asgi_stream")

# A forgotten exec wrapper, or a tool that wraps the handler into a plain function, shows in nothing else.
NOT_STREAMED = (
    "This response was to be streamed and is not: the function runs under AWS's own Python runtime, which cannot. "
    "Set the environment variable AWS_LAMBDA_EXEC_WRAPPER to /var/task/asgi_stream/bootstrap, and the handler to the "
    "StreamingAdapter itself; or, where the source is set up to buffer, say invoke_mode='buffered'"
)


TRACE_ID = b"x-amzn-trace-id"
# In these, adapters hand event and context to an app, which therefore trusts them: Lambda Web Adapter, and
# serverless-express. A client can send each of them.
IDENTITY_HEADERS = frozenset(
    (
        b"x-amz-tenant-id",
        b"x-amzn-lambda-context",
        b"x-amzn-request-context",
        b"x-apigateway-context",
        b"x-apigateway-event",
    )
)
# Frameworks find a header by its name in any case, and WSGI has one name for `-` and `_`.
_ONE_SPELLING = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_", b"abcdefghijklmnopqrstuvwxyz-")


def replace_headers(
    headers: Sequence[tuple[bytes, bytes]], own: Sequence[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """Returns a request's headers with ``own`` added, without what a client sent under their names.

    Nor under those in IDENTITY_HEADERS, in any spelling that an app may take for one of them.
    """
    forged = IDENTITY_HEADERS.union([name for name, _ in own])
    return [header for header in headers if header[0].translate(_ONE_SPELLING) not in forged] + list(own)


MAX_WRAPPERS = 50


def names_its_root_path(app: Any) -> bool:
    """True for an app that sets the scope's ``root_path`` itself, as ``FastAPI(root_path=…)`` does, also in middleware.

    Middleware holds its app as ``app``, as a rule. Never raises.
    """
    with contextlib.suppress(BaseException):  # the attributes are the app's code
        for _ in range(MAX_WRAPPERS):
            root_path = getattr(app, "root_path", None)
            # Flask and Quart have a folder under this name, and an import_name.
            if isinstance(root_path, str) and root_path.strip("/") and getattr(app, "import_name", None) is None:
                return True
            app = getattr(app, "app", None)
    return False


def log_error(message: str, error: BaseException) -> None:
    """Logs an error with its traceback; no text in it that the user's logging cannot write makes a second error."""
    try:
        logger.error(message, exc_info=error)
    except UnicodeError:
        logger.error("%s: %s", message, ascii(error))


def _trace_id(context: Any) -> bytes | None:
    """The invocation's X-Ray tracing header, which names Lambda's own segment and says whether it is sampled.

    The event's header cannot: it was there before Lambda decided. AWS's own runtime has it in the environment alone.
    """
    trace = context.trace_id if hasattr(context, "trace_id") else os.environ.get("_X_AMZN_TRACE_ID")
    return trace.encode("latin-1", "replace") if isinstance(trace, str) else None


class StreamingAdapter:
    """Makes a Lambda handler of an ASGI 3 application: ``handler = StreamingAdapter(app)``.

    Each argument that is None is read from the environment variable ``ASGI_STREAM_`` and its name in capitals, where
    there is one; after that the default stands.

    - ``lifespan``: ``"auto"`` (the default; an app that raises on the lifespan scope has none), ``"on"`` (that is an
      init error) or ``"off"``.
    - ``invoke_mode``: how the source is set up to take answers, ``"stream"`` (the default) or ``"buffered"``; for each
      source by a mapping such as ``{"function_url": "stream", "rest_api": "buffered"}``. Sources that cannot stream are
      always answered in one piece.
    - ``stage``: what becomes of an API Gateway stage: ``"strip"`` (the default) leaves it out of ``path`` and
      ``root_path``; ``"root_path"`` makes it the ``root_path``, with which ``path`` begins (ASGI's mounted form),
      unless the app names its own, as ``FastAPI(root_path=…)`` does. What a path check sees, and what links lack, is
      in docs/settings.md.
    - ``custom_domain_stage``: False says that an HTTP API's path has no stage on a domain of your own, so that none is
      stripped from it there; True by default.
    - ``root_path``: where the app is mounted, as ASGI's ``root_path``.
    - ``api_gateway_base_path``: a prefix that is taken off each path, such as a custom domain's base path.
    - ``host_header``: the name of a request header to take the host from, such as ``x-forwarded-host``, which your
      proxy (CloudFront, a gateway) overwrites; none by default.
    - ``context_headers``: True fills the request headers ``x-amzn-request-context`` and ``x-amzn-lambda-context`` from
      event and context, as Lambda Web Adapter does. False by default; what a client sends under these names is dropped
      either way; see docs/event-sources.md.
    - ``text_mime_types``: beginnings of content types that travel as text in a buffered answer.
    - ``exclude_headers``: names of response headers to leave out.
    - ``deadline_margin``: how long before its deadline an invocation is told that its time is up, in seconds;
      by default the smaller of one second and a tenth of the time given.
    - ``workers``: how many processes share the slots of an environment on Lambda Managed Instances, for apps that
      compute; 1 by default. Elsewhere there is one slot, and one process.
    - ``share_writes``: True lets the later messages of a burst share a write; each stays a chunk of its own, and none
      waits long. False by default; see docs/share-writes.md.
    - ``pathsend``: True offers the ASGI extension ``http.response.pathsend``: the app names a file, and the adapter
      sends it. False by default, since common middleware does not know the message; see docs/settings.md.
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
        stage: Literal["strip", "root_path"] | None = None,
        custom_domain_stage: bool | None = None,
        root_path: str | None = None,
        api_gateway_base_path: str | None = None,
        host_header: str | None = None,
        context_headers: bool | None = None,
        text_mime_types: Sequence[str] | None = None,
        exclude_headers: Sequence[str] | None = None,
        deadline_margin: float | None = None,
        workers: int | None = None,
        share_writes: bool | None = None,
        pathsend: bool | None = None,
        on_event: Callable[[Any, Any], Any] | None = None,
        event_sources: Sequence[Source] = (),
    ) -> None:
        if not callable(app):
            raise ConfigurationError(f"StreamingAdapter needs an ASGI application, not {app!r:.100}")
        if on_event is not None and not callable(on_event):
            raise ConfigurationError(f"on_event must be a function (event, context), not {on_event!r:.100}")
        self._event_sources = tuple(event_sources)
        for source in self._event_sources:
            check_source(source)
        self.app = app
        self.config = load_config(
            {
                "lifespan": lifespan,
                "invoke_mode": invoke_mode,
                "stage": stage,
                "custom_domain_stage": custom_domain_stage,
                "root_path": root_path,
                "api_gateway_base_path": api_gateway_base_path,
                "host_header": host_header,
                "context_headers": context_headers,
                "text_mime_types": text_mime_types,
                "exclude_headers": exclude_headers,
                "deadline_margin": deadline_margin,
                "workers": workers,
                "share_writes": share_writes,
                "pathsend": pathsend,
            },
            sources=[source.name for source in self._event_sources],
        )
        # Read by the runtime.
        self.deadline_margin = self.config.deadline_margin
        self.workers = self.config.workers
        self.share_writes = self.config.share_writes
        self._on_event = on_event
        self._lifespan = Lifespan(app, self.config.lifespan)
        self._managed: ManagedLoop | None = None
        self._lock = threading.RLock()  # calls of the handler come one at a time
        self._warned = False

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

    async def invoke(self, event: Any, context: Any, sink: Sink) -> None:
        """Answers one event through ``sink``.

        Raises EventError, with the sink untouched, for an event that is no HTTP request. For a streamed answer it
        raises what the app raises, and AppError for what it does wrong, with the sink open, so that the error can still
        be told. A buffered answer is a page or an error, not both: the client gets a page of status 500, the log the
        error.
        """
        try:
            source = find_source(event, self._event_sources)
        except UnknownEventError:
            if self._on_event is None:
                raise
            await self._answer_event(self._on_event, event, context, sink)
            return
        request = source.to_request(event)
        if self.config.host_header:
            request = with_host(request, self.config.host_header)
        scope = http_scope(
            request,
            self._lifespan.state,
            root_path=self.config.root_path,
            base_path=self.config.api_gateway_base_path,
            strip=self.config.stage == "strip" or names_its_root_path(self.app),
            custom_domain_stage=self.config.custom_domain_stage,
        )
        if self.config.pathsend:
            scope["extensions"]["http.response.pathsend"] = {}
        own = [(TRACE_ID, trace)] if (trace := _trace_id(context)) else []
        if self.config.context_headers:
            from asgi_stream.sources.context_headers import context_headers

            own += context_headers(event, context, trace)
        scope["headers"] = replace_headers(scope["headers"], own)
        # The names that Mangum gave them: apps read these already.
        scope["aws.event"] = event
        scope["aws.context"] = context
        if can_stream(source) and self.config.streams(source.name):
            if sink.can_stream:
                streaming = StreamingResponder(self.config, source, sink)
                sink.watcher = cycle = HttpCycle(request.method, request.body, streaming)
                await cycle.run(self.app, scope)
                return
            if not self._warned:
                self._warned = True
                logger.warning(NOT_STREAMED)
        buffered = BufferedResponder(self.config, source, event, sink)
        sink.watcher = cycle = HttpCycle(request.method, request.body, buffered)
        try:
            await cycle.run(self.app, scope)
        except BaseException as error:
            if sink.done:
                raise
            sink.note(error)
            log_error("The app failed; its client gets a page of status 500", error)
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
            raise TypeError(f"on_event returned what cannot be said in JSON: {error}") from error
        await sink.reply(payload)

    async def shutdown(self) -> None:
        """Ends the app's lifespan. Raises LifespanError."""
        await self._lifespan.shutdown()

    def __call__(self, event: Any, context: Any) -> Any:
        """Answers one event with a dict: what AWS's own Python runtime calls, and it cannot stream.

        The first call starts the app's lifespan, on an event loop that stays for the calls after it. Raises
        LifespanError, EventError, and what ``on_event`` raises; an app that fails is answered with a page of status
        500.
        """
        with self._lock:
            if self._managed is None:
                from asgi_stream.managed import ManagedLoop

                self._managed = ManagedLoop(self)
            return self._managed.call(event, context)

    def close(self) -> None:
        """Ends the lifespan and the event loop that calls have started; a further call starts both anew."""
        with self._lock:
            if self._managed is not None:
                managed, self._managed = self._managed, None
                managed.close()
