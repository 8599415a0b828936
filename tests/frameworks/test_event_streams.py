"""Streams of real frameworks at their deadline, and what their generators see of it, compared with uvicorn."""

from __future__ import annotations

import asyncio
import gc
import importlib
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route

from asgi_stream import StreamingAdapter
from tests.frameworks.apps import starlette_app
from tests.frameworks.apps.stage import Stage
from tests.support.events import function_url_event
from tests.support.wire import Received, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

pytestmark = pytest.mark.anyio

FRAMEWORKS = ["django", "fastapi", "litestar", "quart", "sse_starlette", "starlette"]

# Where an error of `send` passes through Django, it does not close the file that a request's body may go to.
DJANGO_LEAVES_A_FILE = "ignore:Exception ignored in. <function SpooledTemporaryFile:Warning"

Steps = list[tuple[float, "Callable[[], None]"]]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "file")


def make(framework: str, stage: Stage) -> Any:
    return importlib.import_module(f"tests.frameworks.apps.{framework}_app").make(stage)


class Deadline:
    """Lets an invocation's deadline come, its disconnect, when the stream has begun and its first piece has been sent.

    Frameworks do these in one order or in the other.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._left = {"begun", "sent"}

    def has_begun(self) -> None:
        self._has("begun")

    def around(self, app: Any) -> Any:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            async def sends(message: Any) -> None:
                await send(message)
                if message.get("body"):
                    self._has("sent")

            await app(scope, receive, sends)

        return wrapped

    def _has(self, what: str) -> None:
        if self._left == {what}:
            asyncio.get_running_loop().call_soon(self._steps[-1][1])
        self._left.discard(what)


async def answer(app: Any, stage: Stage, steps: Steps, method: str = "GET", path: str = "/events") -> Received:
    """One invocation of ``app`` that meets the disconnect of its deadline in mid-stream."""
    deadline = Deadline(steps)
    stage.has_begun = deadline.has_begun
    due = str(int((time.time() + 3600) * 1000))
    event = function_url_event(method, path)
    event["headers"]["host"] = "testserver"
    api = await serve(StreamingAdapter(deadline.around(app), lifespan="off"), event, Lambda_Runtime_Deadline_Ms=due)
    (answer,) = api.answers
    assert answer.complete
    return answer


def error_type(answer: Received) -> str | None:
    return answer.trailers.get("lambda-runtime-function-error-type")


# One of FastAPI that is faster than its reader fails, under uvicorn as here: its producers meet a closed memory stream.
AT_THE_DEADLINE = [
    (name, floods) for name in FRAMEWORKS for floods in (False, True) if (name, floods) != ("fastapi", True)
]


@pytest.mark.parametrize(("framework", "floods"), AT_THE_DEADLINE)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.filterwarnings(DJANGO_LEAVES_A_FILE)
async def test_an_event_stream_at_its_deadline(
    framework: str, stage: Stage, steps: Steps, method: str, capsys: pytest.CaptureFixture[str], *, floods: bool
) -> None:
    """Each framework listens for the disconnect or meets the error of ``send``: none has to be cancelled."""
    stage.floods = floods
    response = await answer(make(framework, stage), stage, steps, method)
    assert response.prelude["statusCode"] == 200
    assert response.prelude["headers"]["content-type"].startswith("text/event-stream")
    assert b"one" in response.content
    log = capsys.readouterr().err
    assert "it was waiting here" not in log
    if method == "GET":
        assert error_type(response) is None
        assert log.startswith("[INFO]")
        assert log.count("\n") == 1
    else:
        assert error_type(response) == "Function.DeadlineExceeded"
        assert log.startswith("[ERROR]")
    steps.clear()  # they refer to the invocation
    gc.collect()  # here, where the warning is expected


@pytest.mark.parametrize("framework", [name for name in FRAMEWORKS if name != "sse_starlette"])
async def test_an_export_at_its_deadline(framework: str, stage: Stage, steps: Steps) -> None:
    response = await answer(make(framework, stage), stage, steps, path="/export")
    assert response.content == b"one"
    assert error_type(response) == "Function.DeadlineExceeded"


async def hands_on(request: Request, call_next: Callable[[Request], Any]) -> Response:
    """As any ``@app.middleware("http")``."""
    response: Response = await call_next(request)
    return response


JOINS = Middleware(BaseHTTPMiddleware, dispatch=hands_on)
GZIP = Middleware(GZipMiddleware, minimum_size=1)


@pytest.mark.parametrize(
    "middleware", [[JOINS], [JOINS, JOINS], [GZIP], [GZIP, JOINS], [JOINS, GZIP]], ids=["1", "2", "3", "4", "5"]
)
@pytest.mark.parametrize(("path", "ends_well"), [("/events", True), ("/export", False), ("/file", False)])
async def test_a_middleware_that_ends_what_has_stopped(
    stage: Stage, steps: Steps, middleware: list[Middleware], path: str, *, ends_well: bool
) -> None:
    """The middleware's last message is no sign that the body is whole."""

    async def file(request: Request) -> Response:
        return StreamingResponse(stage.endless(), media_type="image/png", headers={"content-length": "10"})

    app = Starlette(
        routes=[Route("/file", file), Mount("/", starlette_app.make(stage))],
        middleware=middleware,
    )
    response = await answer(app, stage, steps, path=path)
    assert error_type(response) == (None if ends_well else "Function.DeadlineExceeded")


async def test_a_generator_that_asks_for_the_disconnect(stage: Stage, steps: Steps) -> None:
    """Its end is the end of an event stream, and of nothing else."""

    def stream(media_type: str) -> Any:
        async def endpoint(request: Request) -> Response:
            async def pieces() -> AsyncIterator[str]:
                yield "one"
                stage.has_begun()
                while not await request.is_disconnected():  # noqa: ASYNC110 - as apps do
                    await asyncio.sleep(0)

            return StreamingResponse(pieces(), media_type=media_type)

        return endpoint

    app = Starlette(routes=[Route("/events", stream("text/event-stream")), Route("/export", stream("text/csv"))])
    events = await answer(app, stage, steps)
    assert (events.content, error_type(events)) == (b"one", None)
    export = await answer(app, stage, steps, path="/export")
    assert (export.content, error_type(export)) == (b"one", "Function.DeadlineExceeded")


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_generator_sees_what_it_sees_under_uvicorn(framework: str, stage: Stage, steps: Steps) -> None:
    """There when its client goes away, here at the deadline."""
    app = make(framework, stage)
    await answer(app, stage, steps)
    ours = await stage.endings.get()
    waits = asyncio.Event()
    stage.has_begun = waits.set
    config = uvicorn.Config(app, lifespan="off", log_level="critical", ws="none")
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup([listener])
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"GET /events HTTP/1.1\r\nhost: testserver\r\n\r\n")
        await reader.readuntil(b"one")
        await waits.wait()
        writer.close()
        theirs = await stage.endings.get()
        await server.shutdown([listener])
    assert ours == theirs == "CancelledError"
