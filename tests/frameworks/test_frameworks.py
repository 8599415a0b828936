"""Five frameworks, each with a streamed page, a file, a redirect, a form and an error, through the whole event path."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from asgi_stream.testing import LambdaTransport, exchange
from tests.frameworks.apps.stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

    from asgi_stream.testing.transport import Source

pytestmark = pytest.mark.anyio

FRAMEWORKS = ["django", "fastapi", "litestar", "quart", "starlette"]
# These send a page of status 500 and raise all the same; for the others the page is all there is.
RAISES = ["fastapi", "starlette"]
SOURCES: list[Source] = ["function_url", "rest_api", "http_api", "alb", "lambda_edge", "vpc_lattice"]
STREAMING: list[Source] = ["function_url", "rest_api"]

# Django's FileResponse reads its file synchronously, under ASGI too, and warns of it.
django_reads_files_synchronously = pytest.mark.filterwarnings(
    "ignore:StreamingHttpResponse must consume synchronous iterators:Warning"
)

CONTENT = os.urandom(300_000)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    path = tmp_path / "picture.png"
    path.write_bytes(CONTENT)
    return Stage(path)


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def client(framework: str, stage: Stage, **options: Any) -> httpx.AsyncClient:
    app = importlib.import_module(f"tests.frameworks.apps.{framework}_app").make(stage)
    return httpx.AsyncClient(transport=LambdaTransport(app, **options), base_url="https://testserver")


@pytest.mark.parametrize("source", STREAMING)
async def test_a_streamed_page(framework: str, stage: Stage, source: Source) -> None:
    async with client(framework, stage, source=source) as user, user.stream("GET", "/stream") as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain")
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"one"
        stage.go.set()
        assert [piece async for piece in pieces] == [b"two"]
        assert [chunk.size for chunk in exchange(response).chunks] == [3, 3]
        assert exchange(response).error is None


@django_reads_files_synchronously
@pytest.mark.parametrize("source", SOURCES)
async def test_a_file(framework: str, stage: Stage, source: Source) -> None:
    if source == "lambda_edge":
        stage.file.write_bytes(CONTENT[:20_000])  # a viewer request's answer may have 40 KB
    async with client(framework, stage, source=source) as user:
        response = await user.get("/file")
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert response.content == stage.file.read_bytes()
    assert exchange(response).error is None


@django_reads_files_synchronously
async def test_a_large_file_comes_in_pieces(framework: str, stage: Stage) -> None:
    stage.file.write_bytes(CONTENT * 10)
    async with client(framework, stage) as user:
        response = await user.get("/file")
    assert response.content == CONTENT * 10
    assert len(exchange(response).chunks) > 1
    assert max(chunk.size for chunk in exchange(response).chunks) <= 1024 * 1024


@pytest.mark.parametrize("source", SOURCES)
async def test_a_redirect(framework: str, stage: Stage, source: Source) -> None:
    async with client(framework, stage, source=source) as user:
        response = await user.get("/redirect")
    assert response.status_code == (302 if framework == "django" else 303)
    assert response.headers["location"] == "/target"
    assert exchange(response).error is None


@pytest.mark.parametrize("source", SOURCES)
async def test_a_form(framework: str, stage: Stage, source: Source) -> None:
    async with client(framework, stage, source=source) as user:
        response = await user.post("/form", data={"field": "a+b & ü"})
    assert response.status_code == 200
    assert response.text == "field=a+b & ü"


async def test_an_error(framework: str, stage: Stage) -> None:
    async with client(framework, stage, raise_app_exceptions=False) as user:
        response = await user.get("/error")
    assert response.status_code == 500
    assert "Server Error" in response.text
    shown = exchange(response)
    if framework in RAISES:
        assert shown.error is not None
        assert (shown.error["errorType"], shown.error["errorMessage"]) == ("ValueError", "boom")
        assert shown.reported_by == "trailers"
    else:
        assert shown.error is None


@pytest.mark.parametrize("source", SOURCES)
async def test_an_error_in_the_test(framework: str, stage: Stage, source: Source) -> None:
    async with client(framework, stage, source=source) as user:
        if framework in RAISES:
            with pytest.raises(ValueError, match="boom"):
                await user.get("/error")
        else:
            assert (await user.get("/error")).status_code == 500
