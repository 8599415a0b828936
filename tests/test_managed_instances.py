"""Managed Instances: many invocations at once, on one event loop in one process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.context import trace_id
from asgi_stream.runtime.loop import Fatal, Runtime
from tests.support.events import function_url_event
from tests.support.memory import MemoryStream, connects_to
from tests.support.wire import FakeRuntimeApi

pytestmark = pytest.mark.anyio

START: dict[str, Any] = {"type": "http.response.start", "status": 200}


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the pollers wanted to pause; they do not."""
    wanted: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        if seconds:
            wanted.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", pause)
    return wanted


async def serve(app: Any, *slots: tuple[MemoryStream, ...]) -> None:
    """Runs one poller for each slot; a slot is the connections that it gets, one after another."""
    handler = StreamingAdapter(app, lifespan="off")
    connections = [Connection("host:1", connects_to(*apis)) for apis in slots]
    runtime = Runtime(handler, *connections, managed_instances=True)
    runtime._variables = await handler.startup()
    with pytest.raises(Fatal):
        await runtime.serve()


async def test_all_slots_stream_at_once_on_one_loop() -> None:
    """Each invocation goes on only when all of them have begun."""
    slots = 8
    barrier = asyncio.Barrier(slots)
    seen = set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": scope["raw_path"], "more_body": True})
        await barrier.wait()
        seen.add((id(asyncio.get_running_loop()), os.getpid()))
        await send({"type": "http.response.body", "body": b" end"})

    apis = [FakeRuntimeApi(*(function_url_event(path=f"/{slot}/{turn}") for turn in range(3))) for slot in range(slots)]
    await serve(app, *((api,) for api in apis))
    assert len(seen) == 1
    for slot, api in enumerate(apis):
        assert [answer.content for answer in api.answers] == [f"/{slot}/{turn} end".encode() for turn in range(3)]


async def test_each_task_has_its_own_trace_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    barrier = asyncio.Barrier(2)
    seen = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await barrier.wait()
        header = dict(scope["headers"])[b"x-amzn-trace-id"]
        seen[scope["path"]] = (trace_id.get(), header, os.environ.get("_X_AMZN_TRACE_ID"))
        await send(START)
        await send({"type": "http.response.body"})

    apis = [
        FakeRuntimeApi(function_url_event(path=f"/{name}"), headers={"Lambda-Runtime-Trace-Id": f"Root={name}"})
        for name in "ab"
    ]
    await serve(app, *((api,) for api in apis))
    assert seen == {"/a": ("Root=a", b"Root=a", None), "/b": ("Root=b", b"Root=b", None)}


async def test_each_invocation_has_its_own_context() -> None:
    barrier = asyncio.Barrier(2)
    seen = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await barrier.wait()
        context = scope["aws.context"]
        seen[scope["path"]] = (context.aws_request_id, context.tenant_id, context.trace_id)
        await send(START)
        await send({"type": "http.response.body"})

    apis = [
        FakeRuntimeApi(
            function_url_event(path=f"/{name}"),
            headers={
                "Lambda-Runtime-Aws-Request-Id": f"id-{name}",
                "Lambda-Runtime-Aws-Tenant-Id": f"tenant-{name}",
                "Lambda-Runtime-Trace-Id": f"Root={name}",
            },
        )
        for name in "ab"
    ]
    await serve(app, *((api,) for api in apis))
    assert seen == {f"/{name}": (f"id-{name}", f"tenant-{name}", f"Root={name}") for name in "ab"}


REFUSAL = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


async def test_polls_that_fail_are_repeated_with_pauses_that_double(
    pauses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight times; a poll that works begins the count anew, and no other slot's invocation is touched."""
    last = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        if scope["path"] == "/slow":
            await last.wait()
        if scope["path"] == "/last":
            last.set()
        await send({"type": "http.response.body", "body": scope["raw_path"]})

    slow = FakeRuntimeApi(function_url_event(path="/slow"))
    refusing = MemoryStream()
    refusing.say(REFUSAL)
    failing = [refusing, *(FakeRuntimeApi() for _ in range(7))]
    working = [FakeRuntimeApi(function_url_event(path=path)) for path in ("/one", "/last")]
    await serve(app, (slow,), (*failing, *working))
    assert slow.answers[0].content == b"/slow"
    assert [api.answers[0].content for api in working] == [b"/one", b"/last"]
    assert pauses[:9] == pytest.approx([*(0.1 * 2**turn for turn in range(8)), 0.1])
    assert all(api.closed for api in failing)
    log = capsys.readouterr().err
    assert "status 500, b''; trying again" in log


async def test_a_fault_of_ours_ends_its_own_invocation_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The slot goes on with a new connection, and the stream beside it to its end."""
    lost = asyncio.Event()
    conclude = Runtime._conclude

    async def fail(self: Runtime, error: BaseException, sink: Any, request_id: str) -> None:
        if str(error) == "boom":
            monkeypatch.setattr(Runtime, "_conclude", conclude)
            raise RuntimeError("ours")
        await conclude(self, error, sink, request_id)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/boom":
            raise ValueError("boom")
        await send(START)
        if scope["path"] == "/beside":
            await lost.wait()
        else:
            lost.set()
        await send({"type": "http.response.body", "body": scope["raw_path"]})

    monkeypatch.setattr(Runtime, "_conclude", fail)
    first, second, beside = (FakeRuntimeApi(function_url_event(path=path)) for path in ("/boom", "/after", "/beside"))
    await serve(app, (first, second), (beside,))
    assert first.closed
    assert [answer.complete for answer in first.answers] == [False]
    assert [answer.content for answer in second.answers + beside.answers] == [b"/after", b"/beside"]
    assert "this is a fault of asgi-stream" in capsys.readouterr().err


async def test_a_report_that_fails_is_logged_and_nothing_else(
    pauses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/raises":
            raise ValueError("wrong")
        await send(START)
        await send({"type": "http.response.body", "body": scope["raw_path"]})

    events = [function_url_event(path=path) for path in ("/refused", "/raises", "/last")]
    api = FakeRuntimeApi(*events, replies=[REFUSAL, REFUSAL])
    await serve(app, (api,))
    assert len(api.answers) == 3
    assert api.answers[2].content == b"/last"
    assert len(pauses) == 8  # once there is nothing left to poll for
    log = capsys.readouterr().err
    assert "\tid-1\tLambda refused the response: status 500" in log
    assert "\tid-2\tLambda refused the response: status 500" in log


async def test_what_has_no_time_left_is_cancelled_and_the_others_go_on() -> None:
    """Lambda does not kill here. The other stream is read after the first has ended."""
    cancelled = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        if scope["path"] == "/waits":
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        await send({"type": "http.response.body", "body": b"before, ", "more_body": True})
        await cancelled.wait()
        await send({"type": "http.response.body", "body": b"after"})

    due = str(int((time.time() + 0.3) * 1000))
    waits = FakeRuntimeApi(
        function_url_event(path="/waits"),
        function_url_event(path="/next"),
        headers={"Lambda-Runtime-Deadline-Ms": due},
    )
    goes_on = FakeRuntimeApi(function_url_event(path="/goes-on"))
    await serve(app, (waits,), (goes_on,))
    assert waits.answers[0].trailers["lambda-runtime-function-error-type"] == "Function.DeadlineExceeded"
    assert waits.answers[1].complete
    assert (goes_on.answers[0].content, goes_on.answers[0].trailers) == (b"before, after", {})


def test_a_signal_ends_all_invocations_and_begins_none() -> None:
    """Each is cancelled, before the lifespan ends; an event that comes meanwhile finds nobody."""
    happened: list[str] = []
    both = asyncio.Barrier(2)
    idle = MemoryStream()
    event = json.dumps(function_url_event(path="/too-late")).encode()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            happened.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        happened.append(scope["path"])
        await send(START)
        await both.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            head = f"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: id\r\nContent-Length: {len(event)}\r\n\r\n"
            idle.say(head.encode() + event)
            await asyncio.sleep(0)
            happened.append("cancelled")

    apis = [FakeRuntimeApi(function_url_event(path=path)) for path in ("/a", "/b")]

    async def run() -> int:
        connections = [Connection("host:1", connects_to(api)) for api in (*apis, idle)]
        return await Runtime(StreamingAdapter(app), *connections, managed_instances=True).run()

    assert asyncio.run(run()) == 0
    assert happened == ["/a", "/b", "cancelled", "cancelled", "shutdown"]
    assert not any(answer.complete for api in apis for answer in api.answers)


async def test_a_platform_that_is_gone_ends_the_process(pauses: list[float]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    await serve(app, ())
    assert len(pauses) == 8
