"""Apps that fail and apps that are legal, each run in memory, on the local Lambda and on AWS's emulator.

In memory everything is seen but the process: it is the only way that shows the raw bytes and asserts that an error is
logged once. The local Lambda shows body and error of a broken stream together, from a real process. The emulator's
default mode shows the body and drops the error, its Managed Instances mode the reverse. What an app does after the end
of its response is seen by nobody but the log, everywhere. The HTTP front end shows what a client gets: a short body and
a clean end, whatever went wrong.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.local.function_error import from_trailers
from tests.apps import matrix
from tests.apps.matrix import FAILING, LEGAL, ROWS
from tests.conformance.checks import buffered, check_broken_stream, read_answer, split
from tests.support.dev import CHECKOUT, dev
from tests.support.events import function_url_event
from tests.support.wire import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.emulator import EmulatorPlatform
    from tests.support.platforms import OwnPlatform, Platform
    from tests.support.wire import Received

pytestmark = pytest.mark.anyio

HANDLER = "tests.apps.matrix.handler"
FACTS = function_url_event(path="/facts")


def event(name: str) -> dict[str, Any]:
    row = ROWS[name]
    return function_url_event(row.method, f"/{name}", **({"body": row.sent} if row.sent else {}))


# In memory


async def in_memory(name: str, **settings: Any) -> Received:
    """The answer to a row's request, once the one after it has been answered as well, and both well."""
    api = await serve(StreamingAdapter(matrix.app, pathsend=True, **settings), event(name), FACTS)
    answer, after = api.answers
    assert [request.target.rpartition("/invocation/")[2] for request in api.answers] == [
        "id-1/response",
        "id-2/response",
    ]
    assert answer.complete
    assert (after.complete, after.trailers) == (True, {})
    facts = json.loads(after.content or json.loads(after.body)["body"])
    assert facts["at work"] == []
    return answer


@pytest.mark.parametrize("name", FAILING)
async def test_a_failing_app_in_memory(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = FAILING[name]
    answer = await in_memory(name)
    assert (answer.prelude, answer.content) == (row.prelude, row.body)
    log = capsys.readouterr().err
    assert log.startswith("[ERROR]\t")
    assert log.count("[ERROR]") == 1
    assert "Traceback (most recent call last)" in log
    if row.logged is not None:
        assert answer.trailers == {}
        assert "\tid-1\tFailed after the response had ended; Lambda counts no error\n" in log
        assert all(text in log for text in row.logged)
        return
    assert row.error is not None
    error_type, message = row.error
    assert "\tid-1\tThe invocation failed\n" in log
    assert error_type in log
    assert set(answer.trailers) == {"lambda-runtime-function-error-type", "lambda-runtime-function-error-body"}
    base64.b64decode(answer.trailers["lambda-runtime-function-error-body"], validate=True)
    error = from_trailers(answer.trailers)
    assert error is not None
    assert error.error_type == f"Function.{error_type}"
    assert set(error.details) == {"errorType", "errorMessage", "stackTrace"}
    assert error.details["errorType"] == error_type
    assert message in error.details["errorMessage"]


@pytest.mark.parametrize("name", LEGAL)
async def test_a_legal_app_in_memory(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = LEGAL[name]
    answer = await in_memory(name)
    assert (answer.prelude, answer.content, answer.trailers) == (row.prelude, row.body, {})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ROWS)
async def test_a_buffered_answer_in_memory(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is out before the app has ended its response: a failure until then leaves no half of it."""
    row = ROWS[name]
    answer = await in_memory(name, invoke_mode="buffered")
    assert answer.trailers == {}
    assert read_answer(json.loads(answer.body)) == buffered(row)
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == (1 if row.error else 0)


# In a process of their own


@pytest.fixture(scope="module")
async def platform(make_platform: type[OwnPlatform | EmulatorPlatform]) -> AsyncIterator[Platform]:
    """A started platform, one for all rows: what one leaves behind, the next has to live with, as on Lambda."""
    async with make_platform(HANDLER) as started:
        yield started


async def facts(platform: Platform) -> dict[str, Any]:
    _, body = split(await platform.invoke(json.dumps(FACTS).encode()))
    value: dict[str, Any] = json.loads(body)
    return value


@pytest.mark.parametrize("name", FAILING)
async def test_a_failing_app_on_a_platform(platform: Platform, name: str) -> None:
    row = FAILING[name]
    before = await facts(platform)
    logged = len(platform.output.text)
    outcome = await platform.invoke(json.dumps(event(name)).encode())
    if row.error is not None:
        check_broken_stream(platform, outcome, (row.prelude, row.body), *row.error)
    else:
        assert split(outcome) == (row.prelude, row.body)
    assert await facts(platform) == before
    told = row.error or row.logged
    assert told is not None
    await platform.output.wait_for('", line ', since=logged)  # of a traceback, in text or in JSON
    await platform.output.wait_for(told[0], since=logged)


@pytest.mark.parametrize("name", LEGAL)
async def test_a_legal_app_on_a_platform(platform: Platform, name: str) -> None:
    row = LEGAL[name]
    before = await facts(platform)
    assert split(await platform.invoke(json.dumps(event(name)).encode())) == (row.prelude, row.body)
    assert await facts(platform) == before


def test_what_a_client_of_the_front_end_gets() -> None:
    """The error stands in the terminal. Nothing is said of the process: a slow poll starts a further one."""
    got = {}
    with dev(handler="tests.apps.matrix:handler", folder=CHECKOUT) as running:
        for name, row in ROWS.items():
            response = running.client.request(row.method, f"/{name}", content=row.sent or None)
            got[name] = (response.status_code, response.content)
        lines = running.stop().splitlines()
    assert got == {name: (row.status, row.body) for name, row in ROWS.items()}
    for name, row in ROWS.items():
        told = [line for line in lines if line.startswith(f"asgi-stream: {row.method} /{name}: ")]
        if row.error is None:
            assert told == []
            continue
        error_type, message = row.error
        (line,) = told
        assert f": {error_type}" in line
        assert message.partition("\r")[0] in line
