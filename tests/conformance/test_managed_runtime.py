"""The adapter as a plain handler, called by AWS's own runtime client: the real ``awslambdaric``.

It runs against our Runtime API server and against the emulator's default mode, which hands over the answer and hides
its content type, and does not tell an answer from an error. The emulator's Managed Instances mode is left out: its
function runs as another user, without the virtual environment that holds ``awslambdaric``.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.apps.matrix import PAGE, PAGE_HEADERS, ROWS
from tests.conformance.checks import buffered, read_answer
from tests.support.emulator import EmulatorPlatform, why_no_emulator
from tests.support.events import function_url_event
from tests.support.platforms import OwnPlatform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.platforms import Outcome

    Either = OwnPlatform | EmulatorPlatform

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        importlib.util.find_spec("awslambdaric") is None,
        reason=f"awslambdaric is not installed: it has no wheel for Python {sys.version_info[0]}.{sys.version_info[1]}",
    ),
]

PAGE_ANSWER = {"statusCode": 500, "headers": PAGE_HEADERS, "body": PAGE.decode(), "isBase64Encoded": False}
WARNING = "This response was to be streamed and is not"


@pytest.fixture(scope="module", params=["own", "emulator"])
def make_platform(request: pytest.FixtureRequest) -> type[Either]:
    """The class of a platform that can run here."""
    if request.param == "own":
        return OwnPlatform
    if (reason := why_no_emulator()) is not None:
        pytest.skip(reason)
    return EmulatorPlatform


def awslambdaric(make_platform: type[Either], name: str, module: str = "managed") -> Either:
    """A platform on which AWS's runtime runs ``name`` of a module of tests/apps."""
    handler = f"tests.apps.{module}.{name}"
    return make_platform(handler, command=[sys.executable, "-m", "awslambdaric", handler])


@pytest.fixture(scope="module")
async def platform(make_platform: type[Either]) -> AsyncIterator[Either]:
    """One process for all tests that ask for it."""
    async with awslambdaric(make_platform, "handler") as started:
        yield started


async def invoke(platform: Either, event: object) -> Any:
    """What the handler has returned, read from JSON."""
    outcome = await platform.invoke(json.dumps(event).encode())
    assert outcome.error is None, outcome.error
    if isinstance(platform, OwnPlatform):
        assert (outcome.mode, outcome.content_type) == ("buffered", "application/json")
    return json.loads(outcome.body)


async def facts(platform: Either, event: object = None) -> dict[str, Any]:
    answer = await invoke(platform, event or function_url_event(path="/facts"))
    assert answer["statusCode"] == 201
    value: dict[str, Any] = json.loads(answer["body"])
    return value


async def everything_logged(platform: Either) -> str:
    """The output up to this moment, once all of it has been read."""
    await invoke(platform, {"say": "goodbye"})
    await platform.output.wait_for("goodbye\n")
    return platform.output.text


@contextlib.asynccontextmanager
async def same_process(platform: Either) -> AsyncIterator[None]:
    """The next invocation works, in the process that served the one before."""
    before = (await facts(platform))["pid"]
    yield
    assert (await facts(platform))["pid"] == before


async def test_an_answer(platform: Either) -> None:
    """A dict of payload format 2.0."""
    answer = await invoke(platform, function_url_event("PUT", "/facts", "a=1%2B2"))
    seen = json.loads(answer.pop("body"))
    assert answer == {
        "statusCode": 201,
        "headers": {"content-type": "application/json"},
        "cookies": ["a=1", "b=2"],
        "isBase64Encoded": False,
    }
    assert (seen["method"], seen["path"], seen["query"]) == ("PUT", "/facts", "a=1%2B2")
    assert seen["context"] == "awslambdaric.lambda_context"
    assert seen["request_id"]
    assert seen["remaining_ms"] > 0


async def test_a_body_that_is_no_text(platform: Either) -> None:
    answer = await invoke(platform, function_url_event(path="/binary"))
    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"], validate=True) == bytes(range(256))


async def test_one_loop_and_one_startup_for_many_invocations(platform: Either) -> None:
    seen = [await facts(platform) for _ in range(3)]
    assert len({fact["pid"] for fact in seen}) == 1
    for fact in seen:
        assert (fact["loops"], fact["startups"], fact["state"]) == (1, 1, {"greeting": "from startup"})
    # The function for other events runs on it as well.
    assert (await invoke(platform, {"Records": []}))["loops"] == 1


@pytest.mark.parametrize(
    ("path", "error"), [("/fails", "ValueError: boom"), ("/half", "ValueError: boom"), ("/exits", "SystemExit: 3")]
)
async def test_an_app_that_fails(platform: Either, path: str, error: str) -> None:
    """A page for the client, a traceback in the log, and no error that Lambda would count."""
    logged = len(platform.output.text)
    async with same_process(platform):
        assert await invoke(platform, function_url_event(path=path)) == PAGE_ANSWER
    await platform.output.wait_for(error, since=logged)
    record = platform.output.text[logged:]
    assert "[ERROR]\t" in record
    assert "The app failed; its client gets a page of status 500\nTraceback (most recent call last):\n" in record


async def test_an_app_that_fails_after_its_response(platform: Either) -> None:
    logged = len(platform.output.text)
    async with same_process(platform):
        assert (await invoke(platform, function_url_event(path="/late")))["body"] == "in time"
    await platform.output.wait_for("ValueError: too late", since=logged)
    assert "The app failed after its response had ended\nTraceback" in platform.output.text[logged:]


@pytest.mark.parametrize("event", [{"Records": [1]}, [1], None, "ping", {"deep": {"ü": [None, 1.5, "😀"]}}])
async def test_an_event_that_is_no_request(platform: Either, event: object) -> None:
    answer = await invoke(platform, event)
    assert answer["seen"] == event


async def test_a_function_for_events_that_fails(platform: Either) -> None:
    """It goes to /error, as the client of such an event wants it: the queue tries again."""
    async with same_process(platform):
        outcome = await platform.invoke(b'{"fail": "no queue"}')
    check_error(platform, outcome, "ValueError", "no queue")


def check_error(platform: Either, outcome: Outcome, name: str, message: str) -> None:
    assert outcome.error is not None, outcome.body
    assert outcome.error["errorType"] == name
    assert message in outcome.error["errorMessage"]
    if isinstance(platform, OwnPlatform):
        assert outcome.reported_by == "error"


REST_EVENT = {
    "resource": "/{proxy+}",
    "path": "/facts",
    "httpMethod": "DELETE",
    "headers": {"Host": "api.example.com"},
    "multiValueHeaders": {"Host": ["api.example.com"]},
    "queryStringParameters": {"a": "c"},
    "multiValueQueryStringParameters": {"a": ["b", "c"]},
    "pathParameters": {"proxy": "facts"},
    "stageVariables": None,
    "requestContext": {
        "resourcePath": "/{proxy+}",
        "httpMethod": "DELETE",
        "path": "/facts",
        "protocol": "HTTP/1.1",
        "stage": "prod",
        "domainName": "api.example.com",
        "identity": {"sourceIp": "192.0.2.7", "userAgent": "test"},
        "requestId": "5f0e0d6c-8f3a-4f5e-9a58-1c4f2f3a9d11",
        "apiId": "abcdefgh",
    },
    "body": None,
    "isBase64Encoded": False,
}


async def test_an_event_of_a_rest_api(platform: Either) -> None:
    """Its answer has headers with one value, and lists of the repeated ones, cookies among them."""
    answer = await invoke(platform, REST_EVENT)
    seen = json.loads(answer.pop("body"))
    assert answer == {
        "statusCode": 201,
        "headers": {"content-type": "application/json"},
        "multiValueHeaders": {"set-cookie": ["a=1", "b=2"]},
        "isBase64Encoded": False,
    }
    assert (seen["method"], seen["path"], seen["query"]) == ("DELETE", "/facts", "a=b&a=c")


async def test_without_a_function_for_events(make_platform: type[Either]) -> None:
    async with awslambdaric(make_platform, "http_only") as platform:
        outcome = await platform.invoke(b'{"Records": []}')
        check_error(platform, outcome, "UnknownEventError", "no HTTP request that is understood")
        outcome = await platform.invoke(json.dumps(function_url_event(body="%", isBase64Encoded=True)).encode())
        check_error(platform, outcome, "EventError", "base64")
        assert (await facts(platform))["startups"] == 1


async def test_a_startup_that_fails(make_platform: type[Either]) -> None:
    """The process is up before its lifespan is: each invocation is told."""
    async with awslambdaric(make_platform, "startup_fails") as platform:
        for _ in range(2):
            outcome = await platform.invoke(json.dumps(function_url_event()).encode())
            check_error(platform, outcome, "LifespanError", "no database")


@pytest.mark.parametrize(("name", "count"), [("handler", 1), ("wrapped", 1), ("buffered", 0)])
async def test_the_warning_that_nothing_streams(make_platform: type[Either], name: str, count: int) -> None:
    """Once, however many invocations and of whichever source; never where the mode is set to buffered."""
    async with awslambdaric(make_platform, name) as platform:
        await invoke(platform, {"not": "to be streamed"})
        for event in (function_url_event(path="/facts"), REST_EVENT) * 2:
            await facts(platform, event)
        assert await invoke(platform, function_url_event(path="/fails")) == PAGE_ANSWER
        output = await everything_logged(platform)
    assert output.count(WARNING) == count
    assert output.count("[WARNING]") == count
    assert ("AWS_LAMBDA_EXEC_WRAPPER to /var/task/asgi_stream/bootstrap" in output) == (count == 1)


# The matrix


@pytest.fixture(scope="module")
async def matrix_platform(make_platform: type[Either]) -> AsyncIterator[Either]:
    async with awslambdaric(make_platform, "handler", "matrix") as started:
        yield started


@pytest.mark.parametrize("name", ROWS)
async def test_an_app_of_the_matrix(matrix_platform: Either, name: str) -> None:
    row = ROWS[name]
    before = await invoke(matrix_platform, function_url_event(path="/facts"))
    sent = {"body": row.sent} if row.sent else {}
    answer = await invoke(matrix_platform, function_url_event(row.method, f"/{name}", **sent))
    assert read_answer(answer) == buffered(row)
    assert await invoke(matrix_platform, function_url_event(path="/facts")) == before
