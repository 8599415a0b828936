"""One suite over every platform that can run the real ``bootstrap`` on this machine.

What holds on Lambda has to hold on each. Where a platform hides something, its properties say so and the test asserts
what is left. The emulator buffers a response to its end, so when a byte arrives is no subject here.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps.conformance import COOKIES, LARGE_PIECES, MESSAGES, large_piece
from tests.conformance.checks import DELIMITER, check_broken_stream, check_error, split, split_stream
from tests.support.emulator import ManagedInstancesPlatform
from tests.support.events import function_url_event
from tests.support.platforms import OwnPlatform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.emulator import EmulatorPlatform
    from tests.support.platforms import Platform

pytestmark = pytest.mark.anyio

HANDLER = "tests.apps.conformance.handler"
PAGE_PRELUDE = {
    "statusCode": 500,
    "headers": {"content-type": "text/plain; charset=utf-8", "content-length": "21"},
}
PAGE = b"Internal Server Error"


@pytest.fixture(scope="module")
async def platform(make_platform: type[OwnPlatform | EmulatorPlatform]) -> AsyncIterator[Platform]:
    """A started platform, one for all tests: what one leaves behind, the next has to live with, as on Lambda."""
    async with make_platform(HANDLER) as started:
        yield started


@pytest.fixture(scope="module")
async def own() -> AsyncIterator[OwnPlatform]:
    """Our own server, for what only it can show."""
    async with OwnPlatform(HANDLER) as started:
        yield started


def event(method: str = "GET", path: str = "/", query: str = "", **changes: Any) -> bytes:
    return json.dumps(function_url_event(method, path, query, **changes)).encode()


async def facts(platform: Platform) -> dict[str, Any]:
    _, body = split(await platform.invoke(event(path="/facts")))
    value: dict[str, Any] = json.loads(body)
    return value


@contextlib.asynccontextmanager
async def same_process(platform: Platform) -> AsyncIterator[None]:
    """The next invocation works, in the process that served the one before."""
    before = await facts(platform)
    yield
    after = await facts(platform)
    assert (after["pid"], after["startups"]) == (before["pid"], before["startups"])


# Responses


async def test_messages_arrive_verbatim(platform: Platform) -> None:
    """Prelude, exactly 8 NULs, and the body: with every byte value, NULs and line ends."""
    outcome = await platform.invoke(event(path="/messages"))
    prelude, body = split(outcome)
    assert prelude == {"statusCode": 200, "headers": {"content-type": "application/octet-stream"}}
    # A ninth NUL of a delimiter too long would stand before the first message.
    assert body == b"".join(MESSAGES)


async def test_mode_and_content_type(platform: Platform) -> None:
    """The default-mode emulator hands over neither."""
    outcome = await platform.invoke(event(path="/messages"))
    shown = (outcome.mode, outcome.content_type)
    if isinstance(platform, OwnPlatform | ManagedInstancesPlatform):
        assert shown == ("streaming", "application/vnd.awslambda.http-integration-response")
    else:
        assert shown == (None, None)


async def test_each_message_is_one_chunk(own: OwnPlatform) -> None:
    """Only a server that reads the wire can show this: both modes of the emulator join the chunks."""
    outcome = await own.invoke(event(path="/messages"))
    assert outcome.chunks is not None
    prelude, *chunks = outcome.chunks
    assert prelude.endswith(DELIMITER)
    assert split_stream(prelude)[1] == b""
    assert chunks == [message for message in MESSAGES if message]


async def test_cookies_stand_in_the_prelude(platform: Platform) -> None:
    prelude, body = split(await platform.invoke(event(path="/cookies")))
    assert prelude == {"statusCode": 200, "headers": {}, "cookies": list(COOKIES)}
    assert body == b""


@pytest.mark.parametrize("status", [200, 204, 304, 404])
async def test_a_response_without_a_body(platform: Platform, status: int) -> None:
    """The prelude goes out although no body byte ever does, and the stream ends."""
    prelude, body = split(await platform.invoke(event(path="/status", query=f"status={status}")))
    assert prelude == {"statusCode": status, "headers": {}}
    assert body == b""


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_a_redirect(platform: Platform, status: int) -> None:
    prelude, body = split(await platform.invoke(event(path="/redirect", query=f"status={status}")))
    assert prelude == {"statusCode": status, "headers": {"location": "/elsewhere"}}
    assert body == b""


async def test_head_has_the_headers_and_no_body(platform: Platform) -> None:
    prelude, body = split(await platform.invoke(event("HEAD", "/messages")))
    assert prelude == {"statusCode": 200, "headers": {"content-type": "application/octet-stream"}}
    assert body == b""


async def test_a_large_body(platform: Platform) -> None:
    """3 MB in pieces: more than any buffer on the way, less than the emulator's limit of 6 MiB."""
    _, body = split(await platform.invoke(event(path="/large")))
    assert body == b"".join(large_piece(number) for number in range(LARGE_PIECES))


# Requests


async def test_a_text_body(platform: Platform) -> None:
    text = "grüße, 世界\x00\r\n"
    _, body = split(await platform.invoke(event("POST", "/echo", body=text)))
    assert body == text.encode()


async def test_a_base64_body(platform: Platform) -> None:
    data = bytes(range(256)) * 100
    sent = event("POST", "/echo", body=base64.b64encode(data).decode(), isBase64Encoded=True)
    _, body = split(await platform.invoke(sent))
    assert body == data


async def test_an_event_without_a_body(platform: Platform) -> None:
    _, body = split(await platform.invoke(event("POST", "/echo")))
    assert body == b""


async def test_path_and_query_reach_the_app(platform: Platform) -> None:
    """The raw ones as sent, the path decoded once."""
    _, body = split(await platform.invoke(event("PUT", "/%66acts", "a=1%2B2&a=b+c")))
    assert json.loads(body)["scope"] == {
        "method": "PUT",
        "path": "/facts",
        "raw_path": base64.b64encode(b"/%66acts").decode(),
        "query_string": base64.b64encode(b"a=1%2B2&a=b+c").decode(),
    }


async def test_the_event_reaches_the_app(platform: Platform) -> None:
    sent = function_url_event("GET", "/facts", "q=%C3%BC", stageVariables={"deep": [1, 2.5, None, "😀"]})
    _, body = split(await platform.invoke(json.dumps(sent).encode()))
    assert json.loads(body)["event"] == sent


async def test_the_context_reaches_the_app(platform: Platform) -> None:
    """The emulator's invoker is not told the request id, and its Managed Instances mode sends a deadline of years."""
    outcomes = [await platform.invoke(event(path="/facts")) for _ in range(2)]
    seen = [json.loads(split(outcome)[1]) for outcome in outcomes]
    ids = [fact["request_id"] for fact in seen]
    assert all(ids)
    assert ids[0] != ids[1]
    if isinstance(platform, OwnPlatform):
        assert ids == [outcome.request_id for outcome in outcomes]
    for fact in seen:
        assert fact["function_name"]
        assert fact["remaining_ms"] > 0
        if platform.longest_deadline_ms is not None:
            assert fact["remaining_ms"] <= platform.longest_deadline_ms


async def test_one_startup_for_many_invocations(platform: Platform) -> None:
    """The process, its startup and the state that it left are the same for each."""
    first, second = await facts(platform), await facts(platform)
    assert first["pid"] == second["pid"]
    assert (first["startups"], second["startups"]) == (1, 1)
    assert first["state"] == second["state"] == {"greeting": "from startup"}


async def test_the_function_runs_on_the_interpreter_of_the_tests(platform: Platform) -> None:
    """Else a run of the tests on one version would speak of another."""
    assert (await facts(platform))["python"] == list(sys.version_info[:2])


# Failures: one error each, and the next invocation works in the same process


async def test_the_app_raises_before_its_start(platform: Platform) -> None:
    """A 500 page and the error: both on our own server's wire only.

    The default-mode emulator hands over the page and drops the trailers; Managed Instances mode hands over the error
    and drops the page.
    """
    async with same_process(platform):
        outcome = await platform.invoke(event(path="/raise"))
    check_broken_stream(platform, outcome, (PAGE_PRELUDE, PAGE), "ValueError", "raised before the start")


async def test_the_app_raises_in_mid_stream(platform: Platform) -> None:
    """What was sent stays, the error follows it. Default mode shows the former, Managed Instances mode the latter."""
    async with same_process(platform):
        outcome = await platform.invoke(event(path="/raise-later"))
    expected = ({"statusCode": 200, "headers": {}}, b"one")
    check_broken_stream(platform, outcome, expected, "ValueError", "raised in mid-stream")


async def test_the_stack_of_an_error_starts_in_the_app(platform: Platform) -> None:
    """The default-mode emulator drops it with the trailers."""
    outcome = await platform.invoke(event(path="/raise"))
    if not platform.shows_trailers:
        assert outcome.error is None
        return
    assert outcome.error is not None
    first, *_ = outcome.error["stackTrace"]
    assert "tests/apps/conformance.py" in first
    assert "in app" in first


async def test_the_app_returns_without_an_answer(platform: Platform) -> None:
    """As if it had raised before its start."""
    async with same_process(platform):
        outcome = await platform.invoke(event(path="/silent"))
    check_broken_stream(platform, outcome, (PAGE_PRELUDE, PAGE), "AppError", "returned")


async def test_the_app_returns_in_mid_stream(platform: Platform) -> None:
    """As if it had raised there: no clean end hides what is missing."""
    async with same_process(platform):
        outcome = await platform.invoke(event(path="/unfinished"))
    expected = ({"statusCode": 200, "headers": {}}, b"one")
    check_broken_stream(platform, outcome, expected, "AppError", "returned")


@pytest.mark.parametrize(
    ("sent", "name", "message"),
    [
        pytest.param(b'["an", "array"]', "UnknownEventError", "array", id="array"),
        pytest.param(b'"text"', "UnknownEventError", "string", id="string"),
        pytest.param(b"null", "UnknownEventError", "null", id="null"),
        pytest.param(b"{not json", "EventError", "not JSON", id="not-json"),
        pytest.param(b'{"Records": []}', "UnknownEventError", "Records", id="not-understood"),
        pytest.param(event(body="not base64!", isBase64Encoded=True), "EventError", "base64", id="broken-base64"),
        pytest.param(event(body="YWJ", isBase64Encoded=True), "EventError", "base64", id="base64-cut-short"),
        pytest.param(event(rawPath=["/"]), "EventError", "rawPath", id="field-of-another-kind"),
    ],
)
async def test_an_event_that_is_no_request(platform: Platform, sent: bytes, name: str, message: str) -> None:
    """No app has seen it: it goes to /error, before any response.

    The default-mode emulator hands over the posted JSON and no error type; that it was a POST to /error, and not a
    response of the same bytes, is seen on our own server.
    """
    async with same_process(platform):
        outcome = await platform.invoke(sent)
    check_error(outcome, name, message)
    assert outcome.body == b""
    assert outcome.error_type == (f"Function.{name}" if platform.shows_error_type else None)
    if isinstance(platform, OwnPlatform):
        assert (outcome.mode, outcome.reported_by) == (None, "error")


async def test_failures_in_a_row(platform: Platform) -> None:
    """No failure leaves something on the connection that the next one trips over."""
    async with same_process(platform):
        for path in ("/raise", "/raise-later", "/silent", "/unfinished"):
            await platform.invoke(event(path=path))
            check_error(await platform.invoke(b"[]"), "UnknownEventError", "array")
