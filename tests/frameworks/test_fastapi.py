"""What FastAPI users reach for, through the whole event path."""

from __future__ import annotations

import asyncio
import functools
import gzip
import os
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, StreamingResponse
from sse_starlette import EventSourceResponse
from starlette.middleware.sessions import SessionMiddleware

from asgi_stream import StreamingAdapter
from asgi_stream.testing import LambdaTransport, exchange, rest_api_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asgi_stream.testing.transport import Source

pytestmark = pytest.mark.anyio

STREAMING: list[Source] = ["function_url", "rest_api"]


def client(app: Any, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=LambdaTransport(app, **options), base_url="https://testserver")


@pytest.mark.parametrize("source", STREAMING)
@pytest.mark.parametrize("middleware", [None, CORSMiddleware, SessionMiddleware])
async def test_streaming_response_also_behind_middleware(source: Source, middleware: Any) -> None:
    app, go = FastAPI(), asyncio.Event()
    if middleware is not None:
        app.add_middleware(middleware, **({"secret_key": "s"} if middleware is SessionMiddleware else {}))

    @app.get("/")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "one"
            await go.wait()
            yield "two"

        return StreamingResponse(pieces())

    async with client(app, source=source) as user, user.stream("GET", "/") as response:
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"one"
        go.set()
        assert [piece async for piece in pieces] == [b"two"]


async def test_streaming_response_that_fails_in_mid_stream() -> None:
    app = FastAPI()

    @app.get("/")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "one"
            raise ValueError("boom")

        return StreamingResponse(pieces())

    async with client(app, raise_app_exceptions=False) as user:
        response = await user.get("/")
    assert (response.status_code, response.text) == (200, "one")
    assert exchange(response).error_type == "Function.ValueError"
    assert exchange(response).reported_by == "trailers"


async def test_a_streaming_response_whose_client_leaves_runs_to_its_end() -> None:
    app, left, ended = FastAPI(), asyncio.Event(), asyncio.Event()

    @app.get("/")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "one"
            await left.wait()
            for _ in range(10):
                yield "more"
            ended.set()

        return StreamingResponse(pieces())

    async with client(app) as user:
        async with user.stream("GET", "/") as response:
            await anext(response.aiter_raw())
        left.set()
        await exchange(response).finished()
    assert ended.is_set()


@pytest.mark.parametrize("source", STREAMING)
async def test_file_response(tmp_path: Path, source: Source) -> None:
    content = os.urandom(3_000_000)
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    app = FastAPI()

    @app.api_route("/", methods=["GET", "HEAD"])
    async def file() -> FileResponse:
        return FileResponse(path, filename="name.png")

    async with client(app, source=source) as user:
        whole = await user.get("/")
        part = await user.get("/", headers={"range": "bytes=1000000-1999999"})
        head = await user.head("/")
    assert whole.content == content
    assert len(exchange(whole).chunks) > 1
    assert whole.headers["x-amzn-remapped-content-length"] == "3000000"
    assert whole.headers["content-disposition"] == 'attachment; filename="name.png"'
    assert (part.status_code, part.content) == (206, content[1_000_000:2_000_000])
    assert part.headers["content-range"] == "bytes 1000000-1999999/3000000"
    assert (head.status_code, head.content) == (200, b"")
    assert all(exchange(response).error is None for response in (whole, part, head))


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    app = FastAPI()

    @app.get("/")
    async def file() -> FileResponse:
        return FileResponse(tmp_path / "missing")

    async with client(app, raise_app_exceptions=False) as user:
        response = await user.get("/")
    assert response.status_code == 500
    assert exchange(response).error_type == "Function.RuntimeError"


async def test_server_sent_events() -> None:
    app, go = FastAPI(), asyncio.Event()

    @app.get("/")
    async def events() -> EventSourceResponse:
        async def stream() -> AsyncIterator[dict[str, str]]:
            yield {"event": "tick", "data": "1"}
            await go.wait()
            yield {"event": "tick", "data": "2"}

        return EventSourceResponse(stream())

    async with client(app) as user, user.stream("GET", "/") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"event: tick\r\ndata: 1\r\n\r\n"
        go.set()
        assert [piece async for piece in pieces] == [b"event: tick\r\ndata: 2\r\n\r\n"]
    assert exchange(response).error is None


async def test_server_sent_events_go_on_when_the_client_has_left() -> None:
    app, left, sent = FastAPI(), asyncio.Event(), list[int]()

    @app.get("/")
    async def events() -> EventSourceResponse:
        async def stream() -> AsyncIterator[dict[str, int]]:
            yield {"data": 0}
            await left.wait()
            for number in range(5):
                yield {"data": number}
                sent.append(number)

        return EventSourceResponse(stream())

    async with client(app) as user:
        async with user.stream("GET", "/") as response:
            await anext(response.aiter_raw())
        left.set()
        await exchange(response).finished()
    assert sent == [0, 1, 2, 3, 4]


def with_background_task(task: Any) -> FastAPI:
    app = FastAPI()

    @app.post("/")
    async def post(background: BackgroundTasks) -> dict[str, str]:
        background.add_task(task)
        return {"accepted": "yes"}

    return app


async def test_a_background_task_has_run_when_the_request_is_over() -> None:
    done: list[str] = []

    def sync_task() -> None:  # in a thread, as FastAPI does it
        done.append("mail sent")

    async with client(with_background_task(sync_task)) as user:
        assert (await user.post("/")).json() == {"accepted": "yes"}
        assert done == ["mail sent"]


async def test_a_background_task_does_not_keep_the_client_waiting() -> None:
    go, done = asyncio.Event(), asyncio.Event()

    async def task() -> None:
        await go.wait()
        done.set()

    async with client(with_background_task(task), wait_for_app=False) as user:
        response = await user.post("/")
        assert response.json() == {"accepted": "yes"}
        assert exchange(response).ended
        assert not done.is_set()
        go.set()
        await exchange(response).finished()
        assert done.is_set()


async def test_a_background_task_that_fails() -> None:
    async def task() -> None:
        raise ValueError("boom")

    async with client(with_background_task(task)) as user:
        with pytest.raises(ValueError, match="boom"):
            await user.post("/")
    async with client(with_background_task(task), raise_app_exceptions=False) as user:
        response = await user.post("/")
        assert response.json() == {"accepted": "yes"}
        assert exchange(response).error is None  # the response had ended: Lambda cannot be told


async def test_gzip_middleware() -> None:
    app, go = FastAPI(), asyncio.Event()
    app.add_middleware(GZipMiddleware, minimum_size=100)

    @app.get("/page")
    async def page() -> str:
        return "a" * 10_000

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"one " * 1000
            await go.wait()
            yield b"two"

        return StreamingResponse(pieces())

    async with client(app) as user:
        response = await user.get("/page")
        assert response.headers["content-encoding"] == "gzip"
        assert response.json() == "a" * 10_000
        assert sum(chunk.size for chunk in exchange(response).chunks) < 1_000
        async with user.stream("GET", "/stream") as response:
            raw = response.aiter_raw()
            compressed = await anext(raw)  # gzip may keep content back, but what it gives out comes at once
            go.set()
            compressed += b"".join([piece async for piece in raw])
        assert gzip.decompress(compressed) == b"one " * 1000 + b"two"


@pytest.mark.parametrize("source", ["function_url", "rest_api", "http_api", "alb", "lambda_edge", "vpc_lattice"])
async def test_gzip_middleware_on_every_source(source: Source) -> None:
    app = FastAPI()
    app.add_middleware(GZipMiddleware, minimum_size=100)

    @app.get("/page")
    async def page() -> str:
        return "a" * 10_000

    async with client(app, source=source) as user:
        response = await user.get("/page")
    assert response.headers["content-encoding"] == "gzip"
    assert response.json() == "a" * 10_000


async def test_cors_middleware() -> None:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=["https://front.example"], allow_methods=["PUT"])

    @app.put("/")
    async def put() -> str:
        return "done"

    origin = {"origin": "https://front.example"}
    async with client(app) as user:
        preflight = await user.options("/", headers=origin | {"access-control-request-method": "PUT"})
        response = await user.put("/", headers=origin)
        other = await user.put("/", headers={"origin": "https://other.example"})
    assert preflight.status_code == 200
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert response.headers["access-control-allow-origin"] == "https://front.example"
    assert response.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("source", ["function_url", "rest_api", "http_api", "alb", "lambda_edge", "vpc_lattice"])
async def test_session_middleware(source: Source) -> None:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, secret_key="for tests only", https_only=True)

    @app.get("/")
    async def count(request: Request) -> int:
        request.session["count"] = request.session.get("count", 0) + 1
        return int(request.session["count"])

    async with client(app, source=source) as user:
        assert [(await user.get("/")).json() for _ in range(3)] == [1, 2, 3]


def with_mounts() -> FastAPI:
    app, shop, cart = FastAPI(), FastAPI(), FastAPI()

    @cart.get("/items", name="items")
    async def items(request: Request) -> dict[str, str]:
        return {"root_path": request.scope["root_path"], "path": request.url.path, "url": str(request.url_for("items"))}

    shop.mount("/cart", cart)
    app.mount("/shop", shop)

    @app.get("/v10/page")
    async def page() -> str:
        return "v10"

    return app


async def test_mounted_apps_under_a_stage_that_is_the_root_path() -> None:
    adapter = StreamingAdapter(with_mounts(), stage="root_path")
    async with client(adapter, source=functools.partial(rest_api_event, stage="v1")) as user:
        seen = (await user.get("/shop/cart/items")).json()
        other = (await user.get("/v10/page")).json()
        schema = (await user.get("/shop/openapi.json")).json()
    assert seen == {
        "root_path": "/v1/shop/cart",
        "path": "/v1/shop/cart/items",
        "url": "https://testserver/v1/shop/cart/items",
    }
    assert other == "v10"
    assert schema["servers"] == [{"url": "/v1/shop"}]


async def test_mounted_apps_under_a_stage() -> None:
    async with client(with_mounts(), source=functools.partial(rest_api_event, stage="v1")) as user:
        seen = (await user.get("/shop/cart/items")).json()
        other = (await user.get("/v10/page")).json()
        schema = (await user.get("/shop/openapi.json")).json()
    assert seen == {
        "root_path": "/shop/cart",
        "path": "/shop/cart/items",
        "url": "https://testserver/shop/cart/items",
    }
    assert other == "v10"
    assert schema["servers"] == [{"url": "/shop"}]


async def test_mounted_apps_under_a_root_path() -> None:
    async with client(StreamingAdapter(with_mounts(), root_path="/v1")) as user:
        seen = (await user.get("/shop/cart/items")).json()
    assert (seen["root_path"], seen["path"]) == ("/v1/shop/cart", "/v1/shop/cart/items")


async def test_mounted_apps_under_a_base_path() -> None:
    async with client(StreamingAdapter(with_mounts(), api_gateway_base_path="/v1")) as user:
        assert (await user.get("/v1/shop/cart/items")).json()["path"] == "/shop/cart/items"
        assert (await user.get("/v10/page")).json() == "v10"
