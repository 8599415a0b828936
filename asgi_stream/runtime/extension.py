"""The end of an execution environment: how Lambda is made to announce it, and how long the app may take over it.

Lambda ends an environment by SIGKILL, unless an extension is registered: then the runtime gets SIGTERM first. An
internal extension is two requests of the runtime's own process. It registers, for no event at all, before the first
``/next``, and then asks for an event that never comes; Lambda's init lasts until both have been asked. The second
request stays open for the life of the environment, on the connection that the first has opened, and nothing here can
end the runtime: whatever is refused or lost is logged, and the environment ends without a word, as it would have
without an extension.

Source: "Using the Lambda Extensions API to create extensions" in AWS's Lambda Developer Guide.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from asgi_stream.foreign import cancel
from asgi_stream.runtime.connection import ConnectionLost
from asgi_stream.runtime.http11 import ProtocolError
from asgi_stream.runtime.logs import log, log_exception
from asgi_stream.runtime.requests import next_extension_event, parse_registration, register_extension

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from asgi_stream.runtime.connection import Connection

__all__ = ["WITHOUT", "ask_for_sigterm", "shut_down"]

# Lambda's server answers a registration at once; a start-up must not hang on one that does not. Seconds.
REGISTRATION_LIMIT = 1.0
# Lambda lets a runtime with an internal extension have 500 ms between SIGTERM and SIGKILL (Managed Instances: 600).
# Invocations that have to be cancelled and the shutdown share this; the rest is for Python's own end. Seconds.
SHUTDOWN_LIMIT = 0.4

WITHOUT = "Lambda may end this environment without SIGTERM, and the app without its shutdown"


async def ask_for_sigterm(connection: Connection, stop: Callable[[], object]) -> asyncio.Task[None] | None:
    """Registers the extension; returns the task that keeps its request open, None if Lambda refuses. Raises nothing.

    ``connection`` is for this alone; the caller keeps the task and cancels it in the end. ``stop`` is called if Lambda
    says by an event that the environment ends.
    """
    try:
        async with asyncio.timeout(REGISTRATION_LIMIT):
            identifier = parse_registration(await connection.request(register_extension()))
        next_extension_event(identifier).encode(connection.host)  # it may be what cannot stand in a header
    except (ConnectionLost, ProtocolError, TimeoutError) as error:
        log("WARNING", f"{WITHOUT}: no extension could be registered: {str(error) or 'no answer'}")
        connection.close()
        return None
    # Not by the loop: the app may have set a task factory.
    return asyncio.Task(_wait_for_the_end(connection, identifier, stop), loop=asyncio.get_running_loop())


async def _wait_for_the_end(connection: Connection, identifier: str, stop: Callable[[], object]) -> None:
    try:
        try:
            reply = await connection.request(next_extension_event(identifier))
        except ConnectionLost:
            # Once more, on a new connection: a snapshot and its restore (SnapStart) may have come between.
            reply = await connection.request(next_extension_event(identifier))
    except ConnectionLost as error:
        log("WARNING", f"{WITHOUT}: {error}")
    else:
        if reply.status == 200 and _is_shutdown(reply.body):
            stop()
        else:
            # Not asked again: a server that answers at once would keep this process busy for ever.
            log("WARNING", f"{WITHOUT}: the extension got status {reply.status}, {reply.body[:500]!r}")
    finally:
        connection.close()


def _is_shutdown(body: bytes) -> bool:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(event, dict) and event.get("eventType") == "SHUTDOWN"


async def shut_down(shutdown: Callable[[], Coroutine[Any, Any, None]], limit: float) -> None:
    """Runs the handler's shutdown to its end, for at most ``limit`` seconds. Raises nothing: what fails is logged."""
    loop = asyncio.get_running_loop()
    until = loop.time() + limit
    task = asyncio.Task(_attempt(shutdown), loop=loop)
    while True:
        try:
            await asyncio.wait((task,), timeout=until - loop.time())
            break
        except asyncio.CancelledError:
            continue  # an app may end by cancelling all tasks but its own
    if not task.done():
        cancel(task)
        log("ERROR", f"The app's shutdown has not ended {SHUTDOWN_LIMIT} s after the signal: it is given up")
    elif task.cancelled():
        log("ERROR", "The function failed to shut down: its shutdown was cancelled")
    elif (error := task.result()) is not None:
        log_exception("The function failed to shut down", error)


async def _attempt(shutdown: Callable[[], Coroutine[Any, Any, None]]) -> BaseException | None:
    # Returned, not raised: SystemExit and KeyboardInterrupt leaving a task would end the event loop.
    try:
        await shutdown()
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return error
    return None
