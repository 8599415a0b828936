"""Extensions and SnapStart at the Runtime API server, asked by raw bytes."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asgi_stream.local.function_error import FunctionError
from asgi_stream.local.lifecycle import State
from asgi_stream.local.runtime_api import EnvironmentFailed, RuntimeApiServer

from .support import BASE, RawRuntime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

REGISTER = "POST /2020-01-01/extension/register"
EVENT_NEXT = "GET /2020-01-01/extension/event/next"


@pytest.fixture
async def api() -> AsyncIterator[RuntimeApiServer]:
    async with RuntimeApiServer() as server:
        yield server


@pytest.fixture
async def runtime(api: RuntimeApiServer) -> AsyncIterator[RawRuntime]:
    async with RawRuntime(api.address) as connection:
        yield connection


@pytest.fixture
async def other(api: RuntimeApiServer) -> AsyncIterator[RawRuntime]:
    """A second connection of the same runtime."""
    async with RawRuntime(api.address) as connection:
        yield connection


async def register(
    runtime: RawRuntime, body: bytes = b'{"events":[]}', name: str = "x"
) -> tuple[int, str | None, dict[str, Any]]:
    """Status, identifier and body of the reply."""
    headers = f"Lambda-Extension-Name: {name}\r\n" if name else ""
    await runtime.begin(REGISTER, f"{headers}Content-Length: {len(body)}\r\n")
    await runtime.write(body)
    status, fields, reply = await runtime.reply()
    return status, fields.get("lambda-extension-identifier"), json.loads(reply)


async def poll(runtime: RawRuntime, identifier: str | None) -> tuple[int, Any]:
    header = "" if identifier is None else f"Lambda-Extension-Identifier: {identifier}\r\n"
    await runtime.begin(EVENT_NEXT, header)
    status, _, body = await runtime.reply()
    return status, json.loads(body)


async def test_init_waits_for_every_registered_extension(
    api: RuntimeApiServer, runtime: RawRuntime, other: RawRuntime
) -> None:
    status, identifier, about = await register(other)
    assert (status, sorted(about)) == (200, ["functionName", "functionVersion", "handler"])
    assert identifier
    assert api.extensions.names == ["x"]
    idle = asyncio.create_task(api.idle())
    polling = asyncio.create_task(runtime.next())
    await api._until(lambda: api.state is State.IDLE)
    await asyncio.sleep(0)
    assert not idle.done()
    event = asyncio.create_task(poll(other, identifier))
    await idle
    await api.invoke(b"{}")
    assert (await polling)[0] == 200
    assert not event.done()
    api.send_event({"eventType": "SHUTDOWN"})
    assert await event == (200, {"eventType": "SHUTDOWN"})


async def test_an_event_waits_for_the_end_of_init(
    api: RuntimeApiServer, runtime: RawRuntime, other: RawRuntime
) -> None:
    _, identifier, _ = await register(other)
    await api.invoke(b"{}")
    polling = asyncio.create_task(runtime.next())
    await api._until(lambda: api.state is State.INVOKED)
    async with RawRuntime(api.address) as third:  # by its answer, one to the poll would have come
        assert (await register(third, name="y"))[0] == 403
    assert not polling.done()
    event = asyncio.create_task(poll(other, identifier))
    assert (await polling)[0] == 200
    event.cancel()


INVOKE = b'{"events":["INVOKE"]}'


async def answer(runtime: RawRuntime) -> tuple[str, asyncio.Task[Any]]:
    """Takes an event and answers it; returns its id, and the poll for the next."""
    _, headers, _ = await runtime.next()
    request_id = headers["lambda-runtime-aws-request-id"]
    assert (await runtime.post(f"invocation/{request_id}/response", b"1"))[0] == 202
    return request_id, asyncio.create_task(runtime.next())


async def test_an_extension_that_registered_for_it_gets_each_invocation(
    api: RuntimeApiServer, runtime: RawRuntime, other: RawRuntime
) -> None:
    _, identifier, _ = await register(other, INVOKE)
    async with RawRuntime(api.address) as third:
        _, silent, _ = await register(third, name="for no event")
        nothing = asyncio.create_task(poll(third, silent))
        event = asyncio.create_task(poll(other, identifier))
        next_ = asyncio.create_task(runtime.next())
        await api.idle()
        for request_id in ("one", "two"):
            await api.invoke(b"{}", request_id=request_id, trace_id="Root=1", function_arn="arn", deadline_ms=123)
            assert (await next_)[1]["lambda-runtime-aws-request-id"] == request_id
            assert await event == (
                200,
                {
                    "eventType": "INVOKE",
                    "deadlineMs": 123,
                    "requestId": request_id,
                    "invokedFunctionArn": "arn",
                    "tracing": {"type": "X-Amzn-Trace-Id", "value": "Root=1"},
                },
            )
            assert (await runtime.post(f"invocation/{request_id}/response", b"1"))[0] == 202
            event = asyncio.create_task(poll(other, identifier))
            next_ = asyncio.create_task(runtime.next())
            await api.idle()
        assert not nothing.done()
        for task in (nothing, event, next_):
            task.cancel()


async def test_the_reply_to_an_extension_has_an_identifier_of_its_own(
    api: RuntimeApiServer, runtime: RawRuntime, other: RawRuntime
) -> None:
    _, identifier, _ = await register(other, INVOKE)
    await other.begin(EVENT_NEXT, f"Lambda-Extension-Identifier: {identifier}\r\n")
    await api.invoke(b"{}", timeout=20)
    deadline = int((await runtime.next())[1]["lambda-runtime-deadline-ms"])
    status, headers, body = await other.reply()
    assert (status, headers["content-type"]) == (200, "application/json")
    assert uuid.UUID(headers["lambda-extension-event-identifier"]).version == 4
    assert json.loads(body)["deadlineMs"] == deadline


async def test_an_invocation_lasts_until_the_extension_polls_again(
    api: RuntimeApiServer, runtime: RawRuntime, other: RawRuntime
) -> None:
    _, identifier, _ = await register(other, INVOKE)
    event = asyncio.create_task(poll(other, identifier))
    await api.invoke(b"{}", timeout=900)
    _, polling = await answer(runtime)
    await event
    await api._until(lambda: api.state is State.IDLE)
    idle = asyncio.create_task(api.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    timer = api._timer
    assert timer is not None
    assert not timer.cancelled()  # the timeout is the extension's too
    again = asyncio.create_task(poll(other, identifier))
    await idle
    assert timer.cancelled()
    again.cancel()
    polling.cancel()


async def test_an_extension_that_never_polls_again_runs_into_the_timeout(
    api: RuntimeApiServer, runtime: RawRuntime, other: RawRuntime
) -> None:
    _, identifier, _ = await register(other, INVOKE)
    event = asyncio.create_task(poll(other, identifier))
    invocation = await api.invoke(b"{}", timeout=900)
    _, polling = await answer(runtime)
    await event
    await api._until(lambda: api.state is State.IDLE)
    api._time_out(invocation)
    assert (await polling)[0] == 403
    with pytest.raises(EnvironmentFailed, match="Task timed out"):
        await api.idle()


async def test_an_event_that_is_handed_out_again_is_one_invocation(
    api: RuntimeApiServer, runtime: RawRuntime, other: RawRuntime
) -> None:
    _, identifier, _ = await register(other, INVOKE)
    event = asyncio.create_task(poll(other, identifier))
    await api.invoke(b"{}", request_id="one")
    first = await runtime.next()
    assert await runtime.next() == first  # while the extension is still at work
    await event
    again = asyncio.create_task(poll(other, identifier))
    assert await runtime.next() == first
    with anyio.fail_after(5):
        await api._until(lambda: api.extensions.ready)  # no event is on its way
    assert not again.done()
    again.cancel()


async def test_a_second_poll_of_an_extension_is_refused(api: RuntimeApiServer, other: RawRuntime) -> None:
    """As by AWS's own server: an extension must not give up a poll."""
    _, identifier, _ = await register(other, INVOKE)
    await other.begin(EVENT_NEXT, f"Lambda-Extension-Identifier: {identifier}\r\n")
    await api._until(lambda: api.extensions.ready)
    async with RawRuntime(api.address) as third:
        status, reply = await poll(third, identifier)
    assert (status, reply["errorType"]) == (403, "Extension.InvalidExtensionState")


@pytest.mark.parametrize(
    ("body", "name", "error"),
    [
        (b'{"events":["SHUTDOWN"]}', "x", "Extension.InvalidEventType"),
        (b'{"events":["INVOKE","SHUTDOWN"]}', "x", "Extension.InvalidEventType"),
        (b'{"events":[]}', "", "Extension.InvalidExtensionName"),
        (b"nonsense", "x", "InvalidRequestFormat"),
        (b"[]", "x", "InvalidRequestFormat"),
        (b"", "x", "InvalidRequestFormat"),
        (b'{"events":"INVOKE"}', "x", "InvalidRequestFormat"),
        (b'{"events":[1]}', "x", "InvalidRequestFormat"),
        (b'{"events":7}', "x", "InvalidRequestFormat"),
        (b'{"events":[]}', "taken", "Extension.InvalidExtensionState"),
    ],
)
async def test_a_registration_that_awss_server_refuses(runtime: RawRuntime, body: bytes, name: str, error: str) -> None:
    assert (await register(runtime, name="taken"))[0] == 200
    status, identifier, reply = await register(runtime, body, name)
    assert (status, identifier, reply["errorType"]) == (403, None, error)


@pytest.mark.parametrize("body", [b"{}", b'{"events":null}', b'{"events":[]}', b'{"events":["INVOKE","INVOKE"]}'])
async def test_a_registration_that_awss_server_takes(runtime: RawRuntime, body: bytes) -> None:
    status, identifier, _ = await register(runtime, body)
    assert status == 200
    assert identifier


async def test_nothing_registers_after_the_first_poll(
    api: RuntimeApiServer, runtime: RawRuntime, other: RawRuntime
) -> None:
    waiting = asyncio.create_task(runtime.next())
    await api.idle()
    status, _, reply = await register(other)
    assert (status, reply["errorType"]) == (403, "Extension.RegistrationClosed")
    waiting.cancel()


@pytest.mark.parametrize(
    ("identifier", "error"),
    [(None, "Extension.MissingExtensionIdentifier"), ("7", "Extension.UnknownExtensionIdentifier")],
)
async def test_a_poll_of_an_extension_that_is_none(runtime: RawRuntime, identifier: str | None, error: str) -> None:
    status, reply = await poll(runtime, identifier)
    assert (status, reply["errorType"]) == (403, error)


async def test_a_restore(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    with pytest.raises(RuntimeError, match="STARTING"):
        api.restore()
    await runtime.begin(f"GET {BASE}/restore/next")
    await api.ready_for_snapshot()
    api.restore()
    assert await runtime.reply() == (200, {"content-length": "0"}, b"")
    polling = asyncio.create_task(runtime.next())
    await api.idle()
    await api.invoke(b"{}")
    assert (await polling)[0] == 200


async def test_a_failed_restore(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    refused = await runtime.post("restore/error", b"{}")
    assert (refused[0], refused[1]["errorType"]) == (403, "InvalidStateTransition")
    await runtime.begin(f"GET {BASE}/restore/next")
    await api.ready_for_snapshot()
    api.restore()
    await runtime.reply()
    error = b'{"errorType":"ConnectionError","errorMessage":"no database"}'
    kind = "Lambda-Runtime-Function-Error-Type: Runtime.AfterRestoreError\r\n"
    assert await runtime.post("restore/error", error, kind) == (202, {"status": "OK"})
    with pytest.raises(EnvironmentFailed) as failed:
        await api.idle()
    assert failed.value.error.error_type == "Runtime.AfterRestoreError"
    assert failed.value.error.details["errorMessage"] == "no database"


async def test_a_restore_has_its_place(api: RuntimeApiServer, runtime: RawRuntime, other: RawRuntime) -> None:
    polling = asyncio.create_task(runtime.next())
    await api.idle()
    await other.begin(f"GET {BASE}/restore/next")
    status, _, body = await other.reply()
    assert (status, json.loads(body)["errorType"]) == (403, "InvalidStateTransition")
    polling.cancel()


async def test_an_environment_that_ends_before_its_restore(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    await runtime.begin(f"GET {BASE}/restore/next")
    await api.ready_for_snapshot()
    api.fail(FunctionError("Runtime.ExitError"))
    assert (await runtime.reply())[0] == 403
