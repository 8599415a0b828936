"""Transports for httpx and httpx2 that invoke a function as Lambda does, and stream what it answers.

    request --builder--> event --> adapter --> app
    response <--decoder-- prelude, chunks <------'

The first chunk can be read before the app has finished. An app that gets ahead of its reader waits in ``send``, as it
does on Lambda once the network is full; a reader who leaves early is not noticed by it, as on Lambda.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from asgi_stream.errors import ConfigurationError, LambdaRefused, LifespanError
from asgi_stream.foreign import of_type, shown
from asgi_stream.sources import rest_api
from asgi_stream.testing import events
from asgi_stream.testing.answers import remap_headers
from asgi_stream.testing.environment import ExecutionEnvironment
from asgi_stream.testing.exchange import Exchange
from asgi_stream.testing.libraries import library, make_response

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from types import TracebackType

    import httpx
    import httpx2

    from asgi_stream.local.prelude import ResponseStart
    from asgi_stream.testing.delivery import Delivery
    from asgi_stream.testing.environment import Function

    T = TypeVar("T")
    Source = Literal["function_url", "rest_api", "http_api", "alb", "lambda_edge", "vpc_lattice"]
    EventBuilder = Callable[[str, str, Sequence[tuple[str, str]], bytes], dict[str, Any]]

    class _AsyncTransport(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any: ...

    class _SyncTransport(httpx.BaseTransport, httpx2.BaseTransport):
        def handle_request(self, request: Any) -> Any: ...

else:
    _AsyncTransport = library.AsyncBaseTransport
    _SyncTransport = library.BaseTransport

__all__ = ["LambdaTransport", "SyncLambdaTransport"]

BUILDERS: dict[str, Callable[..., dict[str, Any]]] = {
    "function_url": events.function_url_event,
    "rest_api": events.rest_api_event,
    "http_api": events.http_api_event,
    "alb": events.alb_event,
    "lambda_edge": events.lambda_edge_event,
    "vpc_lattice": events.vpc_lattice_event,
}
# The builders that take no scheme: their events do not have it.
WITHOUT_SCHEME = ("lambda_edge", "vpc_lattice")

# AWS, Elastic Load Balancing: "Lambda functions as targets", limits. Bytes of a request's body.
ALB_BODY_LIMIT = 1024 * 1024

# Of a function on Lambda, the longest that can be set.
LONGEST_TIMEOUT = 900.0


class _Transport:
    """What both are made with."""

    def __init__(
        self,
        app: Function,
        *,
        source: Source | EventBuilder = "function_url",
        raise_app_exceptions: bool = True,
        wait_for_app: bool = True,
        timeout: float = LONGEST_TIMEOUT,
    ) -> None:
        self._front = _Front(app, source, raise_app_exceptions, wait_for_app, timeout)
        self._thread = _LoopThread()  # of use to the synchronous one only, and started by its first use


class LambdaTransport(_Transport, _AsyncTransport):
    """For ``httpx.AsyncClient(transport=LambdaTransport(app))``, and for httpx2's; on asyncio.

    - ``app``: an ASGI application or the :class:`~asgi_stream.StreamingAdapter` of one; or any other function that the
      runtime takes: a streaming handler, a generator function, a plain ``handler(event, context)``.
    - ``source``: what invokes the function: ``"function_url"``, ``"rest_api"``, ``"http_api"``, ``"alb"``,
      ``"lambda_edge"`` or ``"vpc_lattice"``; or a function that builds an event from method, path with query, headers
      (pairs of str) and body, such as ``functools.partial(rest_api_event, stage="v1")``. Only the first two stream.
    - ``raise_app_exceptions``: whether what the app raises is raised to the client too, at the end of the body (or by
      the request, if there was no response). If not, the client sees what AWS would show it.
    - ``wait_for_app``: whether the end of a body waits until the app has returned, background tasks included. If not,
      the end is there as soon as the app has sent it, as on Lambda, and what the app raises later is only logged.
    - ``timeout``: the function's timeout in seconds. The context tells the app what is left of it; it ends nothing.

    The app's startup runs on ``async with``, the client's or its own, or else before the first request; ``aclose``
    cancels apps that still run and then shuts down. :func:`~asgi_stream.testing.exchange` shows what lies behind a
    response.

    Requests raise LambdaRefused for what Lambda would not take, and LifespanError if the app cannot start. Raises
    ConfigurationError for an app or a source that is not understood.
    """

    async def handle_async_request(self, request: Any) -> Any:
        """Invokes the function; returns once status and headers are known."""
        delivery, start = await self._front.send(request, await request.aread())
        return make_response(request, start, Exchange(delivery), AsyncByteStream, self._front, delivery)

    async def __aenter__(self) -> Self:
        await self._front.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._front.leave()

    async def aclose(self) -> None:
        """Ends the execution environment. Raises LifespanError if the app fails to shut down."""
        await self._front.close()


class SyncLambdaTransport(_Transport, _SyncTransport):
    """For ``httpx.Client(transport=SyncLambdaTransport(app))``, and for httpx2's; see :class:`LambdaTransport`.

    The app runs on an event loop in a thread of the transport's own, which ends with ``close`` or ``with``.
    """

    def handle_request(self, request: Any) -> Any:
        """Invokes the function; returns once status and headers are known."""
        content = request.read()
        return self._thread.run(self._send(request, content))

    async def _send(self, request: Any, content: bytes) -> Any:
        delivery, start = await self._front.send(request, content)
        return make_response(request, start, Exchange(delivery), SyncByteStream, self._front, delivery, self._thread)

    def __enter__(self) -> Self:
        try:
            self._thread.run(self._front.enter())
        except BaseException:
            self._thread.stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        try:
            self._thread.run(self._front.leave())
        finally:
            if self._front.closed:
                self._thread.stop()

    def close(self) -> None:
        """Ends the execution environment and the thread. Raises LifespanError if the app fails to shut down."""
        try:
            if not self._front.closed:
                self._thread.run(self._front.close())
        finally:
            self._thread.stop()


class _Front:
    """The platform in front of the function: what both transports do, on the event loop of the app."""

    def __init__(
        self,
        app: Function,
        source: Source | EventBuilder,
        raise_app_exceptions: bool,
        wait_for_app: bool,
        timeout: float,
    ) -> None:
        if not callable(source) and source not in BUILDERS:
            raise ConfigurationError(
                f"source must be one of {', '.join(BUILDERS)}, or a function that builds an event, not {shown(source)}"
            )
        self._source = source
        self._environment = ExecutionEnvironment(app, timeout)
        self._raises = raise_app_exceptions
        self._waits = wait_for_app
        self._users = 0

    @property
    def closed(self) -> bool:
        return self._environment.closed

    async def enter(self) -> None:
        try:
            await self._environment.start()
        except LifespanError:
            if self._raises:
                raise
        self._users += 1

    async def leave(self) -> None:
        # A client closes its transport, also one that somebody else has entered and will use again.
        self._users -= 1
        if self._users <= 0:
            await self.close()

    async def close(self) -> None:
        await self._environment.close()

    async def send(self, request: Any, content: bytes) -> tuple[Delivery, ResponseStart]:
        """Returns once status and headers are known."""
        delivery = await self._environment.invoke(self._event(request, content))
        try:
            await delivery.started.wait()
        except asyncio.CancelledError:
            delivery.abandon()
            raise
        if delivery.head is not None:
            return delivery, remap_headers(delivery.head) if rest_api.matches(delivery.event) else delivery.head
        if delivery.refusal is not None:
            raise delivery.refusal
        if self._raises:
            raise _for_the_test(delivery.raised)
        return delivery, await delivery.show_error_page()

    def _event(self, request: Any, content: bytes) -> dict[str, Any]:
        target = request.url.raw_path.decode("ascii")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        if callable(self._source):
            return self._source(request.method, target, headers, content)
        if self._source in WITHOUT_SCHEME:
            return BUILDERS[self._source](request.method, target, headers, content)
        if self._source == "alb" and len(content) > ALB_BODY_LIMIT:
            raise LambdaRefused(
                f"the body of a request to a load balancer's function may have {ALB_BODY_LIMIT} bytes (1 MB), "
                f"and this one has {len(content)}"
            )
        return BUILDERS[self._source](request.method, target, headers, content, scheme=request.url.scheme)

    async def read(self, delivery: Delivery) -> bytes | None:
        """Returns the next piece of a body, None at its end. Raises there what the test is to see."""
        piece = await delivery.read()
        if piece is not None:
            return piece
        if delivery.refusal is not None:
            raise delivery.refusal
        if self._waits:
            await delivery.returned.wait()
        if self._raises and delivery.raised is not None:
            raise _for_the_test(delivery.raised)
        return None


def _for_the_test(error: BaseException | None) -> BaseException:
    if error is None or of_type(error, asyncio.CancelledError):
        # As itself it would look as if the test had been cancelled.
        failure = RuntimeError("the app was cancelled")
        failure.__cause__ = error
        return failure
    return error


# The two bear the names of the classes that httpx and httpx2 have for them.


class AsyncByteStream:
    """A body as an asynchronous client reads it."""

    def __init__(self, front: _Front, delivery: Delivery) -> None:
        self._front = front
        self._delivery = delivery

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._front.read(self._delivery)
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._delivery.abandon()


class SyncByteStream:
    """A body as a synchronous client reads it."""

    def __init__(self, front: _Front, delivery: Delivery, thread: _LoopThread) -> None:
        self._front = front
        self._delivery = delivery
        self._thread = thread

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        piece = self._thread.run(self._front.read(self._delivery))
        if piece is None:
            raise StopIteration
        return piece

    def close(self) -> None:
        self._thread.call(self._delivery.abandon)


async def _outcome(coroutine: Coroutine[Any, Any, Any]) -> tuple[Any, BaseException | None]:
    # Returned, not raised: SystemExit leaving a task would end the event loop.
    try:
        return await coroutine, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error


class _LoopThread:
    """An event loop in a thread, started by its first use; the thread keeps no process alive."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs the coroutine on the loop; returns and raises what it does."""
        future = asyncio.run_coroutine_threadsafe(_outcome(coroutine), self._started())
        try:
            result, error = future.result()
        except BaseException:
            future.cancel()  # for a KeyboardInterrupt in this thread; no effect on one that is done
            raise
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def call(self, function: Callable[[], None]) -> None:
        """Calls the function on the loop soon; not at all if the loop has ended."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(function)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._main, args=(loop,), name="asgi-stream-testing", daemon=True
                )
                self._thread.start()
            return self._loop

    @staticmethod
    def _main(loop: asyncio.AbstractEventLoop) -> None:
        # Not asyncio.run: a coroutine may be handed to the loop before it runs.
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop().run_forever()

    def stop(self) -> None:
        """Ends loop and thread; a later use would start others."""
        with self._lock:
            if self._loop is not None and self._thread is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
            self._loop = self._thread = None
