"""Access records: one for each HTTP invocation, as JSON or in CloudWatch's embedded metric format."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.routing import Mount

from asgi_stream import StreamingAdapter, access_log
from asgi_stream.testing import alb_event
from tests.support.events import function_url_event
from tests.support.wire import serve
from tests.test_invariants import fresh_interpreter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

app = FastAPI()


@app.get("/items/{number}")
async def item(number: int) -> StreamingResponse:
    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"three"
        if number == 2:
            raise ValueError("boom")

    return StreamingResponse(body())


@app.get("/raises")
async def raises() -> None:
    raise ValueError("boom")


@pytest.fixture(autouse=True)
def first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has served nothing."""
    monkeypatch.setattr(access_log, "_is_first", True)


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


async def recorded(
    capsys: pytest.CaptureFixture[str], *events: Any, adapter: StreamingAdapter | None = None, **headers: Any
) -> list[dict[str, Any]]:
    await serve(adapter or StreamingAdapter(app, access_log="json"), *events, **headers)
    return records(capsys)


async def test_a_streamed_response(capsys: pytest.CaptureFixture[str]) -> None:
    event = function_url_event(path="/items/1", rawQueryString="secret=1")
    first, second = await recorded(capsys, event, event)
    assert second.pop("timestamp")
    times = second.pop("timeToFirstByteMs"), second.pop("durationMs")
    assert 0 < times[0] <= times[1]
    assert second == {
        "level": "INFO",
        "type": "asgi_stream.access",
        "requestId": "id-2",
        "method": "GET",
        "path": "/items/1",
        "route": "/items/{number}",
        "status": 200,
        "chunks": 2,
        "bytes": 8,
        "end": "whole",
        "coldStart": False,
    }
    assert first["coldStart"] is True


async def test_failures(capsys: pytest.CaptureFixture[str]) -> None:
    in_mid_stream, before, missing = await recorded(
        capsys, *(function_url_event(path=path) for path in ("/items/2", "/raises", "/missing"))
    )
    assert (in_mid_stream["end"], in_mid_stream["errorType"], in_mid_stream["chunks"]) == ("error", "ValueError", 2)
    assert (before["end"], before["status"], before["errorType"]) == ("error", 500, "ValueError")
    assert (missing["end"], missing["status"]) == ("whole", 404)
    assert "errorType" not in missing


async def test_a_status_that_counts_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    adapter = StreamingAdapter(app, access_log="json", error_status_codes="404")
    event = function_url_event(path="/missing")
    for record in await recorded(capsys, event, alb_event(target="/missing"), adapter=adapter):
        assert (record["end"], record["status"], record["errorType"]) == ("error", 404, "StatusError")


async def test_the_deadline(capsys: pytest.CaptureFixture[str], time_runs_out: Callable[[], None]) -> None:
    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        asyncio.get_running_loop().call_soon(time_runs_out)
        await asyncio.Event().wait()

    due = str(int((time.time() + 3600) * 1000))
    adapter = StreamingAdapter(waits, lifespan="off", access_log="json")
    (record,) = await recorded(capsys, function_url_event(), adapter=adapter, Lambda_Runtime_Deadline_Ms=due)
    assert (record["end"], record["errorType"], record["chunks"]) == ("deadline", "DeadlineExceeded", 1)


@pytest.mark.parametrize(
    ("event", "content_type", "error"),
    [
        (function_url_event(), b"text/plain", "DeadlineExceeded"),
        (function_url_event(), b"text/event-stream", None),
        (alb_event(), b"text/plain", "DeadlineExceeded"),
    ],
    ids=["streamed", "left open", "buffered"],
)
async def test_an_app_that_goes_on_after_its_deadline(
    event: Any,
    content_type: bytes,
    error: str | None,
    capsys: pytest.CaptureFixture[str],
    time_runs_out: Callable[[], None],
    steps: list[tuple[float, Callable[[], None]]],
) -> None:
    """Its record is written when it is abandoned, and not again when it returns."""
    go_on = asyncio.Event()
    returned = asyncio.Event()

    async def stubborn(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        asyncio.get_running_loop().call_soon(time_runs_out)
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                asyncio.get_running_loop().call_soon(steps[-1][1])  # it is given up
        returned.set()

    due = str(int((time.time() + 3600) * 1000))
    adapter = StreamingAdapter(stubborn, lifespan="off", access_log="json")
    try:
        (record,) = await recorded(capsys, event, adapter=adapter, Lambda_Runtime_Deadline_Ms=due)
        assert (record["end"], record.get("errorType")) == ("deadline", error)
    finally:
        go_on.set()
        await returned.wait()
    await asyncio.sleep(0)
    assert records(capsys) == []


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/shops/3", "/v1/shops/{number}"),
        ("/v2/shops/3", "/v2/shops/{number}"),
        ("/1/items/1", "/1/items/{number}"),
        ("/of/acme/v1/shops/3", "/of/{owner}/v1/shops/{number}"),
        ("/of/7/items/7", "/of/{owner}/items/{number}"),
    ],
)
async def test_the_route_of_routers_and_mounts(path: str, route: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Routes that differ in their prefix are different ones, and no value of a parameter makes one of its own."""
    router = APIRouter(prefix="/shops")

    @router.get("/{number}")
    async def shop(number: int) -> int:
        return number

    inner, outer = FastAPI(), FastAPI()
    inner.get("/items/{number}")(shop)
    for included_by in (inner, outer):
        included_by.include_router(router, prefix="/v1")
        included_by.include_router(router, prefix="/v2")
    outer.mount("/1", inner)
    outer.mount("/of/{owner}", inner)
    (record,) = await recorded(
        capsys, function_url_event(path=path), adapter=StreamingAdapter(outer, access_log="json")
    )
    assert (record["status"], record["route"]) == (200, route)


async def test_the_route_of_a_mount(capsys: pytest.CaptureFixture[str]) -> None:
    async def files(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})

    site = Starlette(routes=[Mount("/static/{folder}", files)])
    event = function_url_event(path="/static/css/a.css")
    (record,) = await recorded(capsys, event, adapter=StreamingAdapter(site, access_log="json"))
    assert record["route"] == "/static/{folder}"


async def test_buffered_answers(capsys: pytest.CaptureFixture[str]) -> None:
    good, failed = await recorded(capsys, alb_event(target="/items/1"), alb_event(target="/raises"))
    assert (good["status"], good["chunks"], good["bytes"], good["end"]) == (200, 1, 8, "whole")
    assert (failed["status"], failed["end"], failed["errorType"]) == (500, "error", "ValueError")


async def test_events_that_are_not_requests_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    adapter = StreamingAdapter(app, access_log="json", on_event=lambda event, context: {})
    assert await recorded(capsys, {"Records": []}, adapter=adapter) == []


def test_outside_of_our_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    adapter = StreamingAdapter(app, access_log="json", invoke_mode="buffered")
    adapter(function_url_event(path="/items/1"), None)
    adapter.close()
    (record,) = records(capsys)
    assert (record["status"], record["bytes"]) == (200, 8)
    assert "requestId" not in record


async def test_embedded_metrics(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By CloudWatch's specification: each metric and dimension that is named is a member of the root."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "shop")
    adapter = StreamingAdapter(app, access_log="emf")
    before = time.time() * 1000
    good, failed, missing = await recorded(
        capsys, *(function_url_event(path=path) for path in ("/items/1", "/items/2", "/missing")), adapter=adapter
    )
    for record in (good, failed, missing):
        assert before - 1 <= record["_aws"]["Timestamp"] <= time.time() * 1000
        (directive,) = record["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "asgi-stream"
        for metric in directive["Metrics"]:
            assert isinstance(record[metric["Name"]], (int, float))
            assert metric["Unit"] in ("Milliseconds", "Count", "Bytes")
        for dimensions in directive["Dimensions"]:
            assert all(isinstance(record[dimension], str) for dimension in dimensions)
    assert good["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["FunctionName"], ["FunctionName", "Route"]]
    assert missing["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["FunctionName"]]
    assert (good["FunctionName"], good["Route"]) == ("shop", "/items/{number}")
    assert [record["Errors"] for record in (good, failed, missing)] == [0, 1, 0]
    assert [record["ColdStarts"] for record in (good, failed, missing)] == [1, 0, 0]
    assert (good["Chunks"], good["Bytes"]) == (2, 8)


async def test_a_long_path_and_one_that_is_not_text(capsys: pytest.CaptureFixture[str]) -> None:
    long, odd = await recorded(capsys, function_url_event(path="/" + "x" * 5000), function_url_event(path="/%FF%0A%22"))
    assert len(long["path"]) == access_log.MAX_TEXT
    assert odd["path"] == '/\ufffd\n"'


class Hostile:
    @property
    def path(self) -> str:
        raise RuntimeError

    @property
    def aws_request_id(self) -> str:
        raise RuntimeError


async def test_objects_of_others_break_no_record(capsys: pytest.CaptureFixture[str]) -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = scope["app_root_path"] = scope["root_path"] = Hostile()
        scope["fastapi"] = {"effective_route_context": Hostile()}
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})

    adapter = StreamingAdapter(bare, lifespan="off", access_log="emf", invoke_mode="buffered")
    assert adapter(function_url_event(), Hostile())["statusCode"] == 200
    adapter.close()
    assert len(records(capsys)) == 1


async def test_an_app_that_changes_its_scope(capsys: pytest.CaptureFixture[str]) -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        scope["path"] = 7
        del scope["method"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})

    adapter = StreamingAdapter(bare, lifespan="off", access_log="json")
    (record,) = await recorded(capsys, function_url_event(path="/asked"), adapter=adapter)
    assert (record["method"], record["path"]) == ("GET", "/asked")


class Exiting:
    def write(self, text: str) -> None:
        raise SystemExit(1)

    def flush(self) -> None:
        raise SystemExit(1)


async def test_a_stdout_that_exits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout", Exiting())
    api = await serve(StreamingAdapter(app, access_log="json"), function_url_event(path="/items/1"))
    monkeypatch.undo()
    assert (api.answers[0].content, api.answers[0].trailers) == (b"onethree", {})
    assert '"path":"/items/1"' in capsys.readouterr().err


async def test_a_stdout_that_is_closed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout", None)
    api = await serve(StreamingAdapter(app, access_log="json"), function_url_event(path="/items/1"))
    assert api.answers[0].content == b"onethree"
    assert '"path":"/items/1"' in capsys.readouterr().err


def test_nothing_of_it_is_imported_unless_it_is_on() -> None:
    code = "from asgi_stream import StreamingAdapter; StreamingAdapter(print)"
    assert not {"asgi_stream.access_log", "asgi_stream.keep_alive"} & fresh_interpreter(code)
