"""The program that Lambda starts: finds the handler, runs the invocation loop, exits with a code that says how it went.

Called by the shell script ``bootstrap``, which finds a Python, through ``_start.py``, which puts this package on the
path. Lambda's environment variables are read here and nowhere deeper.
"""

from __future__ import annotations

import asyncio
import os

from asgi_stream.errors import ConfigurationError
from asgi_stream.runtime import logs
from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.loader import HandlerLoadError, load_handler
from asgi_stream.runtime.logs import log, log_exception
from asgi_stream.runtime.loop import Runtime, report_init_error
from asgi_stream.runtime.reports import describe
from asgi_stream.runtime.streams import connector, parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] = (), environ: Mapping[str, str] = os.environ) -> int:
    """Serves invocations until the end of the execution environment; returns the exit code.

    ``arguments`` may name the handler, as the command of a container image does; ``_HANDLER`` is used without it.
    """
    address = environ.get("AWS_LAMBDA_RUNTIME_API")
    if not address:
        log(
            "CRITICAL",
            "AWS_LAMBDA_RUNTIME_API is not set: this program runs inside AWS Lambda. "
            "On your own machine: asgi-stream dev module:handler",
        )
        return 1
    try:
        host, port = parse_address(address)
    except ValueError as error:
        log("CRITICAL", str(error))
        return 1
    logs.setup(environ)
    connect = connector(host, port)
    connection = Connection(address, connect)
    try:
        slots = _slots(environ)
        extension = environ.get("ASGI_STREAM_SHUTDOWN_EXTENSION") or "auto"
        if extension not in ("auto", "off"):
            raise ConfigurationError(f"ASGI_STREAM_SHUTDOWN_EXTENSION must be auto or off, not {extension!r}")
        loop = _new_event_loop(environ.get("ASGI_STREAM_LOOP") or "asyncio")
    except ConfigurationError as error:
        log("CRITICAL", str(error))
        asyncio.run(report_init_error(connection, describe(error)))
        return 1
    # Set before the user's module is imported: code there may ask for the event loop.
    asyncio.set_event_loop(loop)
    try:
        try:
            handler = load_handler(arguments[0] if arguments else environ.get("_HANDLER", ""))
        except HandlerLoadError as error:
            if error.__cause__ is None:
                log("ERROR", str(error))
            else:
                log_exception(str(error), error.__cause__)
            loop.run_until_complete(report_init_error(connection, error.report()))
            return 1
        others = [Connection(address, connect) for _ in range((slots or 1) - 1)]
        runtime = Runtime(
            handler,
            connection,
            *others,
            managed_instances=slots is not None,
            extension=Connection(address, connect) if extension == "auto" else None,
            snap_start=environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start",
        )
        return _run(loop, runtime)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def _slots(environ: Mapping[str, str]) -> int | None:
    """How many invocations at once Lambda may send; None where it sends one after another."""
    value = environ.get("AWS_LAMBDA_MAX_CONCURRENCY")
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and int(value)):
        raise ConfigurationError(f"AWS_LAMBDA_MAX_CONCURRENCY must be a number of invocations, not {value!r}")
    return int(value)


def _run(loop: asyncio.AbstractEventLoop, runtime: Runtime) -> int:
    serving = loop.create_task(runtime.run())
    while True:
        try:
            return loop.run_until_complete(serving)
        except (SystemExit, KeyboardInterrupt) as error:
            # Out of a task or callback that the app left behind; what runs in an invocation never comes here.
            log_exception("A task that no invocation waits for wanted to end the process; it goes on", error)
        except asyncio.CancelledError:
            log("CRITICAL", "The runtime ends: something has cancelled all tasks of the process")
            return 1


def _new_event_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        return asyncio.new_event_loop()
    if name != "uvloop":
        raise ConfigurationError(f"ASGI_STREAM_LOOP must be asyncio or uvloop, not {name!r}")
    try:
        import uvloop
    except ImportError as error:
        raise ConfigurationError(
            "ASGI_STREAM_LOOP=uvloop needs uvloop in the package: pip install 'asgi-stream[uvloop]'"
        ) from error
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
