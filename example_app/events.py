"""A channel of the store as server-sent events: what a listener missed first, then each item when it comes.

On Lambda an open stream is an invocation that runs and is billed, and nobody tells it that its listener has left. So a
stream ends by itself after `EXAMPLE_STREAM_SECONDS`, and the browser comes back with the number of the last item that
it has, as `Last-Event-ID`: no item is lost, and a stream that nobody reads is soon over. Shortly before the function's
deadline asgi-stream closes it, as a client that goes away would, and the browser comes back too.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Query
from fastapi.responses import StreamingResponse

from example_app.store import Store

STREAM_SECONDS = float(os.environ.get("EXAMPLE_STREAM_SECONDS", "30"))
HEARTBEAT_SECONDS = float(os.environ.get("EXAMPLE_HEARTBEAT_SECONDS", "10"))
RETRY_MILLISECONDS = 300


def _last_event_id(
    # A browser sends the header when it reconnects by itself; a script that opens a new stream can only use the query.
    last_event_id: Annotated[int, Header(ge=0, le=2**53)] = 0,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> int:
    return max(last_event_id, after)


LastEventId = Annotated[int, Depends(_last_event_id)]


def event_stream(store: Store, channel: str, after: int, history: float) -> StreamingResponse:
    """The channel from the item after `after` on; if that is 0, from those of the last `history` seconds on."""
    return StreamingResponse(
        _events(store, channel, after, history),
        media_type="text/event-stream",
        headers={"cache-control": "no-store"},
    )


async def _events(store: Store, channel: str, after: int, history: float) -> AsyncIterator[str]:
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    ends = time.monotonic() + STREAM_SECONDS
    if after:
        items = await store.read(channel, after)
    else:
        items = await store.recent(channel)
        after = items[-1].id if items else 0
        items = [item for item in items if item.at > time.time() - history]
    silent_since = time.monotonic()
    while True:
        now = time.monotonic()
        if items:
            after, silent_since = items[-1].id, now
            yield "".join(f"id: {item.id}\ndata: {json.dumps(item.data)}\n\n" for item in items)
        elif now - silent_since >= HEARTBEAT_SECONDS:
            silent_since = now
            yield ": still here\n\n"
        if now >= ends:
            return
        await asyncio.sleep(store.poll)
        items = await store.read(channel, after)
