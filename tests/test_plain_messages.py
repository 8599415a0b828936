"""The short way that nearly every body message takes gives what the long way gives."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from asgi_stream.asgi.cycle import HttpCycle
from asgi_stream.asgi.response import Body, ResponseMachine
from asgi_stream.errors import AppError, StreamClosed
from tests.support.values import fields

pytestmark = pytest.mark.anyio

BODY = "http.response.body"
FIRST = {"type": BODY, "body": b"x", "more_body": True}
PLAIN: dict[str, Any] = {"type": BODY, "body": b"data", "more_body": True}
MESSAGES: list[Any] = [
    PLAIN,
    {**PLAIN, "body": b""},
    {**PLAIN, "more_body": False},
    {**PLAIN, "body": bytearray(b"data")},
    {**PLAIN, "body": memoryview(b"data")},
    {**PLAIN, "body": "text"},
    {"type": BODY, "more_body": True},
    {"type": BODY, "body": b"data"},
    {"type": "http.response.start", "status": 200},
    {"type": "http.response.pathsend", "path": "/"},
    {"type": "http.response.trailers", "body": b"data", "more_body": True},
    {},
    None,
    [],
]


def machine(method: str = "GET", status: int = 200, headers: Any = (), *sent: Any) -> ResponseMachine:
    made = ResponseMachine(method)
    made.accept({"type": "http.response.start", "status": status, "headers": headers})
    for message in sent:
        made.accept(message)
    return made


class Keeps:
    """A responder that keeps what it is given."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    async def start(self, status: int, headers: Any) -> None:
        pass

    def put(self, data: Any) -> None:
        self.data.append(bytes(data))

    async def write(self, data: Any) -> None:
        self.put(data)

    async def end(self, data: Any) -> None:
        self.put(data)

    async def send_file(self, path: str, length: int | None) -> None:
        raise NotImplementedError

    def cut_short(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(("number", "message"), list(enumerate(MESSAGES)))
async def test_what_goes_the_short_way_changes_nothing_on_the_long_one(
    number: int, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    responder = Keeps()
    cycle = HttpCycle("GET", b"", responder)
    twin = machine("GET", 200, (), FIRST)
    state = twin.state
    await cycle.send({"type": "http.response.start", "status": 200})
    await cycle.send(FIRST)

    went_the_long_way: list[Any] = []
    accept = ResponseMachine.accept

    def noted(self: ResponseMachine, message: Any) -> Any:
        went_the_long_way.append(message)
        return accept(self, message)

    monkeypatch.setattr(ResponseMachine, "accept", noted)
    with contextlib.suppress(AppError):
        await cycle.send(message)

    assert bool(went_the_long_way) == (number >= 2)
    if not went_the_long_way:
        assert fields(accept(twin, message)) == fields(Body(responder.data[-1], False))
        assert twin.state is state
        assert twin.flows


@pytest.mark.parametrize(
    "other",
    [
        ResponseMachine("GET"),
        machine(),  # its first message changes the state
        machine("GET", 200, [(b"content-length", b"10")], FIRST),
        machine("HEAD", 200, (), FIRST),
        machine("GET", 304, (), {**FIRST, "body": b""}),
        machine("GET", 200, (), FIRST, {"type": BODY}),
    ],
)
def test_where_every_message_goes_the_long_way(other: ResponseMachine) -> None:
    assert not other.flows


class Breaks:
    """A responder whose peer is gone after the first message."""

    def __init__(self) -> None:
        self.written = 0
        self.ended = False

    async def start(self, status: int, headers: Any) -> None:
        pass

    def put(self, data: Any) -> None:
        self.written += 1
        if self.written > 1:
            raise StreamClosed("gone")

    async def write(self, data: Any) -> None:
        self.put(data)

    async def end(self, data: Any) -> None:
        self.ended = True

    async def send_file(self, path: str, length: int | None) -> None:
        raise NotImplementedError

    def cut_short(self) -> None:
        raise NotImplementedError


async def test_a_failure_that_the_app_swallows_is_not_forgotten() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        for _ in range(3):
            with contextlib.suppress(OSError):
                await send(PLAIN)
        await send({"type": BODY})

    responder = Breaks()
    with pytest.raises(StreamClosed, match="gone"):
        await HttpCycle("GET", b"", responder).run(app, {})
    assert not responder.ended
