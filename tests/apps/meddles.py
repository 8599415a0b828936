"""A function that puts its own things in the place of what the runtime uses too: what, and when, is in variables."""

from __future__ import annotations

import asyncio
import json
import os
import types
from typing import TYPE_CHECKING, Any, NoReturn

from asgi_stream import StreamingAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def without_a_context(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task factory as they were before Python 3.11."""
    return asyncio.Task(work, loop=loop)


def exits(*_: object, **__: object) -> NoReturn:
    raise SystemExit(3)


def other_json() -> None:
    """As orjson's ``dumps``: of one argument, and it returns bytes."""
    dumps = json.dumps
    json.dumps = lambda value: dumps(value).encode()  # type: ignore[assignment,misc]


def other_environment() -> None:
    setattr(os, "environ", types.MappingProxyType(dict(os.environ)))  # noqa: B010 - it is read-only


def set_task_factory(factory: Any) -> None:
    asyncio.get_event_loop().set_task_factory(factory)


WHAT: dict[str, Callable[[], None]] = {
    "a task factory without a context": lambda: set_task_factory(without_a_context),
    "a task factory that exits": lambda: set_task_factory(exits),
    "json": other_json,
    "environ": other_environment,
}
what = WHAT[os.environ["WHAT"]]
when = os.environ["WHEN"]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        if when == "startup":
            what()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shutdown", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    if when == "an invocation":
        what()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"some", "more_body": True})
    if scope["path"] == "/fails":
        raise ValueError
    await send({"type": "http.response.body"})


handler = StreamingAdapter(app)


def function(event: Any, context: Any) -> Any:
    return handler(event, context)


if when in ("import", "an import that fails"):
    what()
if when == "an import that fails":
    raise ValueError
