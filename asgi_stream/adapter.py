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
from typing import TYPE_CHECKING, Any, Literal

from asgi_stream.asgi.cycle import PAGE, PAGE_HEADERS, HttpCycle
from asgi_stream.asgi.lifespan import Lifespan
from asgi_stream.asgi.scope import http_scope
from asgi_stream.config import load_config
from asgi_stream.errors import AnswerTooLarge, ConfigurationError, StatusError, UnknownEventError
from asgi_stream.foreign import get, log, of_type, plain_str, shown, text
from asgi_stream.responders import BufferedResponder, StreamingResponder
from asgi_stream.sinks import Handler
from asgi_stream.sources import NOT_HTTP, can_stream, check_source, find_source
from asgi_stream.sources.request import with_host

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from asgi_stream.access_log import AccessRecord
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


_ABSENT = object()
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
    for _ in range(MAX_WRAPPERS):
        root_path = get(app, "root_path")
        # Flask and Quart have a folder under this name, and an import_name.
        if of_type(root_path, str) and plain_str(root_path).strip("/") and get(app, "import_name") is None:
            return True
        if (app := get(app, "app")) is None:
            break
    return False


def _trace_id(context: Any) -> bytes | None:
    """The invocation's X-Ray tracing header, which names Lambda's own segment and says whether it is sampled.

    The event's header cannot: it was there before Lambda decided. AWS's own runtime has it in the environment alone.
    """
    trace = get(context, "trace_id", _ABSENT)
    if trace is _ABSENT:
        trace = os.environ.get("_X_AMZN_TRACE_ID")
    return trace.encode("latin-1", "replace") if type(trace) is str else None


class StreamingAdapter(Handler):
    """Makes a Lambda handler of an ASGI 3 application: ``handler = StreamingAdapter(app)``.

    Each argument that is None is read from the environment variable ``ASGI_STREAM_`` and its name in capitals, where
    there is one; after that the default counts. More about each is in docs/settings.md.

    - ``lifespan``: ``auto``: an app that raises on the lifespan scope has no lifespan; ``on``: that is an init error;
      ``off``: no lifespan is run. Default: ``auto``.
    - ``invoke_mode``: How the source is set up to take responses: ``stream`` or ``buffered``; or one mode for each
      source, ``{"rest_api": "buffered"}``, in the variable ``function_url=stream,rest_api=buffered``. A source that
      cannot stream always gets a buffered response. Default: ``stream``.
    - ``stage``: What becomes of an API Gateway stage: ``strip`` leaves it out of ``path``, ``raw_path`` and
      ``root_path``; ``root_path`` makes it ASGI's ``root_path``, with which ``path`` begins, unless the app names its
      own, as ``FastAPI(root_path=…)`` does. Default: ``strip``.
    - ``custom_domain_stage``: ``False``: an HTTP API's path has no stage on a domain of your own, and none is stripped
      from it there. Default: ``True``.
    - ``root_path``: Where the app is mounted, such as ``/v1``: ASGI's ``root_path``, and ``path`` includes it; a path
      that begins with it already stays as it is. Default: none.
    - ``api_gateway_base_path``: A prefix that is stripped from each path, such as a custom domain's base path, in whole
      segments: ``/v1`` does not strip ``/v10``. Default: none.
    - ``host_header``: The name of a request header to take the host from, such as ``x-forwarded-host``, which your
      proxy (CloudFront, a gateway) overwrites. Default: none.
    - ``context_headers``: ``True`` fills the request headers ``x-amzn-request-context``, ``x-amzn-lambda-context`` and
      ``x-amz-tenant-id`` from event and context, as Lambda Web Adapter does. What a client sends under these names is
      dropped either way. Default: ``False``.
    - ``text_mime_types``: Which bodies are text in a buffered response: beginnings of content types, and suffixes such
      as ``+json``; separated by commas in the variable. Default: a table.
    - ``exclude_headers``: Names of response headers to leave out; separated by commas in the variable. Default: none.
    - ``deadline_margin``: How long before its deadline an app receives ``http.disconnect``, in seconds. Default: the
      smaller of 1 s and 10 % of the time given.
    - ``workers``: How many processes share the slots of an environment on Lambda Managed Instances, for apps that
      compute. Ignored elsewhere, where there is one slot and one process. Default: ``1``.
    - ``share_writes``: ``True``: the later messages of a burst share a write; each remains its own chunk, and leaves at
      the event loop's next turn at the latest. Default: ``False``.
    - ``pathsend``: ``True``: offer the ASGI extension ``http.response.pathsend``, with which the app names a file and
      the adapter sends it. Common middleware does not know the message. Default: ``False``.
    - ``pass_through_path``: A route of the app, such as ``/events``: events that are not HTTP requests are posted to it
      as JSON, and the JSON that it returns is the result of the invocation. Without it such an event is an error.
      Default: none.
    - ``error_status_codes``: Statuses that Lambda counts as errors: ``500,502-504``. Where the response is streamed,
      the client still gets the app's page. Default: none.
    - ``access_log``: ``json`` or ``emf``: one record for each HTTP invocation on stdout, ``emf`` as CloudWatch metrics.
      Default: ``off``.
    - ``event_stream_keep_alive``: After how many idle seconds a ``text/event-stream`` response gets a comment. Default:
      none.
    - ``disconnect_after``: How many seconds after its request an invocation is treated as if its deadline were near:
      the app receives ``http.disconnect``, then is cancelled. A stream whose client has left does not run, and cost,
      until the function's timeout. Default: none.
    - ``on_event``: A function ``(event, context)``, sync or async, for events that are not HTTP requests (a queue's, a
      schedule's); what it returns is the answer, as JSON. See docs/on-event.md.
    - ``event_sources``: Your own event sources, asked before the built-in ones, in place of Mangum's
      ``custom_handlers``; see docs/event-sources.md.

    ``lifespan``, ``api_gateway_base_path``, ``text_mime_types`` and ``exclude_headers`` mean what they mean to Mangum.
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
        pass_through_path: str | None = None,
        error_status_codes: str | Sequence[int | str] | None = None,
        access_log: Literal["off", "json", "emf"] | None = None,
        event_stream_keep_alive: float | None = None,
        disconnect_after: float | None = None,
        on_event: Callable[[Any, Any], Any] | None = None,
        event_sources: Sequence[Source] = (),
        custom_handlers: None = None,
    ) -> None:
        if not callable(app):
            raise ConfigurationError(f"StreamingAdapter needs an ASGI application, not {shown(app)}")
        if custom_handlers is not None:
            raise ConfigurationError(
                "custom_handlers is Mangum's: StreamingAdapter takes event_sources, objects with the methods matches, "
                "to_request and to_answer (docs/event-sources.md, Your own source)"
            )
        if on_event is not None and not callable(on_event):
            raise ConfigurationError(f"on_event must be a function (event, context), not {shown(on_event)}")
        self._event_sources = tuple(event_sources)
        for source in self._event_sources:
            check_source(source)
        self.app = app
        # Each argument that the table of settings names.
        self.config = load_config(locals(), sources=[source.name for source in self._event_sources])
        self._record: type[AccessRecord] | None = None
        if self.config.access_log != "off":
            from asgi_stream.access_log import AccessRecord

            self._record = AccessRecord
        self.configure(self.config)
        if on_event is not None and self.config.pass_through_path:
            raise ConfigurationError(
                "on_event and pass_through_path both answer events that are not HTTP requests: set one of them"
            )
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
            if self._on_event is not None:
                await self._answer_event(self._on_event, event, context, sink)
                return
            if not self.config.pass_through_path:
                raise
            from asgi_stream.sources.pass_through import PassThrough

            source = PassThrough(self.config.pass_through_path)
        request = source.to_request(event)
        if self.config.host_header:
            request = with_host(request, self.config.host_header)
        scope = http_scope(
            request,
            state,
            root_path=self.config.root_path,
            base_path="" if source.name == NOT_HTTP else self.config.api_gateway_base_path,
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
        record = None if self._record is None else self._record(self.config.access_log, scope, context)
        if sink.can_stream and can_stream(source) and self.config.streams(source.name):
            streaming = StreamingResponder(self.config, source, sink, on_start)
            sink.watcher = cycle = HttpCycle(request.method, request.body, streaming)
            if record is None and self.config.event_stream_keep_alive is None:
                await cycle.run(self.app, scope)
            else:
                await self._run_observed(cycle, scope, streaming, sink, record)
            if streaming.error_status:
                raise StatusError(streaming.error_status)
            return
        buffered = BufferedResponder(self.config, source, event, sink)
        sink.watcher = cycle = HttpCycle(request.method, request.body, buffered)
        if record is not None:
            cycle.on_abandoned = record.abandon
        try:
            await cycle.run(self.app, scope)
        except BaseException as error:
            if record is not None:
                record.fail(cycle.failure or error)
            # The page that the client would get, by its status, may count as an error.
            status = buffered.status if cycle.has_page else 500
            if sink.done or source.name == NOT_HTTP or status in self.config.error_status_codes:
                raise
            sink.note(error)
            log(logging.ERROR, "The app failed; its client gets a page of status 500", error)
            if cycle.has_page:
                # Frameworks send their own page and then raise.
                with contextlib.suppress(AnswerTooLarge):
                    await buffered.end(b"")
                    return
            await buffered.replace(500, PAGE_HEADERS, b"" if request.method == "HEAD" else PAGE)
        finally:
            if record is not None:
                record.answer(buffered.status, buffered.size)
                record.write(buffered.error_status)
        if buffered.error_status:
            raise StatusError(buffered.error_status)

    async def _run_observed(
        self,
        cycle: HttpCycle,
        scope: Mapping[str, Any],
        responder: StreamingResponder,
        sink: Sink,
        record: AccessRecord | None,
    ) -> None:
        """Runs the app for a response that has an access record or that is kept alive."""
        if record is not None:
            record.watch(responder)
            cycle.on_abandoned = record.abandon
        keep_alive = None
        if (seconds := self.config.event_stream_keep_alive) is not None:
            from asgi_stream.keep_alive import KeepAlive

            keep_alive = KeepAlive(seconds, responder, sink, scope["method"])
        try:
            await cycle.run(self.app, scope)
        except BaseException as error:
            if record is not None:
                record.fail(cycle.failure or error)
            raise
        finally:
            if keep_alive is not None:
                keep_alive.stop()
            if record is not None:
                if cycle.left_open:
                    record.close()
                record.write(responder.error_status)

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

        if (calls := running_calls(context)) is not None:
            return calls.answer(self, event, context)
        from asgi_stream.managed import call

        return call(self, event, context)

    def close(self) -> None:
        """Ends the lifespan and the event loop that calls have started; a further call starts new ones."""
        from asgi_stream.managed import close

        close(self.app)
