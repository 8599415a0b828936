"""Which bodies are text in the answer to a recorded event: called by the adapter, and through the runtime."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from asgi_stream import StreamingAdapter
from tests.sources.recorded import recorded
from tests.support.wire import serve

BUFFERED = ["function_url", "rest_api", "http_api_1", "http_api_2", "alb"]


def answering(content_type: bytes, body: bytes, *more: tuple[bytes, bytes], **settings: Any) -> StreamingAdapter:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", content_type), *more]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return StreamingAdapter(app, lifespan="off", invoke_mode="buffered", **settings)


async def both(handler: StreamingAdapter, event: dict[str, Any]) -> dict[str, Any]:
    """The answer, the same by a call and through the runtime."""
    api = await serve(handler, event)
    answer: dict[str, Any] = json.loads(api.answers[0].body)
    assert handler(event, None) == answer
    handler.close()
    return answer


@pytest.mark.anyio
@pytest.mark.parametrize("name", BUFFERED)
@pytest.mark.parametrize(
    "content_type",
    ["application/problem+json", "image/svg+xml", "application/yaml", "application/x-ndjson", "application/graphql"],
)
async def test_text_is_readable_in_every_answer(name: str, content_type: str) -> None:
    answer = await both(answering(content_type.encode(), "Grüße".encode()), recorded(name))
    assert (answer["body"], answer["isBase64Encoded"]) == ("Grüße", False)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content_type", "body", "more"),
    [
        (b"application/problem+json", b"\xff", []),
        (b"image/svg+xml", b"<svg/>", [(b"content-encoding", b"gzip")]),
        (b"text/plain; charset=utf-16le", "hi".encode("utf-16-le"), []),
        (b"text/plain; charset=iso-8859-1", b"caf\xe9", []),
        (b"application/geo+json+zstd", b"ascii", []),
    ],
)
async def test_everything_else_is_base64(content_type: bytes, body: bytes, more: list[tuple[bytes, bytes]]) -> None:
    answer = await both(answering(content_type, body, *more), recorded("rest_api"))
    assert (base64.b64decode(answer["body"]), answer["isBase64Encoded"]) == (body, True)


@pytest.mark.anyio
async def test_a_users_list_counts_in_the_answer() -> None:
    handler = answering(b"application/problem+json", b"{}", text_mime_types=["application/json"])
    assert (await both(handler, recorded("rest_api")))["isBase64Encoded"] is True
    handler = answering(b"application/problem+json", b"{}", text_mime_types=["application/json", "+json"])
    assert (await both(handler, recorded("rest_api")))["isBase64Encoded"] is False
