"""Files of Starlette and FastAPI, with the middleware that people put around them: as under uvicorn, field by field."""

from __future__ import annotations

import contextlib
import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, Response
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from asgi_stream import StreamingAdapter
from asgi_stream.testing import SyncLambdaTransport, exchange
from tests.support.dev import CHECKOUT, dev
from tests.support.uvicorn_server import under_uvicorn
from tests.test_end_to_end import peak_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asgi_stream.testing.transport import Source

SOURCES: list[Source] = ["function_url", "rest_api", "http_api", "alb", "lambda_edge"]
CONTENT = b"<p>all the same</p>\n" * 500
HEADERS = [
    {"accept-encoding": "gzip"},
    {"accept-encoding": "identity"},
    {"accept-encoding": "gzip", "range": "bytes=10-99"},
]


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The working directory, with two files."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "static").mkdir()
    for name in ("index.html", "static/app.js"):
        (folder / name).write_bytes(CONTENT)
    with contextlib.chdir(folder):
        yield


class KnowsTwoMessages:
    """Middleware as many wrote it: a message that is not the start is a piece of the body."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sends(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-seen", b"yes"))
                await send(message)
            else:
                await send({**message, "body": message["body"].replace(b"same", b"SAME")})

        await self.app(scope, receive, sends)


class SendsALengthAtTheEnd:
    """Middleware that holds the start back until it has the whole body, as one that caches or hashes does."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        start: Any = None
        body = b""

        async def sends(message: Any) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            assert message["type"] == "http.response.body"
            body += message["body"]
            if not message.get("more_body"):
                await send({**start, "headers": [*start["headers"], (b"x-length", b"%d" % len(body))]})
                await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, sends)


def files(*middleware: Middleware) -> Starlette:
    def index(request: Request) -> FileResponse:
        return FileResponse("index.html")

    static = StaticFiles(directory="static")
    return Starlette(routes=[Route("/index", index), Mount("/static", static)], middleware=middleware)


def plain() -> Starlette:
    return files()


def compressed() -> Starlette:
    return files(Middleware(GZipMiddleware, minimum_size=500))


def of_two_messages() -> Starlette:
    return files(Middleware(KnowsTwoMessages))


def with_a_length() -> Starlette:
    return files(Middleware(SendsALengthAtTheEnd))


def joined() -> FastAPI:
    """As in Starlette's and FastAPI's own threads on how to read a response in middleware."""
    app = FastAPI()

    @app.middleware("http")
    async def join(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        body = b"".join([piece async for piece in response.body_iterator])
        headers = {**response.headers, "x-length": str(len(body))}
        return Response(body.upper(), response.status_code, headers, response.media_type)

    @app.get("/index")
    async def index() -> FileResponse:
        return FileResponse("index.html")

    app.mount("/static", StaticFiles(directory="static"))
    return app


def wrapped_twice() -> Starlette:
    return files(Middleware(GZipMiddleware, minimum_size=500), Middleware(KnowsTwoMessages))


APPS: list[Callable[[], Any]] = [plain, compressed, of_two_messages, with_a_length, joined, wrapped_twice]


def facts(response: httpx.Response) -> tuple[Any, ...]:
    # AWS renames the length of a stream, and Lambda@Edge makes its own.
    ours = re.compile("x-amzn-|content-length$")
    headers = sorted(
        pair for pair in response.headers.multi_items() if not ours.match(pair[0]) and pair[0] != "connection"
    )
    return response.status_code, headers, response.content


@pytest.fixture(scope="module", params=APPS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Any, httpx.Client]]:
    """An app, and a client of one like it under uvicorn."""
    with under_uvicorn(request.param()) as url, httpx.Client(base_url=url) as client:
        yield request.param(), client


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("path", ["/index", "/static/app.js", "/static/none"])
@pytest.mark.parametrize("headers", HEADERS)
def test_a_file_as_under_uvicorn(
    pair: tuple[Any, httpx.Client], source: Source, path: str, headers: dict[str, str]
) -> None:
    app, uvicorn = pair
    expected = uvicorn.get(path, headers=headers)
    with httpx.Client(transport=SyncLambdaTransport(app, source=source), base_url="https://testserver") as client:
        response = client.get(path, headers=headers)
    assert facts(response) == facts(expected)
    assert exchange(response).error is None


def test_what_middleware_makes_of_a_file() -> None:
    """What the comparison is about: each body is the file's, compressed where the client takes it."""
    for make in APPS:
        with httpx.Client(transport=SyncLambdaTransport(make()), base_url="https://testserver") as client:
            for path in ("/index", "/static/app.js"):
                response = client.get(path, headers={"accept-encoding": "gzip"})
                assert response.content.lower() == CONTENT.lower()
                if make in (compressed, wrapped_twice):
                    assert (response.headers["content-encoding"], response.headers["vary"]) == (
                        "gzip",
                        "Accept-Encoding",
                    )
                    assert sum(chunk.size for chunk in exchange(response).chunks) < len(gzip.compress(CONTENT)) + 200


@pytest.mark.parametrize("source", SOURCES)
def test_the_extension_where_it_is_asked_for(source: Source) -> None:
    """The same file, at once: relative to the working directory, and with its whole length."""
    with httpx.Client(
        transport=SyncLambdaTransport(StreamingAdapter(plain(), pathsend=True), source=source),
        base_url="https://testserver",
    ) as client:
        for path in ("/index", "/static/app.js"):
            response = client.get(path)
            assert (response.status_code, response.content) == (200, CONTENT)
            assert exchange(response).error is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process's memory is read from /proc")
@pytest.mark.parametrize("setting", ["off", "on"])
def test_memory_stays_flat_for_a_file_of_200_mb(setting: str, tmp_path: Path) -> None:
    """The reader stops after its first piece until another environment has started and answered, then reads on."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    variables = {"FILE": str(path), "ASGI_STREAM_PATHSEND": setting}
    with dev(handler="benchmarks.files_app:handler", folder=CHECKOUT, **variables) as running:
        pid = running.client.head("/").headers["x-pid"]
        before = peak_memory(int(pid))
        received = 0
        with running.client.stream("GET", "/") as response:
            assert response.headers["x-pid"] == pid
            for data in response.iter_raw(65_536):
                if not received:
                    assert running.client.head("/").headers["x-pid"] != pid
                received += len(data)
        growth = peak_memory(int(pid)) - before
    assert received == 200_000_000
    assert growth < 8 * 1024 * 1024
