"""The program that Lambda starts: finds the handler, runs the invocation loop, exits with a code that says how it went.

Called by the shell script ``bootstrap``, which finds a Python, through ``_start.py``, which puts this package on the
path. Lambda's environment variables are read here and nowhere deeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from asgi_stream.errors import ConfigurationError
from asgi_stream.foreign import get, text
from asgi_stream.runtime import logs
from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.loader import HandlerLoadError, load_handler
from asgi_stream.runtime.logs import log, log_exception
from asgi_stream.runtime.loop import GRACE, Runtime, report_init_error
from asgi_stream.runtime.reports import describe
from asgi_stream.runtime.streams import connector, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from asgi_stream.runtime.loop import Handler

__all__ = ["leave", "main"]


def main(
    arguments: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    started: Callable[[], object] | None = None,
) -> int:
    """Serves invocations until the end of the execution environment; returns the exit code.

    ``arguments`` may name the handler, as the command of a container image does; ``_HANDLER`` is used without it.
    ``started`` is called once the handler has started, in each worker.
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
    if any(name.startswith("AWS_LWA_") for name in environ):
        from asgi_stream.runtime.migration import log_replacements

        log_replacements(environ)
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
    with _current(loop):
        try:
            handler = load_handler(arguments[0] if arguments else environ.get("_HANDLER", ""))
        except HandlerLoadError as error:
            if error.__cause__ is None:
                log("ERROR", str(error))
            else:
                log_exception(str(error), error.__cause__)
            # Not by the loop: the module may have set a task factory.
            loop.run_until_complete(asyncio.Task(report_init_error(connection, error.report()), loop=loop))
            return 1
        workers = _workers(handler, slots)
        if workers == 1:
            others = [Connection(address, connect) for _ in range((slots or 1) - 1)]
            runtime = Runtime(
                handler,
                connection,
                *others,
                managed_instances=slots is not None,
                extension=Connection(address, connect) if extension == "auto" else None,
                snap_start=environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start",
                started=started,
            )
            return _run(loop, runtime)
    # Behind the block: that loop is closed, as its descriptors would be those of every worker.
    from asgi_stream.runtime.workers import Workers, register, share

    me = Workers(share(slots or 1, workers), register(address) if extension == "auto" else None).run()
    if isinstance(me, int):
        return me
    with _current(loop := _new_event_loop(environ.get("ASGI_STREAM_LOOP") or "asyncio")):
        me.listen(loop)
        connections = [Connection(address, connect) for _ in range(me.slots)]
        return me.exit_code(_run(loop, Runtime(handler, *connections, managed_instances=True, started=started)))


@contextlib.contextmanager
def _current(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Sets the event loop, since users' modules may ask for it when they are imported, and closes it in the end."""
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        # Not longer than that: a generator of the app's may wait for ever in its end.
        ending = asyncio.Task(loop.shutdown_asyncgens(), loop=loop)
        loop.run_until_complete(asyncio.Task(asyncio.wait((ending,), timeout=GRACE), loop=loop))
        asyncio.set_event_loop(None)
        loop.close()


def _workers(handler: Handler, slots: int | None) -> int:
    """How many processes are to share the slots; elsewhere than on Managed Instances it is one."""
    workers = get(handler, "workers", 1)
    if type(workers) is not int or workers < 1:
        workers = 1
    if workers > 1 and slots is None:
        log(
            "INFO",
            f"workers={workers} is for Lambda Managed Instances; here one process serves one invocation at a time",
        )
    return min(workers, slots or 1)


def _slots(environ: Mapping[str, str]) -> int | None:
    """How many invocations at once Lambda may send; None where it sends one after another."""
    value = environ.get("AWS_LAMBDA_MAX_CONCURRENCY")
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and int(value)):
        raise ConfigurationError(f"AWS_LAMBDA_MAX_CONCURRENCY must be a number of invocations, not {value!r}")
    return int(value)


def _run(loop: asyncio.AbstractEventLoop, runtime: Runtime) -> int:
    serving = asyncio.Task(runtime.run(), loop=loop)  # not by the loop: the app may have set a task factory
    while True:
        try:
            return loop.run_until_complete(serving)
        except RuntimeError:
            if serving.done() or loop.is_closed():
                raise
            log("ERROR", "The app has stopped the event loop; it goes on")
        except (SystemExit, KeyboardInterrupt) as error:
            # Out of a task or callback that the app left behind; what runs in an invocation never comes here.
            log_exception("A task that no invocation waits for wanted to end the process; it goes on", error)
        except asyncio.CancelledError:
            log("CRITICAL", "The runtime ends: something has cancelled all tasks of the process")
            return 1


def leave(code: int) -> NoReturn:
    """Ends the process. Python waits for threads that are no daemons; they get a moment, and cannot hold up the end."""
    threads = [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and get(thread, "daemon") is not True
    ]
    if threads:
        threading.Thread(target=_end_without, args=(threads, code), daemon=True).start()
    sys.exit(code)


def _end_without(threads: Sequence[threading.Thread], code: int) -> None:
    end = time.monotonic() + GRACE
    # The methods of the base class: an app's own `join` may take no timeout.
    for thread in threads:
        threading.Thread.join(thread, max(0.0, end - time.monotonic()))
    left = [text(get(thread, "name")) for thread in threads if threading.Thread.is_alive(thread)]
    if left:
        log("WARNING", f"The process ends, and these threads of the app with it: {', '.join(left)}")
        logs.flush()
        os._exit(code)


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
