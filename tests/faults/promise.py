"""Runs the real runtime against a server, and checks what has to hold whatever the server does."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, NamedTuple

from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.loop import MOST_FAILURES, Runtime
from asgi_stream.runtime.streams import connector
from tests.apps.faults import echoes
from tests.faults.server import Fault, Server, event_for, open_descriptors
from tests.support.wire import API

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asgi_stream.sinks import Handler

# No token is a part of another, of an id or of a header.
TOKENS = ("token-alpha", "token-beta", "token-gamma")


class Facts(NamedTuple):
    """What a process holds: all of it is the same at each open poll, and at the end what it was at the beginning."""

    tasks: int
    threads: int
    descriptors: int


def facts(loop: asyncio.AbstractEventLoop | None = None) -> Facts:
    tasks = 0 if loop is None else len(asyncio.all_tasks(loop))
    threads = sum(thread.name != "asgi-stream-deadline" for thread in threading.enumerate())
    return Facts(tasks, threads, open_descriptors())


def serve(
    events: Sequence[bytes],
    faults: Mapping[int, Fault] | None = None,
    *,
    managed: bool = False,
    handler: Handler = echoes,
    ids: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
) -> Server:
    """One life of a runtime: from its start to the exit, which is by code 1, for the server's last word is a 403."""
    before = facts()
    loop = asyncio.new_event_loop()
    with Server(events, faults, ids=ids, headers=headers, at_poll=lambda: facts(loop)) as server:
        connection = Connection(server.address, connector(server.host, server.port))
        try:
            assert loop.run_until_complete(Runtime(handler, connection, managed_instances=managed).run()) == 1
            assert asyncio.all_tasks(loop) == set()
        finally:
            loop.close()
    assert facts() == before
    assert len(set(server.at_polls)) <= 1, server.at_polls
    return server


def kept(server: Server, tokens: Sequence[str] = TOKENS) -> None:
    """The promise: one end for each invocation, with its own token, before the next is asked for; no spinning."""
    taken = 0
    request_id = None
    polls_in_a_row = 0
    for number, request in enumerate(server.requests):
        if request_id is None:
            assert request.target in ("", f"{API}/invocation/next")
            polls_in_a_row += 1
            assert polls_in_a_row <= MOST_FAILURES + 2
            request_id = server.handed_out.get(number)
            continue
        assert not request.target or request.target.startswith(f"{API}/invocation/{request_id}/")
        assert not any(other.encode() in request.raw for other in tokens if other != tokens[taken])
        if request.complete:
            assert tokens[taken].encode() in request.body
        taken += 1
        request_id = None
        polls_in_a_row = 0


def went_on(server: Server, count: int = 2) -> None:
    """All events were handed out, and what came after the first is answered well."""
    assert len(server.handed_out) == count
    answers = [request for request in server.requests if request.kind in ("response", "error") and request.complete]
    assert all(answer.trailers == {} for answer in answers[1 - count :])
    assert {answer.target.split("/")[-2] for answer in answers} >= set(server.handed_out.values()) - {"id-1"}
    assert server.requests[-1].target == f"{API}/invocation/next"


def exited(server: Server, requests: int) -> None:
    """At once: that many requests, and no more."""
    assert len(server.requests) == requests


def two_events(kind: str = "stream", first: str = "") -> list[bytes]:
    return [event_for(kind, first + TOKENS[0]), event_for("stream", TOKENS[1])]
