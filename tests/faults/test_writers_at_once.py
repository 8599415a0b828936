"""Apps whose tasks send at once, on a connection that breaks under them: each ends at once, and the runtime goes on.

Nothing here waits for time to pass: a deadline in the far future is the bound of what hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asgi_stream import StreamingAdapter
from tests.apps.faults import START, last, part
from tests.faults.promise import TOKENS, exited, kept, serve, two_events, went_on
from tests.faults.server import LIMIT, Fault, reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Send = Callable[[dict[str, Any]], Awaitable[None]]

# The sockets of this machine keep less than that.
READ = 200_000
TOO_LARGE = reply(413, b"ResponseTooLarge")

# How the server ends the first response, and whether the runtime exits after it by default.
FAULTS = {
    "closes": (Fault(read=READ, say=b"", end="close"), True),
    "resets": (Fault(read=READ, say=b"", end="reset"), True),
    "refuses": (Fault(read=READ, say=TOO_LARGE, end="wait"), False),
    "refuses byte by byte": (Fault(read=READ, say=TOO_LARGE, piece=1, end="wait"), False),
    "refuses and closes": (Fault(read=READ, say=TOO_LARGE, end="close"), False),
    "a part of a reply, and closes": (Fault(read=READ, say=TOO_LARGE[:30], end="close"), True),
    "no HTTP": (Fault(read=READ, say=b"garbage\r\n\r\n", end="wait"), True),
}


async def send_for_ever(send: Send, size: int = 3_000) -> None:
    while True:
        await send(part(b"x" * size))


async def task_group(send: Send) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(send_for_ever(send))


async def task_group_of_anyio(send: Send) -> None:
    async with anyio.create_task_group() as group:
        for size in (3_000, 100, 300_000):
            group.start_soon(send_for_ever, send, size)


async def gather(send: Send) -> None:
    """The first error is raised, and the other tasks are left to themselves."""
    await asyncio.gather(*(send_for_ever(send) for _ in range(5)))


async def waits_for_all(send: Send) -> None:
    errors = await asyncio.gather(*(send_for_ever(send) for _ in range(20)), return_exceptions=True)
    assert len(set(errors)) == 1
    assert isinstance(errors[0], OSError)


async def with_time_limits(send: Send) -> None:
    """Each is cancelled again and again while it waits, and tries again."""

    async def impatient() -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.001):
                    await send_for_ever(send)

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(impatient())


async def cancels_the_other(send: Send) -> None:
    """One task ends, and takes along another that waits."""
    waiting = asyncio.create_task(send_for_ever(send))
    try:
        await send_for_ever(send, 65_536)
    finally:
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await waiting


APPS: list[Callable[[Send], Awaitable[None]]] = [
    task_group,
    task_group_of_anyio,
    gather,
    waits_for_all,
    with_time_limits,
    cancels_the_other,
]


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("mode", ["default", "managed instances", "share_writes"])
@pytest.mark.parametrize("write", APPS, ids=lambda app: app.__name__)
def test_tasks_that_send_at_once(
    write: Callable[[Send], Awaitable[None]], mode: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        if scope["path"] == f"/{TOKENS[0]}":
            try:
                await write(send)
            finally:
                ended.append(scope["path"])
        await send(last(scope["path"].encode()))

    fault, exits = FAULTS[name]
    managed = mode == "managed instances"
    handler = StreamingAdapter(app, lifespan="off", share_writes=mode == "share_writes")
    deadline = {"Lambda-Runtime-Deadline-Ms": str(int((time.time() + LIMIT) * 1_000))}
    server = serve(two_events(), {2: fault}, managed=managed, handler=handler, headers=deadline)
    log = capsys.readouterr().err
    assert "DeadlineExceeded" not in log
    assert "never retrieved" not in log
    assert ended
    kept(server)
    if exits and not managed:
        exited(server, 2)
    else:
        went_on(server)
