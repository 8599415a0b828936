"""A connection that is closed or reset at every byte of a request and of a reply; on real sockets.

By default the runtime exits at once: it cannot know what Lambda has made of the invocation. On Managed Instances the
invocation is lost and the slot goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.promise import exited, kept, serve, two_events, went_on
from tests.faults.server import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

# The number of the request that is cut, and the kind of event that makes it.
REQUESTS = {
    "poll": (1, "stream"),
    "streamed response": (2, "stream"),
    "buffered": (2, "buffered"),
    "error": (2, "error"),
}
REPLIES = {"event": (1, "stream"), "reply to a response": (2, "stream"), "reply to an error": (2, "error")}


def offsets(size: int, managed: bool) -> Iterator[int]:
    """Every byte by default; with Managed Instances, where the same code reads and writes, each seventh."""
    yield from range(0, size, 7 if managed else 1)


def check(number: int, kind: str, fault: Fault, managed: bool) -> None:
    server = serve(two_events(kind), {number: fault}, managed=managed)
    kept(server)
    if managed:
        went_on(server)
    else:
        exited(server, number)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("managed", [False, True], ids=["default", "managed instances"])
@pytest.mark.parametrize("which", REQUESTS)
def test_a_request_is_cut_at_every_byte(which: str, managed: bool, end: str) -> None:
    number, kind = REQUESTS[which]
    whole = serve(two_events(kind)).requests[number - 1].raw
    for offset in offsets(len(whole), managed):
        check(number, kind, Fault(read=offset, end=end), managed)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("managed", [False, True], ids=["default", "managed instances"])
@pytest.mark.parametrize("which", REPLIES)
def test_a_reply_is_cut_at_every_byte(which: str, managed: bool, end: str) -> None:
    number, kind = REPLIES[which]
    whole = serve(two_events(kind)).replies[number - 1]
    for offset in offsets(len(whole), managed):
        check(number, kind, Fault(said=offset, end=end), managed)
