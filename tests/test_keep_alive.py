"""Comments in event streams that are idle: between events only, and never into other bodies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.keep_alive import COMMENT, KeepAlive
from tests.support.events import function_url_event
from tests.support.wire import FakeRuntimeApi, serve

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

SECONDS = 0.01
EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Any]:
    """Waits until the stream has been looked at so many times more."""
    count = 0
    changed = asyncio.Condition()
    wake = KeepAlive._wake

    def counted(self: KeepAlive) -> None:
        nonlocal count
        count += 1
        wake(self)
        tasks.append(asyncio.ensure_future(tell()))

    async def tell() -> None:
        async with changed:
            changed.notify_all()

    async def more(number: int) -> None:
        until = count + number
        async with changed:
            await changed.wait_for(lambda: count >= until)

    tasks: list[asyncio.Future[None]] = []
    monkeypatch.setattr(KeepAlive, "_wake", counted)
    return more


async def run(
    app: Callable[[Any, FakeRuntimeApi], Any],
    *headers: tuple[bytes, bytes],
    status: int = 200,
    event: Any = None,
    **options: Any,
) -> FakeRuntimeApi:
    api = FakeRuntimeApi(event or function_url_event())

    async def whole(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})

        async def body(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        await app(body, api)
        await send({"type": "http.response.body"})

    options = {"event_stream_keep_alive": SECONDS, **options}
    await serve(StreamingAdapter(whole, lifespan="off", **options), api=api)
    return api


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\n\r\n"])
@pytest.mark.parametrize("share_writes", [False, True])
async def test_an_idle_stream_gets_comments_between_events(
    end: bytes, share_writes: bool, looks: Callable[[int], Any]
) -> None:
    async def app(body: Any, api: FakeRuntimeApi) -> None:
        await looks(1)  # before the first event
        await body(b"data: 1" + end)
        await looks(2)
        await body(b"data: 2" + end)

    api = await run(app, EVENT_STREAM, share_writes=share_writes)
    chunks = api.answers[0].chunks[1:]
    assert set(chunks) == {COMMENT, b"data: 1" + end, b"data: 2" + end}
    assert chunks[0] == COMMENT
    assert chunks[chunks.index(b"data: 1" + end) + 1] == COMMENT
    assert b"".join(chunk for chunk in chunks if chunk != COMMENT) == b"data: 1" + end + b"data: 2" + end


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: 1\n", b"data: 2\n\n"],
        [b"data: 1", b"\n", b"\n"],
        [b"data: 1\r\n\r", b"\n"],
        [b"data: 1\r\r", b"\n\n"],
        [b":", b"\n\n"],
    ],
)
async def test_never_inside_an_event(pieces: list[bytes], looks: Callable[[int], Any]) -> None:
    async def app(body: Any, api: FakeRuntimeApi) -> None:
        for piece in pieces[:-1]:
            await body(piece)
            await looks(3)
        assert api.answers[0].chunks[-len(pieces) + 1 :] == pieces[:-1]
        assert COMMENT not in api.answers[0].chunks
        await body(pieces[-1])
        await looks(2)

    api = await run(app, EVENT_STREAM)
    assert COMMENT in api.answers[0].chunks


async def test_a_stream_that_is_not_idle_gets_none(looks: Callable[[int], Any]) -> None:
    async def app(body: Any, api: FakeRuntimeApi) -> None:
        for number in range(50):
            await body(b"data: %d\n\n" % number)
            await asyncio.sleep(0)

    api = await run(app, EVENT_STREAM, event_stream_keep_alive=60)
    assert COMMENT not in api.answers[0].chunks


async def test_empty_messages_send_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream whose app sends nothing but these is idle to API Gateway."""
    woken: list[asyncio.Future[None]] = []
    wake = KeepAlive._wake

    def once(self: KeepAlive) -> None:
        wake(self)
        for waiter in woken:
            waiter.set_result(None)
        woken.clear()

    monkeypatch.setattr(KeepAlive, "_wake", once)

    async def app(body: Any, api: FakeRuntimeApi) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        with monkeypatch.context() as patch:
            patch.setattr(loop, "time", lambda: now)
            await body(b"data: 1\n\n")
            now += 59
            await body(b"")
            now += 1
            woken.append(loop.create_future())
            await woken[0]

    api = await run(app, EVENT_STREAM, event_stream_keep_alive=60)
    assert api.answers[0].content == b"data: 1\n\n" + COMMENT


@pytest.mark.parametrize(
    ("headers", "status", "method"),
    [
        ([(b"content-type", b"text/plain")], 200, "GET"),
        ([], 200, "GET"),
        ([EVENT_STREAM, (b"content-encoding", b"gzip")], 200, "GET"),
        ([EVENT_STREAM, (b"Content-Encoding", b"br")], 200, "GET"),
        ([EVENT_STREAM, (b"content-length", b"9")], 200, "GET"),
        ([EVENT_STREAM], 500, "GET"),
        ([EVENT_STREAM], 200, "HEAD"),
    ],
)
async def test_other_bodies_are_left_alone(
    headers: list[tuple[bytes, bytes]], status: int, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken = []
    monkeypatch.setattr(KeepAlive, "_wake", lambda self: woken.append(1))

    async def app(body: Any, api: FakeRuntimeApi) -> None:
        loop = asyncio.get_running_loop()
        later = loop.create_future()
        loop.call_later(3 * SECONDS, later.set_result, None)
        await body(b"data: 1\n\n")
        await later

    await run(app, *headers, status=status, event=function_url_event(method))
    assert not woken


async def test_nothing_comes_after_the_end(looks: Callable[[int], Any]) -> None:
    async def app(body: Any, api: FakeRuntimeApi) -> None:
        await looks(1)

    api = await run(app, EVENT_STREAM)
    assert api.answers[0].content == COMMENT
    assert (api.answers[0].complete, api.answers[0].trailers) == (True, {})


async def test_a_failure_ends_it(looks: Callable[[int], Any]) -> None:
    async def app(body: Any, api: FakeRuntimeApi) -> None:
        await looks(1)
        raise ValueError("boom")

    api = await run(app, EVENT_STREAM)
    assert api.answers[0].content == COMMENT
    assert api.answers[0].trailers["lambda-runtime-function-error-type"] == "Function.ValueError"
