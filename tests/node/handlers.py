"""The handlers that run under this project's runtime; those of handlers.mjs say the same in JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_stream import LambdaContext, ResponseStream, gzip_chunks, pipeline, streaming_handler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LARGE = b"0123456789abcdef" * (3_000_000 // 16)


class Streams:
    async def metadata_and_writes(self, response: ResponseStream) -> None:
        response.http(201, {"content-type": "text/html", "X-One": "ü"})
        await response.write("<p>one ☃")
        await response.write(bytes([0, 1, 255]))
        await response.end("two")

    async def metadata_with_cookies(self, response: ResponseStream) -> None:
        response.http(200, {}, cookies=["a=1; Path=/", "b=2"])
        await response.write("page")
        await response.end()

    async def metadata_and_end(self, response: ResponseStream) -> None:
        await response.http(200).end("page")

    async def metadata_and_nothing(self, response: ResponseStream) -> None:
        await response.http(204).end()

    async def content_type(self, response: ResponseStream) -> None:
        response.content_type = "text/css"
        await response.end("p {}")

    async def no_content_type(self, response: ResponseStream) -> None:
        await response.write("one ")
        await response.end("two")

    async def nothing(self, response: ResponseStream) -> None:
        await response.end()

    async def no_end(self, response: ResponseStream) -> None:
        await response.write("whole")

    async def an_object(self, response: ResponseStream) -> None:
        await response.write({"a": 1})  # type: ignore[arg-type]

    async def throws_before(self, response: ResponseStream) -> None:
        raise TypeError("before")

    async def throws_after_metadata(self, response: ResponseStream) -> None:
        response.http(200)
        raise TypeError("before")

    async def throws_in_mid_stream(self, response: ResponseStream) -> None:
        await response.write("part")
        raise TypeError("after")

    async def throws_in_mid_page(self, response: ResponseStream) -> None:
        await response.http(200).write("part")
        raise TypeError("after")

    async def throws_after_the_end(self, response: ResponseStream) -> None:
        await response.end("whole")
        raise TypeError("too late")

    async def metadata_too_late(self, response: ResponseStream) -> None:
        await response.write("part")
        response.http(200)

    async def large_source(self, response: ResponseStream) -> None:
        await pipeline(LARGE, response.http(200))

    async def gzip(self, response: ResponseStream) -> None:
        response.http(200, {"content-encoding": "gzip"})
        await pipeline(LARGE, gzip_chunks, response)

    async def source_that_fails(self, response: ResponseStream) -> None:
        async def source() -> AsyncIterator[str]:
            yield "part"
            raise TypeError("in the source")

        await pipeline(source(), response)


class Answers:
    def object(self) -> Any:
        return {"statusCode": 200, "body": "ü"}

    def nothing(self) -> None:
        pass

    def text(self) -> str:
        return "☃"

    def throws(self) -> None:
        raise TypeError("no")


@streaming_handler
async def streaming(event: dict[str, Any], response: ResponseStream, context: LambdaContext) -> None:
    await getattr(Streams(), event["case"])(response)


def plain(event: dict[str, Any], context: LambdaContext) -> Any:
    return getattr(Answers(), event["case"])()
