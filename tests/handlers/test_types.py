"""Read by mypy under its strict rules: what decorator and pipeline take without a cast, and what they do not."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, Any, assert_type

from asgi_stream import (
    BlockingResponseStream,
    LambdaContext,
    Prelude,
    ResponseStream,
    StreamingHandler,
    gzip_chunks,
    pipeline,
    streaming_handler,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator


@streaming_handler
async def writer(event: dict[str, Any], response: ResponseStream, context: LambdaContext) -> None:
    assert_type(response.http(200, {"a": "b"}), ResponseStream)
    assert_type(await response.write("text"), None)


@streaming_handler
def blocking(event: dict[str, Any], response: BlockingResponseStream, context: LambdaContext) -> None:
    response.http(200).write(b"bytes")


@streaming_handler
async def generator(event: dict[str, Any], context: LambdaContext) -> AsyncIterator[str]:
    yield "text"


@streaming_handler
async def generator_with_metadata(event: object, context: LambdaContext) -> AsyncGenerator[Prelude | bytes]:
    yield Prelude(200, {})
    yield b"bytes"


@streaming_handler
def blocking_generator(event: dict[str, Any], context: object) -> Iterator[str | bytes]:
    yield "text"


@streaming_handler
def old_generator(event: dict[str, Any], context: object) -> Generator[bytes, None, None]:
    yield b"bytes"


@streaming_handler(content_type="text/plain")
async def with_a_content_type(event: object, response: ResponseStream, context: LambdaContext) -> None:
    await pipeline("text", response)


async def length(chunks: AsyncIterator[bytes]) -> AsyncIterator[int]:
    async for chunk in chunks:
        yield len(chunk)


async def text(numbers: AsyncIterator[int]) -> AsyncIterator[str]:
    async for number in numbers:
        yield str(number)


async def upper(chunks: AsyncIterator[str]) -> AsyncIterator[str]:
    async for chunk in chunks:
        yield chunk.upper()


async def pipelines(response: ResponseStream) -> None:
    await pipeline("text", upper, response)
    await pipeline(b"bytes", functools.partial(gzip_chunks, level=9), response)
    await pipeline([b"a"], response)
    await pipeline(io.BytesIO(), response)
    await pipeline((str(number) for number in range(3)), gzip_chunks, response)
    await pipeline([b"a"], length, text, response)
    await pipeline([b"a"], length, text, gzip_chunks, response)


def test_every_kind_is_a_handler() -> None:
    for handler in (
        writer, blocking, generator, generator_with_metadata, blocking_generator, old_generator, with_a_content_type,
    ):  # fmt: skip
        assert_type(handler, StreamingHandler)
        assert isinstance(handler, StreamingHandler)


def test_wrong_ones_are_seen() -> None:
    """The checks above would be worth nothing if everything were taken."""

    async def numbers(event: object, context: LambdaContext) -> AsyncIterator[int]:
        yield 1

    async def forgetful(response: ResponseStream) -> None:
        response.write("lost")  # type: ignore[unused-coroutine]
        await response.write(5)  # type: ignore[arg-type]
        await pipeline([b"a"], text, response)  # type: ignore[arg-type]

    streaming_handler(numbers)  # type: ignore[arg-type]
    assert forgetful is not None
