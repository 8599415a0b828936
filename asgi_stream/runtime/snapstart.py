"""SnapStart: one start-up, a snapshot of it, and any number of environments that are restored from it.

The app's startup is in the snapshot. Then the hooks before the snapshot run, in reverse order of registration, and
``GET /restore/next`` says that the snapshot may be taken; its reply is the first thing that a restored environment
hears. After it come new randomness, the hooks after the restore, in order of registration, and the invocation loop. The
order, and that the first hook to fail ends the process, are AWS's.

Hooks are registered by the PyPI package ``snapshot-restore-py``, which AWS's managed runtimes have. It is never
imported here: where the app has not imported it, there are no hooks. Two things go beyond AWS's own runtime: a hook may
be a coroutine function, and hooks see, and may set, the context variables of the app's startup, which invocations see.

Source: "Lambda SnapStart runtime hooks for Python" and "Handling uniqueness with Lambda SnapStart" in AWS's Lambda
Developer Guide.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from typing import TYPE_CHECKING, Any

from asgi_stream.foreign import get
from asgi_stream.runtime.connection import ConnectionLost
from asgi_stream.runtime.http11 import ProtocolError
from asgi_stream.runtime.logs import flush, log, log_exception
from asgi_stream.runtime.reports import describe
from asgi_stream.runtime.requests import init_error, restore_error, restore_next

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Coroutine

    from asgi_stream.runtime.connection import Connection
    from asgi_stream.runtime.requests import Request

__all__ = ["AfterRestoreError", "BeforeSnapshotError", "SnapStartError", "snapshot_and_restore"]

HOOKS = "snapshot_restore_py"


class SnapStartError(Exception):
    """Raised, logged and reported, when the process has to end with ``exit_code``; the cause is what went wrong."""

    exit_code = 1


class BeforeSnapshotError(SnapStartError):
    """Raised when a hook before the snapshot fails, or Lambda does not take the snapshot."""

    exit_code = 64


class AfterRestoreError(SnapStartError):
    """Raised when a hook after the restore fails."""

    exit_code = 65


async def snapshot_and_restore(connection: Connection, variables: contextvars.Context) -> None:
    """Returns in a restored environment, ready for the first ``/next``. Raises SnapStartError.

    ``variables`` are the context variables in which the app's hooks run. ``connection`` is closed when this returns.
    """
    error = await _attempt(_before_snapshot(), variables)
    if error is None:
        error = await _wait_for_restore(connection)
    if error is not None:
        log_exception("The function could not be made ready for its snapshot", error)
        report = describe(error)._replace(kind="Runtime.BeforeSnapshotError")
        await _report(connection, init_error(report))
        raise BeforeSnapshotError from error
    error = await _attempt(_after_restore(), variables)
    if error is not None:
        log_exception("The function could not be made ready after its restore", error)
        report = describe(error)._replace(kind="Runtime.AfterRestoreError")
        await _report(connection, restore_error(report))
        raise AfterRestoreError from error


async def _attempt(hooks: Coroutine[Any, Any, None], variables: contextvars.Context) -> BaseException | None:
    """Runs hooks in a task of their own; returns what they raise, SystemExit too, which would end the event loop."""

    async def run() -> BaseException | None:
        try:
            await hooks
        except BaseException as error:
            return error
        return None

    # Not by the loop: the app may have set a task factory.
    return await asyncio.Task(run(), loop=asyncio.get_running_loop(), context=variables)


async def _before_snapshot() -> None:
    if (module := sys.modules.get(HOOKS)) is not None:
        registered = module.get_before_snapshot()
        # Taken off, as AWS's own runtime does; a hook that registers another sees it run.
        while registered:
            await _call(*registered.pop())


async def _after_restore() -> None:
    _renew_randomness()
    if (module := sys.modules.get(HOOKS)) is not None:
        for hook in module.get_after_restore():
            await _call(*hook)


async def _call(function: Any, arguments: Any, keywords: Any) -> None:
    result = function(*arguments, **keywords)
    if inspect.isawaitable(result):
        await result


async def _wait_for_restore(connection: Connection) -> Exception | None:
    # What a buffer holds would be written once by every environment that is restored.
    flush()
    # The snapshot is taken while this request is open: both of its ends are inside. No other connection is, of ours.
    connection.close()
    try:
        reply = await connection.request(restore_next())
    except ConnectionLost as error:
        return error
    finally:
        connection.close()
    if reply.status != 200:
        return ProtocolError(f"no restore: status {reply.status}, {reply.body[:500]!r}")
    return None


def _renew_randomness() -> None:
    """Lets the generators of this process go on differently in each environment.

    What asks the kernel each time (``os.urandom``, ``secrets``, ``uuid.uuid4``, ``random.SystemRandom``) needs no help.
    A module that is imported later takes its seed then. The app may have a module of its own under that name.
    """
    if callable(seed := get(sys.modules.get("random"), "seed")):
        seed()
    # OpenSSL's own generator, which TLS takes its keys from, was seeded before the snapshot.
    if callable(add := get(sys.modules.get("ssl"), "RAND_add")):
        add(os.urandom(48), 48.0)


async def _report(connection: Connection, request: Request) -> None:
    try:
        await connection.request(request)
    except ConnectionLost as lost:
        log("CRITICAL", f"The error could not be reported: {lost}")
    finally:
        connection.close()
