"""Streams at their deadline: an event stream that answers a GET is closed well, everything else has to be complete."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream import AppError, StreamClosed, StreamingAdapter
from asgi_stream.asgi.cycle import HttpCycle
from asgi_stream.errors import stems_from
from tests.support.events import function_url_event
from tests.support.wire import FakeRuntimeApi, Received, serve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Headers = list[tuple[bytes, bytes]]
    App = Callable[[Any, Any, Any], Awaitable[None]]

pytestmark = pytest.mark.anyio

EVENTS: Headers = [(b"content-type", b"text/event-stream")]
CSV: Headers = [(b"content-type", b"text/csv")]
CLOSED = "\tid-1\tAn event stream was closed shortly before its invocation's deadline; its client opens it again\n"


def start(headers: Headers = EVENTS, status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def part(body: bytes = b"data: 1\n\n") -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def last(body: bytes = b"") -> dict[str, Any]:
    return {"type": "http.response.body", "body": body}


class Deadline:
    """The countdown of the invocation that runs, in the hands of the app."""

    def __init__(self, steps: list[tuple[float, Callable[[], None]]]) -> None:
        self._steps = steps

    async def comes(self) -> None:
        """The next step is taken while the app waits: the disconnect, the cancellation, the giving up."""
        taken = asyncio.get_running_loop().create_future()

        def take() -> None:
            self.comes_now()
            taken.set_result(None)

        asyncio.get_running_loop().call_soon(take)
        await taken

    def comes_now(self) -> None:
        self._steps[-1][1]()

    def comes_soon(self) -> None:
        """At the event loop's next turn."""
        asyncio.get_running_loop().call_soon(self.comes_now)


@pytest.fixture
def deadline(steps: list[tuple[float, Callable[[], None]]]) -> Deadline:
    return Deadline(steps)


class Outcome:
    """How one invocation has ended."""

    def __init__(self, answer: Received, log: str) -> None:
        self.answer = answer
        self.log = log
        self.is_info = log.startswith("[INFO]") and log.count("\n") == 1 and log.endswith(CLOSED)

    @property
    def content(self) -> bytes:
        return self.answer.content

    @property
    def error_type(self) -> str | None:
        body = self.answer.trailers.get("lambda-runtime-function-error-body")
        return None if body is None else json.loads(base64.b64decode(body))["errorType"]


class SlowReader(FakeRuntimeApi):
    """Takes ``capacity`` bytes from the moment of the first body message, then nothing until :meth:`read_on`."""

    def stop_reading(self, capacity: int = 10) -> None:
        self._capacity = capacity

    def read_on(self) -> None:
        self.take(1_000_000)


Run = Any  # a function (app, method="GET", api=None, **options)


@pytest.fixture
def run(deadline: Deadline, capsys: pytest.CaptureFixture[str]) -> Run:
    async def run(app: App, method: str = "GET", api: FakeRuntimeApi | None = None, **options: Any) -> Outcome:
        """One invocation of ``app`` with an hour's time, then one that answers at once."""

        async def first(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/":
                await app(scope, receive, send)
            else:
                await send(start(CSV))
                await send(last(b"next"))

        headers = {"Lambda-Runtime-Deadline-Ms": str(int((time.time() + 3600) * 1000))}
        events = [
            json.dumps(event).encode() for event in (function_url_event(method), function_url_event(path="/next"))
        ]
        if api is None:
            api = FakeRuntimeApi()
        api._events.extend(events)
        api._headers = headers
        await serve(StreamingAdapter(first, lifespan="off", **options), api=api)
        assert [answer.complete for answer in api.answers] == [True, True]
        assert b"next" in api.answers[1].body
        return Outcome(api.answers[0], capsys.readouterr().err)

    return run


# What counts as a success


def waits_for_the_disconnect(deadline: Deadline, head: dict[str, Any], *parts: dict[str, Any]) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(head)
        for message in parts:
            await send(message)
        deadline.comes_soon()
        assert await receive() == {"type": "http.disconnect"}

    return app


@pytest.mark.parametrize(
    ("method", "head", "ends_well"),
    [
        ("GET", start(), True),
        ("GET", start([(b"Content-Type", b"Text/Event-Stream; charset=utf-8")]), True),
        ("GET", start([(b"content-type", b"text/event-stream ; retry=1"), (b"x-other", b"1")]), True),
        ("POST", start(), False),
        ("PUT", start(), False),
        ("HEAD", start(), False),
        ("GET", start([*EVENTS, (b"content-length", b"1000")]), False),
        ("GET", start([(b"content-type", b"text/event-streams")]), False),
        ("GET", start([(b"content-type", b"application/x-text/event-stream")]), False),
        ("GET", start([(b"content-type", b"text/plain; note=text/event-stream")]), False),
        ("GET", start([*CSV, *EVENTS]), False),
        ("GET", start([(b"accept", b"text/event-stream")]), False),
        ("GET", start([(b"content-type", b"multipart/mixed; boundary=graphql")]), False),
        ("GET", start([]), False),
        ("GET", start(CSV), False),
        ("GET", start(status=503), False),
        ("GET", start(status=206), False),
    ],
)
@pytest.mark.parametrize("has_begun", [True, False], ids=["in mid-stream", "before its first event"])
async def test_what_may_be_left_open(
    deadline: Deadline, run: Run, method: str, head: dict[str, Any], *, ends_well: bool, has_begun: bool
) -> None:
    app = waits_for_the_disconnect(deadline, head, *([part()] if has_begun else []))
    outcome = await run(app, method)
    assert outcome.content == (b"data: 1\n\n" if has_begun and method != "HEAD" else b"")
    assert outcome.error_type == (None if ends_well else "DeadlineExceeded")
    assert outcome.is_info is ends_well
    if not ends_well:
        assert outcome.log.startswith("[ERROR]")
        assert "\tid-1\tThe invocation failed\nTraceback" in outcome.log
        assert outcome.log.count("\tid-1\t") == 1


async def test_an_export_that_is_cut_off_is_an_error_though_its_app_returns(deadline: Deadline, run: Run) -> None:
    async def export(scope: Any, receive: Any, send: Any) -> None:
        await send(start(CSV))
        await send(part(b"1,2\n"))
        await deadline.comes()
        await send(part(b"3,4\n"))  # no event stream: what the app sends now still goes out

    outcome = await run(export)
    assert (outcome.content, outcome.error_type) == (b"1,2\n3,4\n", "DeadlineExceeded")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("head", [start(CSV), start([*EVENTS, (b"content-length", b"6")])], ids=["csv", "a length"])
async def test_what_is_completed_after_the_disconnect_is_whole(
    deadline: Deadline, run: Run, method: str, head: dict[str, Any]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(head)
        await send(part(b"1,2"))
        await deadline.comes()
        await send(last(b",3\n"))

    outcome = await run(app, method)
    assert (outcome.content, outcome.error_type, outcome.log) == (b"1,2,3\n", None, "")


@pytest.mark.parametrize(
    ("method", "headers", "message", "is_whole"),
    [
        ("GET", CSV, last(), False),
        ("POST", CSV, last(), False),
        ("GET", CSV, last(b"3,4\n"), True),
        ("GET", [*CSV, (b"content-encoding", b"gzip")], last(b"the end of the compression"), False),
        ("GET", [*CSV, (b"content-length", b"8")], last(b"3,4\n"), True),
        ("GET", [*CSV, (b"content-length", b"4")], last(), True),
        ("GET", [*CSV, (b"content-length", b"9")], last(b"3,4\n"), False),
        ("GET", [*CSV, (b"content-length", b"8")], last(), False),
        ("GET", [*EVENTS, (b"content-length", b"8")], last(), False),
        ("HEAD", CSV, last(), True),
    ],
)
@pytest.mark.parametrize("then", ["lets it through", "swallows it", "raises another from it"])
async def test_an_end_that_may_be_that_of_a_body_which_has_stopped(
    deadline: Deadline,
    run: Run,
    method: str,
    headers: Headers,
    message: dict[str, Any],
    *,
    is_whole: bool,
    then: str,
) -> None:
    """A middleware ends the body of an app that the disconnect has stopped."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start(headers))
        await send(part(b"1,2\n"))
        deadline.comes_soon()
        assert await receive() == {"type": "http.disconnect"}
        try:
            await send(message)
        except OSError as error:
            if then == "lets it through":
                raise
            if then != "swallows it":
                raise AppFailed from error

    outcome = await run(app, method)
    sent = b"1,2\n" + message["body"] if is_whole else b"1,2\n"
    assert outcome.content == (b"" if method == "HEAD" else sent)
    assert outcome.error_type == (None if is_whole else "DeadlineExceeded")
    assert outcome.log.count("\tid-1\tThe invocation failed\n") == (not is_whole)


async def test_what_is_begun_after_the_disconnect_may_be_whole(deadline: Deadline, run: Run) -> None:
    """A poll that waits for news until there is no more time, and then says that there are none."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        deadline.comes_soon()
        assert await receive() == {"type": "http.disconnect"}
        await send(start([(b"content-type", b"application/json")]))
        await send(part(b"[]"))
        await send(last())

    outcome = await run(app)
    assert (outcome.content, outcome.error_type, outcome.log) == (b"[]", None, "")


async def test_an_event_stream_that_was_complete_before_is_not_closed(deadline: Deadline, run: Run) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(last(b"data: 1\n\n"))
        await deadline.comes()
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        assert await receive() == {"type": "http.disconnect"}

    outcome = await run(app)
    assert (outcome.content, outcome.error_type, outcome.log) == (b"data: 1\n\n", None, "")


@pytest.mark.parametrize("returns", [True, False])
async def test_without_a_response_the_client_gets_a_page(deadline: Deadline, run: Run, *, returns: bool) -> None:
    """Django's handler returns without one where the client has gone."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await deadline.comes()
        if not returns:
            raise ValueError("no answer")

    outcome = await run(app)
    assert outcome.answer.prelude["statusCode"] == 500
    assert outcome.error_type == ("DeadlineExceeded" if returns else "ValueError")
    assert outcome.log.count("[ERROR]") == 1


# Buffered answers


async def test_a_buffered_answer_that_is_cut_off_is_an_error(deadline: Deadline, run: Run) -> None:
    app = waits_for_the_disconnect(deadline, start(CSV), part(b"1,2\n"))
    outcome = await run(app, invoke_mode="buffered")
    answer = json.loads(outcome.answer.body)
    assert (answer["statusCode"], answer["body"]) == (500, "Internal Server Error")


async def test_a_buffered_event_stream_gives_its_client_the_events_so_far(deadline: Deadline, run: Run) -> None:
    app = waits_for_the_disconnect(deadline, start(), part(), part(b"data: 2\n\n"))
    outcome = await run(app, invoke_mode="buffered")
    answer = json.loads(outcome.answer.body)
    assert (answer["statusCode"], answer["body"]) == (200, "data: 1\n\ndata: 2\n\n")
    assert outcome.is_info


async def test_a_buffered_event_stream_that_fails_at_its_deadline_is_not_logged_as_closed(
    deadline: Deadline, run: Run
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await deadline.comes()
        raise ValueError("boom")

    outcome = await run(app, invoke_mode="buffered")
    assert json.loads(outcome.answer.body)["statusCode"] == 500
    assert outcome.log == ""  # but for the adapter's own record, which goes by way of logging


# What `send` raises


@pytest.mark.parametrize("message", [part(), part(b""), last(), last(b"data: bye\n\n"), start(), {"type": "what"}])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("listens", [True, False])
async def test_send_raises_from_the_disconnect_on(
    deadline: Deadline, run: Run, message: dict[str, Any], method: str, *, listens: bool
) -> None:
    raised: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(part())
        await deadline.comes()
        if listens:
            await receive()
            assert await receive() == {"type": "http.disconnect"}
        for _ in range(3):
            try:
                await send(message)
            except OSError as error:
                raised.append(error)

    outcome = await run(app, method)
    assert len(raised) == 3
    assert isinstance(raised[0], StreamClosed)
    assert raised[0] is raised[1] is raised[2]
    assert outcome.content == b"data: 1\n\n"
    assert outcome.error_type == (None if method == "GET" else "DeadlineExceeded")
    assert outcome.is_info is (method == "GET")


async def test_an_event_stream_that_begins_too_late_begins_and_is_closed(deadline: Deadline, run: Run) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await deadline.comes()
        await send(start())
        with pytest.raises(StreamClosed):
            await send(part())

    outcome = await run(app)
    assert outcome.answer.prelude["statusCode"] == 200
    assert (outcome.content, outcome.error_type) == (b"", None)
    assert outcome.is_info


async def test_an_event_stream_whose_start_waits_for_a_slow_reader_is_closed_once(deadline: Deadline, run: Run) -> None:
    api = SlowReader()
    raised: list[OSError] = []

    async def sends(send: Any) -> None:
        try:
            await send(part())
        except OSError as error:
            raised.append(error)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        api.stop_reading()
        starting = asyncio.create_task(send(start()))
        await api.stalled.wait()
        deadline.comes_now()
        await sends(send)
        api.read_on()
        await starting
        await sends(send)

    outcome = await run(app, api=api)
    assert raised[0] is raised[1]
    assert (outcome.content, outcome.error_type) == (b"", None)
    assert outcome.is_info


async def test_a_task_that_the_app_leaves_behind_gets_the_same_error(deadline: Deadline, run: Run) -> None:
    """After the end too, and in the next invocation."""
    raised: list[BaseException] = []
    tasks: list[asyncio.Task[None]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def sends() -> None:
            for _ in range(2):
                try:
                    await send(part())
                except OSError as error:
                    raised.append(error)
                await over.wait()

        over = asyncio.Event()
        await send(start())
        await deadline.comes()
        tasks.append(asyncio.create_task(sends()))
        asyncio.get_running_loop().call_later(0, over.set)

    outcome = await run(app)
    await asyncio.wait(tasks)
    assert outcome.is_info
    assert len(raised) == 2
    assert raised[0] is raised[1]


async def test_an_app_that_sends_on_all_the_same_keeps_nothing_from_the_event_loop(
    deadline: Deadline, run: Run
) -> None:
    """It waits for nothing but `send` any more, and its cancellation has to come through."""
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send(start())
        await deadline.comes()
        deadline.comes_soon()
        while sent < 1000:
            with contextlib.suppress(OSError):
                await send(part())
            sent += 1

    outcome = await run(app)
    assert sent < 1000
    assert outcome.is_info


# A slow reader


@pytest.mark.parametrize("share_writes", [False, True])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_send_that_waits_for_a_slow_reader_raises_too(
    deadline: Deadline, run: Run, method: str, *, share_writes: bool
) -> None:
    api = SlowReader()
    raised: list[BaseException] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        api.stop_reading()
        closing = asyncio.create_task(close())
        with pytest.raises(StreamClosed) as caught:
            await send(part(b"x" * 5_000))
        raised.append(caught.value)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await closing
        with pytest.raises(StreamClosed) as caught:
            await send(part())
        raised.append(caught.value)
        api.read_on()

    async def close() -> None:
        await api.stalled.wait()
        deadline.comes_now()

    outcome = await run(app, method, api, share_writes=share_writes)
    assert raised[0] is raised[1]
    assert outcome.content == b"x" * 5_000  # what was begun goes out whole
    assert outcome.error_type == (None if method == "GET" else "DeadlineExceeded")
    assert outcome.is_info is (method == "GET")


@pytest.mark.parametrize("share_writes", [False, True])
async def test_several_sends_that_wait_for_a_slow_reader_raise(
    deadline: Deadline, run: Run, *, share_writes: bool
) -> None:
    """Only one of them has begun. That the others were left out is no fault of an event stream that is closed."""
    api = SlowReader()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        api.stop_reading()
        writers = [asyncio.create_task(send(part(b"%d" % number * 5_000))) for number in range(3)]
        await api.stalled.wait()
        deadline.comes_now()
        await asyncio.wait(writers)
        assert {writer.exception() for writer in writers} == {writers[0].exception()}
        assert isinstance(writers[0].exception(), StreamClosed)
        api.read_on()

    outcome = await run(app, api=api, share_writes=share_writes)
    assert outcome.content == b"0" * 5_000
    assert outcome.error_type is None
    assert outcome.is_info


async def test_an_event_that_was_left_out_before_the_deadline_stays_an_error(deadline: Deadline, run: Run) -> None:
    api = SlowReader()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        api.stop_reading()
        writers = [asyncio.create_task(send(part(b"%d" % number * 5_000))) for number in range(2)]
        await api.stalled.wait()
        writers[1].cancel()
        await asyncio.wait(writers[1:])
        api.read_on()
        await writers[0]
        await deadline.comes()

    outcome = await run(app, api=api)
    assert outcome.error_type == "AppError"
    assert not outcome.is_info


async def test_a_send_that_waits_in_a_response_of_another_type_is_left_alone(deadline: Deadline, run: Run) -> None:
    api = SlowReader()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(CSV))
        api.stop_reading()
        sending = asyncio.create_task(send(part(b"x" * 5_000)))
        await api.stalled.wait()
        deadline.comes_now()
        await asyncio.sleep(0)
        assert not sending.done()
        api.read_on()
        await sending
        await send(last(b"y"))

    outcome = await run(app, api=api)
    assert (outcome.content, outcome.error_type, outcome.log) == (b"x" * 5_000 + b"y", None, "")


@pytest.mark.parametrize("first", ["the deadline", "the app"])
async def test_a_cancellation_by_the_app_at_the_same_moment_is_one(deadline: Deadline, run: Run, first: str) -> None:
    api = SlowReader()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        api.stop_reading()
        sending = asyncio.create_task(send(part(b"x" * 5_000)))
        await api.stalled.wait()
        if first == "the app":
            sending.cancel()
        deadline.comes_now()
        if first == "the deadline":
            sending.cancel()
        await asyncio.wait((sending,))
        assert sending.cancelled()
        api.read_on()

    outcome = await run(app, api=api)
    assert outcome.content == b"x" * 5_000
    assert outcome.is_info


@pytest.mark.parametrize("steps_after", [1, 2], ids=["app ends at the disconnect", "app ends when it is cancelled"])
async def test_a_slow_reader_gets_the_end_of_a_closed_event_stream(
    deadline: Deadline, run: Run, steps_after: int
) -> None:
    """The end waits for it, when the app is cancelled and when it is given up too; nothing of that is an error."""
    api = SlowReader()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        api.stop_reading()
        turns = asyncio.create_task(take_the_steps())
        try:
            if steps_after == 1:
                await send(part(b"x" * 5_000))
            else:
                with contextlib.suppress(OSError):
                    await send(part(b"x" * 5_000))
                await asyncio.Event().wait()
        finally:
            tasks.append(turns)

    async def take_the_steps() -> None:
        await api.stalled.wait()
        for _ in range(3):
            deadline.comes_now()
            for _ in range(10):
                await asyncio.sleep(0)
        api.read_on()

    tasks: list[asyncio.Task[None]] = []
    outcome = await run(app, api=api)
    await tasks[0]
    assert outcome.content == b"x" * 5_000
    assert outcome.error_type is None
    assert outcome.is_info


# Silent at the deadline


async def waits_in_receive(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def sleeps(receive: Any) -> None:
    await asyncio.sleep(3600)


async def waits_for_its_queue(receive: Any) -> None:
    await asyncio.Queue[bytes]().get()


async def listens_next_to_its_work(receive: Any) -> None:
    """As Starlette does."""
    work = asyncio.create_task(sleeps(receive))
    await waits_in_receive(receive)
    work.cancel()


async def swallows_its_cancellation(receive: Any) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)


async def waits_in_a_task_group(receive: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sleeps(receive))
        group.create_task(waits_for_its_queue(receive))


@pytest.mark.parametrize(
    "waits",
    [
        waits_in_receive,
        sleeps,
        waits_for_its_queue,
        listens_next_to_its_work,
        swallows_its_cancellation,
        waits_in_a_task_group,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("headers", [EVENTS, CSV], ids=["events", "csv"])
async def test_a_stream_that_is_silent_at_its_deadline(
    deadline: Deadline, run: Run, waits: Any, method: str, headers: Headers
) -> None:
    """One that does not listen is cancelled later; that ends an event stream as well as the disconnect does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(headers))
        await send(part())
        loop = asyncio.get_running_loop()
        deadline.comes_soon()
        loop.call_later(0, lambda: loop.call_soon(deadline.comes_now))
        await waits(receive)

    outcome = await run(app, method)
    ends_well = method == "GET" and headers is EVENTS
    assert outcome.content == b"data: 1\n\n"
    assert outcome.error_type == (None if ends_well else "DeadlineExceeded")
    assert outcome.is_info is ends_well


async def test_an_event_stream_that_fails_when_it_is_cancelled_is_an_error(deadline: Deadline, run: Run) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await deadline.comes()
        deadline.comes_soon()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("the database has gone")

    outcome = await run(app)
    assert outcome.error_type == "ValueError"
    assert not outcome.is_info


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_event_stream_that_does_not_end_when_it_is_cancelled_is_closed_without_its_app(
    deadline: Deadline, run: Run, method: str, *, fails: bool
) -> None:
    """As one whose generator is a plain function that sleeps in a thread. What it does later touches nothing."""
    release, over = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await deadline.comes()
        deadline.comes_soon()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        deadline.comes_soon()
        await release.wait()
        with pytest.raises(StreamClosed):
            await send(part(b"late"))
        over.set()
        if fails:
            raise ValueError("late")

    outcome = await run(app, method)
    release.set()
    await over.wait()
    assert outcome.content == b""
    left = "\tid-1\tThe handler goes on after it was cancelled; it is left to itself\n"
    if method == "GET":
        warning, info = outcome.log.splitlines(keepends=True)
        assert warning.startswith("[WARNING]")
        assert warning.endswith(left)
        assert info.startswith("[INFO]")
        assert info.endswith(CLOSED)
        assert outcome.error_type is None
    else:
        assert left in outcome.log
        assert "[INFO]" not in outcome.log
        assert outcome.error_type == "DeadlineExceeded"


class Refuses(asyncio.Future[None]):
    def cancel(self, msg: object = None) -> bool:
        raise RuntimeError("it cannot be cancelled")


class Exits(asyncio.Future[None]):
    def cancel(self, msg: object = None) -> bool:
        raise SystemExit


class TakesNoMessage(asyncio.Future[None]):
    """As futures were before Python 3.9."""

    def cancel(self) -> bool:  # type: ignore[override]
        return super().cancel()


@pytest.mark.parametrize("kind", [Refuses, Exits, TakesNoMessage])
@pytest.mark.parametrize("headers", [EVENTS, CSV], ids=["events", "csv"])
async def test_an_app_that_awaits_what_cannot_be_cancelled(
    deadline: Deadline, run: Run, kind: Any, headers: Headers
) -> None:
    awaited = kind()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(headers))
        await send(part())
        for _ in range(3):
            asyncio.get_running_loop().call_soon(deadline.comes_now)
        await awaited

    outcome = await run(app)
    awaited.set_result(None)
    await asyncio.sleep(0)
    assert outcome.content == b"data: 1\n\n"
    assert outcome.error_type == (None if headers is EVENTS else "DeadlineExceeded")
    assert "it is left to itself\n" in outcome.log
    assert outcome.log.endswith(CLOSED) is (headers is EVENTS)


async def test_an_event_stream_that_has_failed_and_does_not_end_is_an_error(deadline: Deadline, run: Run) -> None:
    release = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        with contextlib.suppress(AppError):
            await send(part("text"))  # type: ignore[arg-type]
        await deadline.comes()
        deadline.comes_soon()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        deadline.comes_soon()
        await release.wait()

    outcome = await run(app)
    release.set()
    await asyncio.sleep(0)
    assert outcome.error_type == "DeadlineExceeded"
    assert "[INFO]" not in outcome.log


async def test_a_cancellation_before_the_deadline_is_an_error(deadline: Deadline, run: Run) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        raise asyncio.CancelledError

    outcome = await run(app)
    assert outcome.error_type == "CancelledError"


# What comes of the error that `send` raises


class AppFailed(Exception):
    pass


def lets_it_through(lost: OSError) -> None:
    raise lost


def raises_from_it(lost: OSError) -> None:
    raise AppFailed from lost


def raises_while_it_handles_it(lost: OSError) -> None:
    try:
        raise lost
    except OSError:
        raise AppFailed  # noqa: B904 - as apps do


def hides_it(lost: OSError) -> None:
    try:
        raise lost
    except OSError:
        raise AppFailed from None


def raises_from_another_while_it_handles_it(lost: OSError) -> None:
    try:
        raise lost
    except OSError:
        raise AppFailed from KeyError()


def raises_from_it_while_it_handles_another(lost: OSError) -> None:
    try:
        raise KeyError
    except KeyError:
        raise AppFailed from lost


def raises_it_in_a_group(lost: OSError) -> None:
    raise ExceptionGroup("unhandled errors in a TaskGroup", [lost])


def raises_it_in_a_group_of_groups(lost: OSError) -> None:
    raise BaseExceptionGroup("", [AppFailed(), ExceptionGroup("", [ExceptionGroup("", [lost])])])


def raises_a_group_from_it(lost: OSError) -> None:
    raise ExceptionGroup("", [AppFailed()]) from lost


def raises_from_a_member_of_a_group(lost: OSError) -> None:
    error = AppFailed()
    error.__cause__ = lost
    raise AppFailed from ExceptionGroup("", [KeyError(), error])


def exits(lost: OSError) -> None:
    raise SystemExit from lost


@pytest.mark.parametrize(
    "fails",
    [
        lets_it_through,
        raises_from_it,
        raises_while_it_handles_it,
        hides_it,
        raises_from_another_while_it_handles_it,
        raises_from_it_while_it_handles_another,
        raises_it_in_a_group,
        raises_it_in_a_group_of_groups,
        raises_a_group_from_it,
        raises_from_a_member_of_a_group,
        exits,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_comes_of_it_is_no_failure(deadline: Deadline, run: Run, fails: Any, method: str) -> None:
    outcome = await run(failing(deadline, fails), method)
    assert outcome.content == b"data: 1\n\n"
    assert outcome.error_type == (None if method == "GET" else "DeadlineExceeded")
    assert outcome.is_info is (method == "GET")


def raises_another(lost: OSError) -> None:
    raise AppFailed(str(lost))


def raises_another_of_its_type(lost: OSError) -> None:
    raise StreamClosed(*lost.args)


def raises_an_oserror(lost: OSError) -> None:
    raise ConnectionResetError("of the database")


def raises_another_group(lost: OSError) -> None:
    raise ExceptionGroup("", [AppFailed(), ExceptionGroup("", [StreamClosed(*lost.args)])])


def carries_it(lost: OSError) -> None:
    error = AppFailed(lost)
    error.add_note(str(lost))
    error.lost = lost  # type: ignore[attr-defined]
    raise error


@pytest.mark.parametrize(
    ("fails", "error_type"),
    [
        (raises_another, "AppFailed"),
        (raises_another_of_its_type, "StreamClosed"),
        (raises_an_oserror, "ConnectionResetError"),
        (raises_another_group, "ExceptionGroup"),
        (carries_it, "AppFailed"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_any_other_error_stays_one(
    deadline: Deadline, run: Run, fails: Any, error_type: str, method: str
) -> None:
    outcome = await run(failing(deadline, fails), method)
    assert outcome.error_type == error_type
    assert outcome.log.startswith("[ERROR]")
    assert "[INFO]" not in outcome.log


def failing(deadline: Deadline, fails: Callable[[OSError], None]) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(part())
        await deadline.comes()
        lost: OSError | None = None
        try:
            await send(part())
        except OSError as error:
            lost = error
        assert lost is not None
        fails(lost)

    return app


async def test_a_failure_before_the_deadline_stays_one(deadline: Deadline, run: Run) -> None:
    """Swallowed, as apps may, and the stream is then left open."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        with contextlib.suppress(AppError):
            await send(part("text"))  # type: ignore[arg-type]
        await deadline.comes()

    outcome = await run(app)
    assert outcome.error_type == "AppError"
    assert "[INFO]" not in outcome.log


class TestStemsFrom:
    def test_chains_and_groups_that_lead_in_circles(self) -> None:
        one, two = ValueError(), KeyError()
        group = ExceptionGroup("", [one, two])
        one.__cause__, two.__context__, group.__cause__ = two, group, group
        assert not stems_from(one, OSError())
        assert not stems_from(group, OSError())
        lost = OSError()
        two.__cause__ = lost
        assert stems_from(group, lost)

    def test_a_chain_of_any_length(self) -> None:
        lost = OSError()
        error: BaseException = lost
        for number in range(100_000):
            outer: BaseException = BaseExceptionGroup("", [error]) if number == 7 else ValueError()
            if number != 7:
                outer.__context__ = error
            error = outer
        assert stems_from(error, lost)
        assert not stems_from(error, OSError())
        while error.__context__ is not None:  # one by one: to free them at once is a recursion of the interpreter
            error = error.__context__

    def test_classes_that_do_not_let_themselves_be_looked_at(self) -> None:
        class Hostile(Exception):
            def __getattribute__(self, name: str) -> Any:
                raise SystemExit(name)

            def __eq__(self, other: object) -> bool:
                raise KeyboardInterrupt

            def __hash__(self) -> int:
                raise KeyboardInterrupt

            def __bool__(self) -> bool:
                raise KeyboardInterrupt

        class HostileGroup(ExceptionGroup[Exception]):
            @property
            def exceptions(self) -> Any:
                raise SystemExit

            @property
            def __cause__(self) -> Any:  # type: ignore[override]
                raise SystemExit

            @property  # type: ignore[misc]
            def __class__(self) -> Any:
                raise SystemExit

        lost = OSError()
        error = Hostile()
        BaseException.__setattr__(error, "__cause__", HostileGroup("", [KeyError(), Hostile(), lost]))
        assert stems_from(error, lost)
        assert not stems_from(error, OSError())


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_closed_event_stream_leaves_nothing_for_the_garbage_collector(
    deadline: Deadline, run: Run, steps: list[Any], method: str
) -> None:
    held: list[weakref.ref[Any]] = []

    class Held:
        """What the app refers to, as to the scope with its event, which may have 6 MB."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        it = Held()
        held.append(weakref.ref(it))
        await send(start())
        await deadline.comes()
        await send(part())

    gc.collect()
    gc.disable()
    try:
        before = sum(type(thing) is HttpCycle for thing in gc.get_objects())
        assert (await run(app, method)).is_info is (method == "GET")
        steps.clear()  # they refer to the invocation
        assert held[0]() is None
        assert sum(type(thing) is HttpCycle for thing in gc.get_objects()) == before
    finally:
        gc.enable()
