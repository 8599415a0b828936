"""Managed Instances: many invocations at once, on one event loop in one process."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.runtime import loop as runtime_loop
from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.context import trace_id
from asgi_stream.runtime.loop import Fatal, Runtime
from tests.support.events import function_url_event
from tests.support.memory import connects_to
from tests.support.wire import FakeRuntimeApi

pytestmark = pytest.mark.anyio

START: dict[str, Any] = {"type": "http.response.start", "status": 200}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_loop, "FIRST_PAUSE", 0.0)


async def serve(app: Any, *slots: tuple[FakeRuntimeApi, ...]) -> None:
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
        seen[scope["path"]] = (trace_id.get(), os.environ.get("_X_AMZN_TRACE_ID"))
        await send(START)
        await send({"type": "http.response.body"})

    apis = [
        FakeRuntimeApi(function_url_event(path=f"/{name}"), headers={"Lambda-Runtime-Trace-Id": f"Root={name}"})
        for name in "ab"
    ]
    await serve(app, *((api,) for api in apis))
    assert seen == {"/a": ("Root=a", None), "/b": ("Root=b", None)}


REFUSAL = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


async def test_faults_of_the_platform_are_waited_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A poll that fails and a 500 for a response end neither this slot nor the other one's invocation."""
    first = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        if scope["path"] == "/slow":
            await first.wait()
        if scope["path"] == "/last":
            first.set()
        await send({"type": "http.response.body", "body": scope["raw_path"]})

    slow = FakeRuntimeApi(function_url_event(path="/slow"))
    refusing = FakeRuntimeApi(function_url_event(path="/refused"), replies=[REFUSAL])
    closing = FakeRuntimeApi()
    last = FakeRuntimeApi(function_url_event(path="/last"))
    await serve(app, (slow,), (refusing, closing, last))
    assert slow.answers[0].content == b"/slow"
    assert last.answers[0].content == b"/last"
    assert "trying again" in capsys.readouterr().err


async def test_a_platform_that_is_gone_ends_the_process() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    await serve(app, ())
