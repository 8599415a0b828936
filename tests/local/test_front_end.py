"""The Function URL's ASGI app, on a scripted pool."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import anyio
import h11
import pytest

from asgi_stream.local.front_end import MAX_EVENT, FrontEnd
from asgi_stream.local.function_error import FunctionError
from asgi_stream.local.invocation import HIGH_WATER, End, Ending, Head, Invocation
from asgi_stream.local.pool import Throttled
from asgi_stream.local.prelude import DELIMITER, INTEGRATION_RESPONSE

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

STREAM = Head("streaming", INTEGRATION_RESPONSE)
PRELUDE = b'{"statusCode":200,"headers":{"x":"1"}}' + DELIMITER
CLEAN = End(Ending.CLEAN)


class ScriptedPool:
    """Answers every event with one script: (head, chunks, end); or raises."""

    closed = False

    def __init__(self, *script: Any) -> None:
        self.script = script
        self.invocations: list[Invocation] = []

    async def invoke(self, event: bytes, **_: Any) -> Invocation:
        if isinstance(self.script[0], Exception):
            raise self.script[0]
        head, chunks, end = self.script
        invocation = Invocation(event, {})
        self.invocations.append(invocation)
        if head is not None:
            invocation.begin(head)
        for data in chunks:
            await invocation.put(data, chunk_start=True, chunk_end=True)
        invocation.finish(end)
        return invocation


class Exchange:
    """One request to the app."""

    def __init__(self, *script: Any) -> None:
        self.pool: Any = ScriptedPool(*script)
        self.sent: list[Any] = []

    async def run(
        self,
        method: str = "GET",
        body: bytes = b"",
        on_send: Callable[[Any], None] | None = None,
        messages: list[dict[str, Any]] | None = None,
    ) -> None:
        incoming = messages or [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return incoming.pop(0)

        async def send(message: Any) -> None:
            if on_send is not None:
                on_send(message)
            self.sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "raw_path": b"/a%20b",
            "path": "/a b",
            "query_string": b"q=1",
            "headers": [(b"host", b"here")],
            "client": ("127.0.0.1", 5),
            "server": ("127.0.0.1", 9000),
            "scheme": "http",
            "http_version": "1.1",
        }
        await FrontEnd(self.pool)(scope, receive, send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


async def test_each_piece_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    exchange = Exchange(STREAM, [PRELUDE, b"one", b"two"], CLEAN)
    await exchange.run()
    assert exchange.sent == [
        {"type": "http.response.start", "status": 200, "headers": [(b"x", b"1"), (b"date", ANY)]},
        {"type": "http.response.body", "body": b"one", "more_body": True},
        {"type": "http.response.body", "body": b"two", "more_body": True},
        {"type": "http.response.body", "body": b"", "more_body": False},
    ]
    assert json.loads(exchange.pool.invocations[0].event)["rawPath"] == "/a%20b"
    out, err = capsys.readouterr()
    assert out.startswith("GET /a%20b 200 2 chunks 6 B ")
    assert err == ""


async def test_the_date_of_an_app_stays_the_only_one() -> None:
    own = "Sun, 06 Nov 1994 08:49:37 GMT"
    prelude = json.dumps({"statusCode": 200, "headers": {"Date": own}}).encode() + DELIMITER
    exchange = Exchange(STREAM, [prelude], CLEAN)
    await exchange.run()
    assert exchange.sent[0]["headers"] == [(b"date", own.encode())]


ERROR = FunctionError("Function.E", {"errorMessage": "the message", "stackTrace": ["the trace"]})


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ((None, [], End(Ending.ERROR, ERROR)), "Function.E: the message\nthe trace"),
        ((STREAM, [b"no prelude"], CLEAN), "invalid prelude: the stream ended after 10 bytes"),
        ((STREAM, [b"[]" + DELIMITER, b"x"], CLEAN), "invalid prelude: the prelude is not a JSON object"),
        ((STREAM, [b"[]" + DELIMITER, PRELUDE, b"x"], CLEAN), "invalid prelude: the prelude is not a JSON object"),
        ((STREAM, [], CLEAN), "invalid prelude: the stream ended after 0 bytes"),
        ((STREAM, [b"{"], End(Ending.TRAILERS, ERROR)), "Function.E: the message\nthe trace"),
        ((RuntimeError("our own fault"),), "an error of the local Lambda itself"),
    ],
)
async def test_a_failure_before_the_status_is_a_502_and_the_reason_is_told(
    script: Any, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    exchange = Exchange(*script)
    await exchange.run()
    assert (exchange.status, exchange.body) == (502, b"Internal Server Error")
    out, err = capsys.readouterr()
    assert reason in err
    assert out.startswith("GET /a%20b 502 0 chunks 0 B ")


@pytest.mark.parametrize("ending", [Ending.TRAILERS, Ending.TRUNCATED])
async def test_a_failure_in_mid_stream_ends_the_body_and_is_told(
    ending: Ending, capsys: pytest.CaptureFixture[str]
) -> None:
    exchange = Exchange(STREAM, [PRELUDE, b"one"], End(ending, ERROR))
    await exchange.run()
    assert (exchange.status, exchange.body) == (200, b"one")
    assert exchange.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert "Function.E: the message" in capsys.readouterr().err


async def test_a_buffered_envelope_is_verbatim() -> None:
    envelope = b'{"statusCode": 404}'
    exchange = Exchange(Head("buffered", "application/json"), [envelope], CLEAN)
    await exchange.run()
    assert (exchange.status, exchange.body) == (200, envelope)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_no_body_where_none_may_be(method: str, status: int) -> None:
    prelude = json.dumps({"statusCode": status}).encode() + DELIMITER
    exchange = Exchange(STREAM, [prelude, b"body"], CLEAN)
    await exchange.run(method)
    assert (exchange.status, exchange.body) == (status, b"")
    assert len(exchange.sent) == 2


async def test_too_many_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    exchange = Exchange(Throttled())
    await exchange.run()
    assert exchange.status == 429
    assert json.loads(exchange.body) == {
        "Reason": "ConcurrentInvocationLimitExceeded",
        "Type": "User",
        "message": "Rate Exceeded.",
    }


@pytest.mark.parametrize("size", [MAX_EVENT + 1, MAX_EVENT * 3 // 4 + 3])
async def test_an_event_over_the_limit_is_refused(size: int) -> None:
    exchange = Exchange(STREAM, [PRELUDE], CLEAN)
    await exchange.run("POST", b"x" * size)
    assert exchange.status == 413
    assert exchange.pool.invocations == []


async def test_a_client_that_goes_within_its_request_invokes_nothing() -> None:
    exchange = Exchange(STREAM, [PRELUDE], CLEAN)
    await exchange.run(
        messages=[{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}]
    )
    assert exchange.sent == []
    assert exchange.pool.invocations == []


class Long:
    """A pool of one function, whose stream is longer than what is held for a client; `ended` is set at its end."""

    closed = False

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def invoke(self, event: bytes, **_: Any) -> Invocation:
        invocation = Invocation(event, {})
        self._producing = asyncio.create_task(self._produce(invocation))
        return invocation

    async def _produce(self, invocation: Invocation) -> None:
        invocation.begin(STREAM)
        for data in (PRELUDE, *[b"x" * HIGH_WATER] * 8):
            await invocation.put(data, chunk_start=True, chunk_end=True)
        invocation.finish(End(Ending.TRAILERS, ERROR))
        self.ended.set()


class Raises:
    """A server whose `send` raises at the message of that number."""

    def __init__(self, number: int, error: BaseException) -> None:
        self.left = number
        self.error = error

    def __call__(self, _: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise self.error


@pytest.mark.parametrize("number", [0, 1, 4, 9])
@pytest.mark.parametrize(
    "error",
    [OSError(), ConnectionResetError(), RuntimeError("odd"), h11.LocalProtocolError("no body here"), KeyError()],
)
async def test_what_the_server_raises_leaves_no_stream_unread(
    number: int, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    exchange = Exchange()
    exchange.pool = pool = Long()
    await exchange.run(on_send=Raises(number, error))
    assert pool.ended.is_set()
    out, err = capsys.readouterr()
    assert out.startswith("GET /a%20b 200 8 chunks 524288 B ")
    assert err.count("asgi-stream: ") == (1 if isinstance(error, OSError) else 2)
    assert "Function.E: the message" in err


async def test_a_request_that_is_cancelled_leaves_no_stream_unread() -> None:
    """As uvicorn does when it ends."""
    exchange = Exchange()
    exchange.pool = pool = Long()
    with pytest.raises(asyncio.CancelledError):
        await exchange.run(on_send=Raises(2, asyncio.CancelledError()))
    with anyio.fail_after(5):
        await pool.ended.wait()


async def test_a_client_that_goes_later_leaves_the_stream_to_be_drained() -> None:
    exchange = Exchange(STREAM, [PRELUDE, b"one", b"two"], CLEAN)

    def gone(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError

    await exchange.run(on_send=gone)
    assert [message["type"] for message in exchange.sent] == ["http.response.start"]
    with anyio.fail_after(5):
        assert (await exchange.pool.invocations[0].collect()).chunks == []
