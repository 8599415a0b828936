"""The deadline: told first, then cancelled, then left to itself; and the next invocation works."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
import time
from typing import Any

import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.runtime import deadline
from asgi_stream.runtime.deadline import BlockWatch, Countdown, where_it_waits
from asgi_stream.sinks import Sink
from tests.support.events import function_url_event
from tests.support.wire import FakeRuntimeApi, Received, serve

pytestmark = pytest.mark.anyio

EVENT = function_url_event()
START: dict[str, Any] = {"type": "http.response.start", "status": 200}
PART: dict[str, Any] = {"type": "http.response.body", "body": b"part", "more_body": True}


def error_of(request: Received) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(base64.b64decode(request.trailers["lambda-runtime-function-error-body"]))
    return error


async def run(app: Any, *, seconds: float = 0.3, **options: Any) -> FakeRuntimeApi:
    """One invocation of ``app`` that has ``seconds``, then one that answers at once."""

    async def first(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/":
            await app(scope, receive, send)
        else:
            await send({**START, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"next"})

    handler = StreamingAdapter(first, lifespan="off", **options)
    due = str(int((time.time() + seconds) * 1000))
    api = await serve(handler, EVENT, function_url_event(path="/next"), Lambda_Runtime_Deadline_Ms=due)
    assert [request.complete for request in api.answers] == [True, True]
    assert b"next" in api.answers[1].body
    return api


async def test_an_event_stream_that_stops_when_told_has_ended_well() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send(PART)
        assert await receive() == {"type": "http.disconnect"}

    api = await run(app)
    assert (api.answers[0].content, api.answers[0].trailers) == (b"part", {})


async def test_an_app_that_only_waits_is_cancelled_and_lambda_is_told_where(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def where_the_time_went() -> None:
        await asyncio.Event().wait()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(PART)
        await where_the_time_went()

    api = await run(app)
    assert api.answers[0].content == b"part"
    error = error_of(api.answers[0])
    assert error["errorType"] == "DeadlineExceeded"
    assert re.fullmatch(r"the invocation was cancelled before its deadline, after 0\.\d{3} s", error["errorMessage"])
    log = capsys.readouterr().err
    assert "it was waiting here:\n" in log
    assert log.index("in app\n") < log.index("in where_the_time_went\n")


async def test_before_the_start_the_client_gets_a_page() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    api = await run(app)
    assert api.answers[0].prelude["statusCode"] == 500
    assert error_of(api.answers[0])["errorType"] == "DeadlineExceeded"


@pytest.mark.parametrize("ends", [True, False])
async def test_an_app_that_swallows_its_cancellation_has_not_ended_well(ends: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if ends:
                await send({"type": "http.response.body", "body": b"all is well"})

    api = await run(app)
    assert error_of(api.answers[0])["errorType"] == "DeadlineExceeded"


async def test_an_app_that_cannot_be_cancelled_is_left_to_itself(capsys: pytest.CaptureFixture[str]) -> None:
    release = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    api = await run(app)
    assert error_of(api.answers[0])["errorType"] == "DeadlineExceeded"
    assert "goes on after it was cancelled; it is left to itself" in capsys.readouterr().err
    release.set()
    await asyncio.sleep(0)


async def test_the_margin_is_a_setting() -> None:
    """With a margin as long as the time given, the app is told at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        assert await receive() == {"type": "http.disconnect"}
        left.append(scope["aws.context"].get_remaining_time_in_millis())

    left: list[int] = []
    api = await run(app, seconds=600, deadline_margin=900)
    assert (api.answers[0].content, api.answers[0].trailers) == (b"", {})
    assert left[0] > 0


async def test_a_promised_length_is_kept_or_the_end_is_not_clean() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({**START, "headers": [(b"content-length", b"100")]})
        await send(PART)
        await receive()

    api = await run(app)
    assert error_of(api.answers[0])["errorType"] == "AppError"


async def test_a_buffered_answer_is_told_too() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send(PART)
        assert await receive() == {"type": "http.disconnect"}

    api = await run(app, invoke_mode="buffered")
    answer = json.loads(api.answers[0].body)
    assert (answer["statusCode"], base64.b64decode(answer["body"])) == (200, b"part")


async def test_code_that_blocks_the_loop_past_its_deadline_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    written = threading.Event()

    def log(level: str, message: str, request_id: str = "") -> None:
        logged.append(f"{level} {request_id} {message}")
        if "blocked" in message:
            written.set()

    monkeypatch.setattr(deadline, "log", log)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert written.wait(60)  # blocks the event loop until the watch has spoken
        await send(START)
        await send({"type": "http.response.body", "body": b"late"})

    await run(app)
    assert logged[0].startswith("ERROR id-1 Code has blocked the event loop past the deadline; it is here:\n")
    assert "assert written.wait(60)" in logged[0]


async def test_an_invocation_in_time_leaves_no_timer() -> None:
    task = asyncio.ensure_future(asyncio.sleep(0))
    countdown = Countdown(task, Sink(), "id", time.time() + 100, None)
    timer = countdown._timer
    assert not timer.cancelled()
    await task
    countdown.stop()
    assert timer.cancelled()


@pytest.mark.parametrize(("given", "margin", "expected"), [(100, None, 1.0), (5, None, 0.5), (100, 3.0, 3.0)])
async def test_the_margin(given: float, margin: float | None, expected: float) -> None:
    loop = asyncio.get_running_loop()
    countdown = Countdown(asyncio.ensure_future(asyncio.sleep(0)), Sink(), "id", time.time() + given, margin)
    told_in = countdown._timer.when() - loop.time()
    assert told_in == pytest.approx(given - expected, abs=0.5)
    countdown.stop()


async def test_a_task_that_has_not_begun() -> None:
    task = asyncio.ensure_future(asyncio.Event().wait())
    assert "in wait" in where_it_waits(task)
    task.cancel()


async def test_one_thread_watches_all_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    both = threading.Event()

    def log(level: str, message: str, request_id: str = "") -> None:
        told.append(request_id)
        if len(told) == 2:
            both.set()

    monkeypatch.setattr(deadline, "log", log)
    watch = BlockWatch()
    threads = threading.active_count()
    watch.add("in years", time.time() + 300_000_000)
    watch.add("removed", time.time() + 0.01)
    watch.remove("removed")
    watch.add("second", time.time() + 0.05)
    watch.add("first", time.time() + 0.02)
    assert threading.active_count() == threads + 1
    assert await asyncio.to_thread(both.wait, 60)
    assert told == ["first", "second"]
