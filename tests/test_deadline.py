"""The deadline: told first, then cancelled, then left to itself; and the next invocation works."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
import time
import traceback
import types
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.runtime import deadline
from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.deadline import BlockWatch, Countdown, where_it_waits
from asgi_stream.runtime.loop import Fatal, Runtime
from asgi_stream.sinks import Sink
from tests.support.clocks import Clocks
from tests.support.events import function_url_event
from tests.support.memory import connects_to
from tests.support.wire import FakeRuntimeApi, Received, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator

pytestmark = pytest.mark.anyio

EVENT = function_url_event()
START: dict[str, Any] = {"type": "http.response.start", "status": 200}
EVENTS: dict[str, Any] = {**START, "headers": [(b"content-type", b"text/event-stream")]}
PART: dict[str, Any] = {"type": "http.response.body", "body": b"part", "more_body": True}


def error_of(request: Received) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(base64.b64decode(request.trailers["lambda-runtime-function-error-body"]))
    return error


# An invocation that is told of its end at once, and cancelled in five minutes: however slow the machine is, the app has
# the time to end by itself.
TOLD_AT_ONCE: dict[str, Any] = {"seconds": 600, "deadline_margin": 900}


async def run(app: Any, *, seconds: float = 1.0, **options: Any) -> FakeRuntimeApi:
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
        await send(EVENTS)
        await send(PART)
        assert await receive() == {"type": "http.disconnect"}

    api = await run(app, **TOLD_AT_ONCE)
    assert (api.answers[0].content, api.answers[0].trailers) == (b"part", {})


async def test_an_app_that_only_waits_is_cancelled_and_lambda_is_told_where(
    capsys: pytest.CaptureFixture[str], time_runs_out: Callable[[], None]
) -> None:
    async def where_the_time_went() -> None:
        asyncio.get_running_loop().call_soon(time_runs_out)
        await asyncio.Event().wait()

    async def body() -> AsyncIterator[bytes]:
        yield b"part"
        await where_the_time_went()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        async for part in body():
            await send({**PART, "body": part})

    api = await run(app, seconds=3600)
    assert api.answers[0].content == b"part"
    error = error_of(api.answers[0])
    assert error["errorType"] == "DeadlineExceeded"
    found = re.match(r"the invocation had (\d{4}\.\d{3}) s, and was cancelled", error["errorMessage"])
    assert found
    assert 3500 < float(found[1]) <= 3600
    (record,) = capsys.readouterr().err.split("\n[")
    assert "\tid-1\tThe invocation is cancelled; it was waiting here\nTraceback" in record
    for told in (record, "".join(error["stackTrace"])):
        places = [told.index(f"in {place}\n") for place in ("app", "body", "where_the_time_went", "wait")]
        assert places == sorted(places)


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
    assert "\tid-1\tThe handler goes on after it was cancelled; it is left to itself" in capsys.readouterr().err
    release.set()
    await asyncio.sleep(0)


async def test_the_margin_is_a_setting() -> None:
    """With a margin as long as the time given, the app is told at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(EVENTS)
        assert await receive() == {"type": "http.disconnect"}
        left.append(scope["aws.context"].get_remaining_time_in_millis())

    left: list[int] = []
    api = await run(app, **TOLD_AT_ONCE)
    assert (api.answers[0].content, api.answers[0].trailers) == (b"", {})
    assert left[0] > 0


async def test_a_promised_length_is_kept_or_the_end_is_not_clean() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({**START, "headers": [(b"content-length", b"100")]})
        await send(PART)
        await receive()

    api = await run(app, **TOLD_AT_ONCE)
    assert error_of(api.answers[0])["errorType"] == "DeadlineExceeded"


async def test_a_buffered_answer_is_told_too() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(EVENTS)
        await send(PART)
        assert await receive() == {"type": "http.disconnect"}

    api = await run(app, invoke_mode="buffered", **TOLD_AT_ONCE)
    answer = json.loads(api.answers[0].body)
    assert (answer["statusCode"], answer["body"]) == (200, "part")


async def test_code_that_blocks_the_loop_past_its_deadline_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    written = threading.Event()

    def log(level: str, message: str, request_id: str = "") -> None:
        logged.append(f"{level} {request_id} {message}")
        if "blocks" in message:
            written.set()

    monkeypatch.setattr(deadline, "log", log)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert written.wait(60)  # blocks the event loop until the watch has spoken
        await send(START)
        await send({"type": "http.response.body", "body": b"late"})

    api = await run(app)
    assert (api.answers[0].content, api.answers[0].trailers) == (b"late", {})
    assert logged[0].startswith(
        "ERROR id-1 Code blocks the event loop, and the invocation's time is over; it is here:\n"
    )
    assert "assert written.wait(60)" in logged[0]


async def test_an_invocation_in_time_leaves_no_timer() -> None:
    task = asyncio.ensure_future(asyncio.sleep(0))
    countdown = Countdown(Sink(), "id", time.time() + 100, None)
    countdown.watch(task)
    timer = countdown._timer
    assert timer is not None
    assert not timer.cancelled()
    await task
    countdown.stop()
    assert timer.cancelled()


async def test_an_invocation_that_has_ended_is_counted_down_no_longer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body"})

    api = FakeRuntimeApi(EVENT, headers={"Lambda-Runtime-Deadline-Ms": str(int((time.time() + 3600) * 1000))})
    runtime = Runtime(StreamingAdapter(app, lifespan="off"), Connection("host:1", connects_to(api)))
    with pytest.raises(Fatal):
        await runtime.serve()
    assert runtime._block_watch._ends == {}
    timers: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert [timer for timer in timers if not timer.cancelled()] == []


@pytest.mark.parametrize(
    ("given", "margin", "expected"), [(100, None, 1.0), (5, None, 0.5), (100, 3.0, 3.0), (100, 300.0, 100.0)]
)
async def test_the_moments(
    given: float,
    margin: float | None,
    expected: float,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[float, Callable[[], None]]],
) -> None:
    """Told when the margin begins, cancelled half-way to the deadline, given up when a quarter is left."""
    clocks = Clocks()
    monkeypatch.setattr(deadline, "time", clocks)
    task = asyncio.ensure_future(asyncio.Event().wait())
    countdown = Countdown(Sink(), "id", clocks.wall + given, margin)
    countdown.watch(task)
    countdown._tell()
    countdown._cancel()
    assert [left for left, _ in steps] == pytest.approx([expected, expected / 2, expected / 4])
    assert countdown.ends == pytest.approx(clocks.counted + given - expected / 4)
    countdown.stop()
    await asyncio.wait((task,))


@pytest.mark.parametrize(
    ("given", "margin", "length", "told", "cancelled"),
    [
        (900, None, 60.0, 60.0, 60.5),
        (900, 4.0, 60.0, 60.0, 62.0),
        (60, None, 900.0, 59.0, 59.5),  # the deadline comes first
        (60, None, 59.5, 59.0, 59.5),
    ],
)
async def test_a_length_begins_the_end_earlier(
    given: float,
    margin: float | None,
    length: float,
    told: float,
    cancelled: float,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[float, Callable[[], None]]],
) -> None:
    """The setting ``disconnect_after``, in seconds after the request."""
    clocks = Clocks()
    monkeypatch.setattr(deadline, "time", clocks)
    task = asyncio.ensure_future(asyncio.Event().wait())
    countdown = Countdown(Sink(), "id", clocks.wall + given, margin, length)
    countdown.watch(task)
    countdown._tell()
    countdown._cancel()
    moments = [countdown._deadline - left - clocks.counted for left, _ in steps]
    assert moments[:2] == pytest.approx([told, cancelled])
    named = "by the setting disconnect_after" in str(countdown.error)
    assert named == (length < given - 1)
    countdown.stop()
    await asyncio.wait((task,))


@pytest.mark.parametrize("is_event_stream", [True, False])
async def test_a_stream_is_closed_after_its_length(is_event_stream: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """An hour before its deadline. The app waits for the disconnect, which has to come by itself."""
    kind = b"text/event-stream" if is_event_stream else b"text/csv"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({**START, "headers": [(b"content-type", kind)]})
        await send(PART)
        assert await receive() == {"type": "http.disconnect"}

    api = await run(app, seconds=3600, disconnect_after=0.05)
    assert api.answers[0].content == b"part"
    if is_event_stream:
        assert api.answers[0].trailers == {}
    else:
        assert error_of(api.answers[0])["errorType"] == "DeadlineExceeded"


async def test_a_task_that_has_not_begun() -> None:
    task = asyncio.ensure_future(asyncio.Event().wait())
    assert [frame.name for frame in traceback.extract_tb(where_it_waits(task))] == ["wait"]
    task.cancel()


async def test_where_a_task_waits() -> None:
    """Through coroutines, generators of both kinds, and what is awaited by hand."""

    class Awaitable:
        def __await__(self) -> Generator[Any, None, None]:
            yield from asyncio.sleep(3600).__await__()

    async def iterates() -> AsyncIterator[int]:
        await Awaitable()
        yield 1

    async def delegates() -> AsyncIterator[int]:
        async for number in iterates():
            yield number

    async def closes() -> None:
        generator = cleans_up()
        await anext(generator)
        await generator.aclose()

    async def cleans_up() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await anext(delegates())

    task = asyncio.ensure_future(closes())
    await asyncio.sleep(0)
    names = [frame.name for frame in traceback.extract_tb(where_it_waits(task))]
    assert names == ["closes", "cleans_up", "delegates", "iterates", "__await__", "sleep"]
    task.cancel()
    await asyncio.wait((task,))
    assert where_it_waits(task) is None


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    told = Told()
    monkeypatch.setattr(deadline, "log", told)
    return told


class Told:
    """What the watch has logged: the request ids."""

    def __init__(self) -> None:
        self.request_ids: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, level: str, message: str, request_id: str = "") -> None:
        with self._changed:
            self.request_ids.append(request_id)
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Blocks the caller until that many have been told of."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.request_ids) >= count, 60)


def test_code_that_blocks_the_loop_may_be_of_any_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch prints frames that `traceback` cannot, here for the loader of their module, and goes on watching."""

    class Loader:
        def get_source(self, name: str) -> str:
            raise SystemExit

    logged: list[str] = []
    monkeypatch.setattr(deadline, "log", lambda level, message, request_id="": logged.append(message))
    space: dict[str, Any] = {"__name__": "odd", "__loader__": Loader(), "report": BlockWatch()._report}
    space["__spec__"] = types.SimpleNamespace(name="odd", loader=Loader())
    exec(compile("def block():\n    report(['id-1'])\n", "/no/such/odd.py", "exec"), space)
    space["block"]()
    assert 'File "/no/such/odd.py", line 2, in block\n' in logged[0]
    assert 'in test_code_that_blocks_the_loop_may_be_of_any_kind\n    space["block"]()' in logged[0]


async def test_one_thread_watches_all_invocations(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = BlockWatch()
    threads = threading.active_count()
    clocks = Clocks()
    monkeypatch.setattr(deadline, "time", clocks)

    def pass_by(seconds: float) -> None:
        with watch._changed:
            clocks.pass_by(seconds)
            watch._changed.notify()

    watch.add("never", clocks.counted + 1e15)
    watch.add("removed", clocks.counted + 10)
    watch.remove("removed")
    watch.add("second", clocks.counted + 100)
    watch.add("first", clocks.counted + 50)
    assert threading.active_count() == threads + 1
    pass_by(60)
    told.wait_for(1)
    pass_by(60)
    told.wait_for(2)
    assert told.request_ids == ["first", "second"]


async def test_a_loop_that_answers_does_not_block(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of an invocation that came too late, or that a frozen process has slept through, accuses nobody."""
    monkeypatch.setattr(deadline, "PATIENCE", 60.0)
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    monkeypatch.setattr(loop, "call_soon_threadsafe", asking(loop.call_soon_threadsafe, asked))
    watch = BlockWatch()
    watch.add("late", time.monotonic() - 1)
    await asked.wait()
    monkeypatch.setattr(deadline, "PATIENCE", 0.0)
    watch.add("blocks", time.monotonic() - 1)
    told.wait_for(1)
    assert told.request_ids == ["blocks"]


def asking(call_soon: Any, asked: asyncio.Event) -> Any:
    def call_soon_threadsafe(callback: Any) -> None:
        call_soon(callback)
        call_soon(asked.set)

    return call_soon_threadsafe


def test_the_watch_ends_with_its_loop(told: Told) -> None:
    async def begin() -> BlockWatch:
        watch = BlockWatch()
        watch.add("never", time.monotonic() + 1e15)
        return watch

    watch = asyncio.run(begin())
    assert watch._thread is not None
    watch.add("now", time.monotonic())
    watch._thread.join()
    assert told.request_ids == []


async def test_a_countdown_leaves_a_task_that_has_ended_alone(capsys: pytest.CaptureFixture[str]) -> None:
    task = asyncio.ensure_future(asyncio.sleep(0))
    await task
    countdown = Countdown(Sink(), "id", time.time() + 100, None)
    countdown.watch(task)
    countdown._cancel()
    assert countdown.error is None
    assert capsys.readouterr().err == ""
    countdown.stop()


async def test_a_deadline_that_never_comes() -> None:
    """As emulators give it: the largest number that there is."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b"whole"})

    api = await run(app, seconds=2**63 / 1000 - time.time())
    assert (api.answers[0].content, api.answers[0].trailers) == (b"whole", {})


async def test_a_deadline_that_has_passed_already() -> None:
    """There is no time to do anything in, and still the invocation ends as one that had too little."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    api = await run(app, seconds=-5)
    assert error_of(api.answers[0])["errorMessage"].startswith("the invocation had 0.000 s")


async def test_work_after_the_end_of_the_response_is_cancelled_too(capsys: pytest.CaptureFixture[str]) -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"whole"})
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    api = await run(app)
    assert ended == ["cancelled"]
    assert (api.answers[0].content, api.answers[0].trailers) == (b"whole", {})
    assert "\tid-1\tThe invocation is cancelled; it was waiting here\n" in capsys.readouterr().err
