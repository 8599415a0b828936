"""The Runtime API server, asked by raw bytes."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream.local.function_error import FunctionError
from asgi_stream.local.invocation import HIGH_WATER, Ending, Head
from asgi_stream.local.lifecycle import TRANSITIONS, Call, State
from asgi_stream.local.runtime_api import MAX_HEADERS, EnvironmentFailed, RuntimeApiServer
from asgi_stream.runtime.http11 import ReplyParser
from asgi_stream.runtime.requests import parse_invocation

from .support import BASE, STREAMING, RawRuntime, chunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

OK = (202, {"status": "OK"})


@pytest.fixture
async def api() -> AsyncIterator[RuntimeApiServer]:
    async with RuntimeApiServer() as server:
        yield server


@pytest.fixture
async def runtime(api: RuntimeApiServer) -> AsyncIterator[RawRuntime]:
    async with RawRuntime(api.address) as connection:
        yield connection


def failed(reply: tuple[int, dict[str, str]]) -> tuple[int, str]:
    status, body = reply
    return status, body["errorType"]


async def test_next_waits_for_an_event_and_carries_its_headers(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    poll = asyncio.create_task(runtime.next())
    await api.idle()
    assert not poll.done()
    invocation = await api.invoke(
        b'{"a":1}',
        deadline_ms=123,
        trace_id="Root=1",
        function_arn="arn",
        headers={"Lambda-Runtime-Invocation-Id": "7"},
    )
    status, headers, body = await poll
    assert (status, body) == (200, b'{"a":1}')
    assert headers == {
        "lambda-runtime-aws-request-id": invocation.request_id,
        "lambda-runtime-deadline-ms": "123",
        "lambda-runtime-invoked-function-arn": "arn",
        "lambda-runtime-trace-id": "root=1",
        "lambda-runtime-invocation-id": "7",
        "content-type": "application/json",
        "content-length": "7",
    }


async def test_an_event_may_come_before_the_poll_and_headers_may_be_left_out(
    api: RuntimeApiServer, runtime: RawRuntime
) -> None:
    await api.invoke(b"{}", request_id="id", headers={"Lambda-Runtime-Deadline-Ms": None})
    _, headers, _ = await runtime.next()
    assert headers["lambda-runtime-aws-request-id"] == "id"
    assert "lambda-runtime-deadline-ms" not in headers
    assert "lambda-runtime-trace-id" not in headers


@pytest.mark.parametrize(
    "options",
    [
        {"trace_id": "Root=1\x01"},
        {"trace_id": "Root=1\r\nX: 1"},
        {"trace_id": "x" * MAX_HEADERS},
        {"function_arn": "arn\x7f"},
        {"headers": {"Lambda-Runtime-Client-Context": '{"a":"\u2603"}'}},
        {"headers": {"Lambda-Runtime-Client-Context": "\ud800"}},
        {"headers": {"Lambda-Runtime-Aws-Tenant-Id": "a\0b"}},
        {"headers": {"Lambda-Runtime-Cognito-Identity": "x" * 4000, "Lambda-Runtime-Client-Context": "x" * 5000}},
        {"headers": {"Lambda Runtime": "1"}},
        {"headers": {"": "1"}},
        {"request_id": "a b"},
        {"request_id": "a/b"},
        {"request_id": ""},
        {"request_id": "a\n"},
        {"request_id": "a" * 257},
        {"request_id": "é"},
    ],
)
async def test_what_the_runtime_could_not_read_is_refused_to_the_caller(
    api: RuntimeApiServer, runtime: RawRuntime, options: dict[str, Any]
) -> None:
    poll = asyncio.create_task(runtime.next())
    await api.idle()
    with pytest.raises(ValueError, match=r"Lambda-Runtime|Lambda Runtime|of an invocation"):
        await api.invoke(b"{}", **options)
    await api.invoke(b"{}", request_id="id")
    assert (await poll)[1]["lambda-runtime-aws-request-id"] == "id"


async def test_whatever_is_not_refused_our_own_runtime_reads(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    value = " \t\x85 \xa0" + "".join(map(chr, (*range(0x21, 0x7F), *range(0x80, 0x100))))
    context = value.ljust(MAX_HEADERS - 200, "x")
    await api.invoke(b"{}", request_id="a1.B-c_d~e:f", headers={"Lambda-Runtime-Client-Context": f"{context} "})
    await runtime.begin(f"GET {BASE}/invocation/next")
    parser = ReplyParser()
    while (reply := parser.next_reply()) is None:
        parser.receive_data(await runtime._reader.read(65536))
    invocation = parse_invocation(reply)
    assert (invocation.request_id, invocation.client_context) == ("a1.B-c_d~e:f", context.strip(" \t"))


async def test_a_buffered_response(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    invocation = await api.invoke(b"{}", request_id="id")
    await runtime.next()
    assert await runtime.post("invocation/id/response", b'"x"', "Content-Type: application/json\r\n") == OK
    result = await invocation.collect()
    assert (result.mode, result.content_type, result.chunks) == ("buffered", "application/json", [b'"x"'])
    assert (result.ending, result.reported_by, result.error_type, result.error) == (
        Ending.CLEAN,
        "response",
        None,
        None,
    )


async def test_each_chunk_is_relayed_before_the_next_is_written(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    invocation = await api.invoke(b"{}", request_id="id")
    await runtime.next()
    await runtime.begin(f"POST {BASE}/invocation/id/response", STREAMING + "Content-Type: text/x\r\n")
    assert await invocation.head() == Head("streaming", "text/x")
    pieces = aiter(invocation)
    await runtime.write(chunk(b"one"))
    first = await anext(pieces)
    assert (first.data, first.chunk_start, first.chunk_end) == (b"one", True, True)
    await runtime.write(b"6\r\ntwo")
    assert (await anext(pieces)).chunk_end is False
    await runtime.write(b"TWO\r\n")
    rest = await anext(pieces)
    assert (rest.data, rest.chunk_start, rest.chunk_end) == (b"TWO", False, True)
    await runtime.write(b"0\r\n\r\n")
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)
    assert invocation.end is not None
    assert invocation.end.ending is Ending.CLEAN
    assert (await runtime.reply())[0] == 202


async def test_collect_joins_pieces_into_chunks(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    invocation = await api.invoke(b"{}", request_id="id")
    await runtime.next()
    await runtime.begin(f"POST {BASE}/invocation/id/response", STREAMING)
    for byte in chunk(b"one") + chunk(b"two") + b"0\r\n\r\n":
        await runtime.write(bytes([byte]))
    result = await invocation.collect()
    assert result.chunks == [b"one", b"two"]
    assert result.body == b"onetwo"


DETAILS = {"errorType": "E", "errorMessage": "m", "stackTrace": ["line"]}
ENCODED = base64.b64encode(json.dumps(DETAILS).encode()).decode()


@pytest.mark.parametrize(
    ("trailers", "expected"),
    [
        ({"Error-Type": "Function.E", "Error-Body": ENCODED}, ("Function.E", DETAILS)),
        ({"Error-Type": "Function.E", "Error-Body": "not base64!"}, ("Function.E", {})),
        ({"Error-Type": "Function.E", "Error-Body": base64.b64encode(b'"text"').decode()}, ("Function.E", {})),
        ({"Error-Body": ENCODED}, ("Runtime.Unknown", DETAILS)),
        ({"Error-Type": "Function.E"}, ("Function.E", {})),
    ],
)
async def test_error_trailers(
    api: RuntimeApiServer, runtime: RawRuntime, trailers: dict[str, str], expected: tuple[str, dict[str, object]]
) -> None:
    invocation = await api.invoke(b"{}", request_id="id")
    await runtime.next()
    await runtime.begin(f"POST {BASE}/invocation/id/response", STREAMING)
    lines = "".join(f"Lambda-Runtime-Function-{name}: {value}\r\n" for name, value in trailers.items())
    await runtime.write(chunk(b"one") + f"0\r\n{lines}\r\n".encode())
    assert (await runtime.reply())[0] == 202
    result = await invocation.collect()
    assert (result.error_type, result.error) == expected
    assert (result.chunks, result.ending, result.reported_by) == ([b"one"], Ending.TRAILERS, "response")


async def test_trailers_that_were_not_announced_are_dropped(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    invocation = await api.invoke(b"{}", request_id="id")
    await runtime.next()
    headers = "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
    await runtime.begin(f"POST {BASE}/invocation/id/response", headers)
    await runtime.write(b"0\r\nLambda-Runtime-Function-Error-Type: Function.E\r\n\r\n")
    assert (await invocation.collect()).ending is Ending.CLEAN


async def test_error_instead_of_a_response(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    invocation = await api.invoke(b"{}", request_id="id")
    await runtime.next()
    header = "Lambda-Runtime-Function-Error-Type: Function.E\r\n"
    assert await runtime.post("invocation/id/error", json.dumps(DETAILS).encode(), header) == OK
    head = await invocation.head()
    assert head.mode is None
    assert str(head.error) == "E: m\nline"
    result = await invocation.collect()
    assert (result.error_type, result.error, result.reported_by) == ("Function.E", DETAILS, "error")
    assert (result.ending, result.chunks) == (Ending.ERROR, [])


async def test_a_slow_consumer_stops_the_reading(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    invocation = await api.invoke(b"{}", request_id="id")
    await runtime.next()
    await runtime.begin(f"POST {BASE}/invocation/id/response", STREAMING)
    total = 64 * 1024 * 1024

    async def flood() -> None:
        for _ in range(total // 65536):
            await runtime.write(chunk(b"x" * 65536))
        await runtime.write(b"0\r\n\r\n")

    writing = asyncio.create_task(flood())
    pieces = aiter(invocation)
    size = 0
    most = 0
    async for piece in pieces:
        size += len(piece.data)
        most = max(most, invocation._held)
        if size == len(piece.data):
            # Kernel buffers on both sides hold a few MB at most: the rest of 64 MB cannot have been written.
            for _ in range(1000):
                await asyncio.sleep(0)
            assert not writing.done()
    await writing
    assert size == total
    assert most <= 2 * HIGH_WATER


async def test_next_again_gives_the_same_event(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    await api.invoke(b'"event"', request_id="id")
    assert await runtime.next() == await runtime.next()


async def test_next_in_mid_stream_is_refused(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    invocation = await api.invoke(b"{}", request_id="id")
    await runtime.next()
    await runtime.begin(f"POST {BASE}/invocation/id/response", STREAMING)
    await invocation.head()
    async with RawRuntime(api.address) as other:
        status, _, body = await other.next()
        assert (status, json.loads(body)["errorType"]) == (403, "InvalidStateTransition")
    await runtime.write(b"0\r\n\r\n")
    assert (await runtime.reply())[0] == 202


async def test_error_in_mid_stream_blocks_until_the_end_and_is_refused(
    api: RuntimeApiServer, runtime: RawRuntime
) -> None:
    invocation = await api.invoke(b"{}", request_id="id")
    await runtime.next()
    await runtime.begin(f"POST {BASE}/invocation/id/response", STREAMING)
    await invocation.head()
    async with RawRuntime(api.address) as other:
        error = asyncio.create_task(other.post("invocation/id/error", b"{}"))
        await runtime.write(chunk(b"one"))
        await anext(aiter(invocation))
        assert not error.done()
        await runtime.write(b"0\r\n\r\n")
        assert failed(await error) == (403, "InvalidStateTransition")
    assert (await runtime.reply())[0] == 202


async def test_a_second_response_is_refused(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    await api.invoke(b"{}", request_id="id")
    await runtime.next()
    assert await runtime.post("invocation/id/response", b"1") == OK
    assert failed(await runtime.post("invocation/id/response", b"2")) == (403, "InvalidStateTransition")
    assert failed(await runtime.post("invocation/id/error", b"{}")) == (403, "InvalidStateTransition")


async def test_a_wrong_id_is_refused_and_the_right_one_still_taken(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    assert failed(await runtime.post("invocation/id/response")) == (400, "InvalidRequestID")
    invocation = await api.invoke(b"{}", request_id="id")
    await runtime.next()
    assert failed(await runtime.post("invocation/other/response", b"x")) == (400, "InvalidRequestID")
    assert failed(await runtime.post("invocation/other/error", b"{}")) == (400, "InvalidRequestID")
    assert await runtime.post("invocation/id/response", b"x") == OK
    assert (await invocation.collect()).body == b"x"


@pytest.mark.parametrize("mode", ["buffered", "Streaming", "x"])
async def test_an_unknown_mode_spoils_the_environment(api: RuntimeApiServer, runtime: RawRuntime, mode: str) -> None:
    invocation = await api.invoke(b"{}", request_id="id")
    await runtime.next()
    header = f"Lambda-Runtime-Function-Response-Mode: {mode}\r\n"
    assert failed(await runtime.post("invocation/id/response", b"x", header)) == (400, "InvalidFunctionResponseMode")
    assert (await runtime.next())[0] == 403
    assert (await runtime.next())[0] == 403
    assert (await invocation.collect()).error_type == "Runtime.InvalidResponseMode"
    with pytest.raises(EnvironmentFailed):
        await api.idle()


async def test_a_truncated_response_fails_and_the_next_invocation_works(api: RuntimeApiServer) -> None:
    invocation = await api.invoke(b"{}", request_id="id")
    async with RawRuntime(api.address) as first:
        await first.next()
        await first.begin(f"POST {BASE}/invocation/id/response", STREAMING)
        await first.write(chunk(b"one") + b"ff\r\nbroken")
        first.end_of_writing()
        status, _, body = await first.reply()
        assert (status, json.loads(body)["errorType"]) == (400, "TruncatedHTTPRequest")
    result = await invocation.collect()
    assert (result.body, result.ending, result.reported_by) == (b"onebroken", Ending.TRUNCATED, None)
    assert result.error_type == "Runtime.TruncatedResponse"
    again = await api.invoke(b"{}", request_id="second")
    async with RawRuntime(api.address) as second:
        assert (await second.next())[0] == 200
        assert await second.post("invocation/second/response", b"x") == OK
    assert (await again.collect()).body == b"x"


async def test_init_error_fails_the_waiting_invocation(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    invocation = await api.invoke(b"{}")
    assert await runtime.post("init/error", json.dumps(DETAILS).encode()) == OK
    assert (await invocation.collect()).error == DETAILS
    with pytest.raises(EnvironmentFailed, match="m"):
        await api.idle()
    assert (await (await api.invoke(b"{}")).head()).error is not None
    assert failed(await runtime.post("init/error", b"{}")) == (403, "InvalidStateTransition")


async def test_init_error_is_refused_after_the_first_poll(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    await api.invoke(b"{}")
    await runtime.next()
    assert failed(await runtime.post("init/error", b"{}")) == (403, "InvalidStateTransition")


async def test_an_open_poll_ends_when_the_environment_fails(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    poll = asyncio.create_task(runtime.next())
    await api.idle()
    api.fail(FunctionError("Runtime.ExitError"))
    assert (await poll)[0] == 403


async def test_one_invocation_at_a_time(api: RuntimeApiServer) -> None:
    await api.invoke(b"{}")
    with pytest.raises(RuntimeError, match="one invocation at a time"):
        await api.invoke(b"{}")


async def test_other_paths_are_not_found(runtime: RawRuntime) -> None:
    assert failed(await runtime.post("invocation/next")) == (404, "NotFound")


async def test_nonsense_is_answered_and_the_connection_closed(runtime: RawRuntime) -> None:
    await runtime.write(b"nonsense\r\n\r\n")
    assert (await runtime.reply())[0] == 400


async def test_expect_continue(api: RuntimeApiServer, runtime: RawRuntime) -> None:
    invocation = await api.invoke(b"{}", request_id="id")
    await runtime.next()
    await runtime.begin(f"POST {BASE}/invocation/id/response", "Content-Length: 1\r\nExpect: 100-continue\r\n")
    assert await runtime._reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
    await runtime.write(b"x")
    assert (await invocation.collect()).body == b"x"


async def test_closing_ends_an_invocation_in_mid_stream() -> None:
    async with RuntimeApiServer() as api:
        invocation = await api.invoke(b"{}", request_id="id")
        async with RawRuntime(api.address) as runtime:
            await runtime.next()
            await runtime.begin(f"POST {BASE}/invocation/id/response", STREAMING)
            await runtime.write(chunk(b"one"))
            assert (await anext(aiter(invocation))).data == b"one"
            await api.close()
    assert (await invocation.collect()).ending is Ending.TRUNCATED


def test_no_way_leads_out_of_failed_and_every_state_is_reached() -> None:
    assert {TRANSITIONS.get((State.FAILED, call)) for call in Call} == {None, State.FAILED}
    assert set(TRANSITIONS.values()) | {State.STARTING} == set(State)
