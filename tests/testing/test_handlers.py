"""The transports with what is no ASGI app: streaming handlers of every kind, and plain ones."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from asgi_stream import (
    BlockingResponseStream,
    ConfigurationError,
    LambdaContext,
    Prelude,
    ResponseStream,
    pipeline,
    streaming_handler,
)
from asgi_stream.testing import LambdaRefused, LambdaTransport, SyncLambdaTransport, exchange
from tests.testing.apps import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.anyio


def client(app: Any, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=LambdaTransport(app, **options), base_url=URL)


async def test_a_write_is_read_before_the_next() -> None:
    go = asyncio.Event()

    @streaming_handler
    async def handler(event: dict[str, Any], response: ResponseStream, context: LambdaContext) -> None:
        response.http(201, {"X-One": "1"}, ["a=b", "c=d"])
        await response.write(event["rawPath"])
        await go.wait()
        await response.end("end")

    async with client(handler) as user, user.stream("GET", "/path") as response:
        assert (response.status_code, response.headers["x-one"]) == (201, "1")
        assert response.headers.get_list("set-cookie") == ["a=b", "c=d"]
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"/path"
        go.set()
        assert [piece async for piece in pieces] == [b"end"]
        assert exchange(response).prelude == {"statusCode": 201, "headers": {"X-One": "1"}, "cookies": ["a=b", "c=d"]}


async def test_a_raw_stream_has_status_200_and_its_content_type() -> None:
    @streaming_handler(content_type="text/css")
    def handler(event: Any, response: BlockingResponseStream, context: LambdaContext) -> None:
        response.write("p ")
        response.write("{}")

    async with client(handler) as user:
        response = await user.get("/")
    assert (response.status_code, response.headers["content-type"], response.text) == (200, "text/css", "p {}")
    assert exchange(response).prelude is None
    assert [chunk.size for chunk in exchange(response).chunks] == [2, 2]


async def test_generators() -> None:
    async def generator(event: Any, context: Any) -> AsyncIterator[Any]:
        yield Prelude(202, {})
        yield "async"

    def blocking(event: Any, context: Any) -> Iterator[Any]:
        yield Prelude(203, {})
        yield "blocking"

    for function, status, text in ((generator, 202, "async"), (blocking, 203, "blocking")):
        async with client(function) as user:
            response = await user.get("/")
        assert (response.status_code, response.text) == (status, text)


@pytest.mark.parametrize(
    ("answer", "status", "content_type", "body"),
    [
        ({"statusCode": 201, "headers": {"Content-Type": "text/css"}, "body": "p {}"}, 201, "text/css", b"p {}"),
        ({"statusCode": 200, "body": "AP8=", "isBase64Encoded": True}, 200, None, b"\x00\xff"),
        ({"a": "ü"}, 200, "application/json", '{"a":"ü"}'.encode()),
        ("grüße", 200, "application/json", "grüße".encode()),
        (None, 200, "application/json", b"null"),
        (b"\x00\xff", 200, "application/unknown", b"\x00\xff"),
    ],
)
async def test_a_plain_function(answer: object, status: int, content_type: str | None, body: bytes) -> None:
    async with client(lambda event, context: answer) as user:
        response = await user.get("/")
    assert (response.status_code, response.headers.get("content-type"), response.content) == (
        status,
        content_type,
        body,
    )
    assert exchange(response).answer == (None if isinstance(answer, bytes) else answer)


async def test_errors_before_and_after_the_first_byte() -> None:
    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        if event["rawPath"] == "/after":
            await response.write("part")
        raise ValueError("no")

    async with client(handler) as user:
        with pytest.raises(ValueError, match="no"):
            await user.get("/after")
    async with client(handler, raise_app_exceptions=False) as user:
        after, before = await user.get("/after"), await user.get("/before")
    assert (after.status_code, after.text, exchange(after).reported_by) == (200, "part", "trailers")
    assert (before.status_code, exchange(before).reported_by) == (502, "error")
    assert exchange(before).error_type == "Function.ValueError"


async def test_a_stream_without_end_is_refused_at_lambdas_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgi_stream.testing.delivery.STREAM_LIMIT", 10)

    @streaming_handler
    async def handler(event: Any, response: ResponseStream, context: LambdaContext) -> None:
        await pipeline(["12345"] * 3, response)

    async with client(handler) as user:
        with pytest.raises(LambdaRefused, match="may have 10 bytes"):
            await user.get("/")


def test_from_a_synchronous_client_and_twice() -> None:
    """Each transport has threads of its own."""
    threads = []

    @streaming_handler
    def handler(event: Any, response: BlockingResponseStream, context: LambdaContext) -> None:
        threads.append(threading.current_thread())
        response.write("hello")

    for _ in range(2):
        with httpx.Client(transport=SyncLambdaTransport(handler), base_url=URL) as user:
            assert user.get("/").text == "hello"
    assert threads[0] is not threads[1]
    for thread in threads:
        thread.join()


def test_what_the_runtime_would_not_take() -> None:
    with pytest.raises(ConfigurationError, match="decorated with @streaming_handler"):
        LambdaTransport(lambda event, response, context: None)  # type: ignore[arg-type]
