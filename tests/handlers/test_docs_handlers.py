"""The code in docs/handlers.md runs as it stands there."""

from __future__ import annotations

import asyncio
import gzip
import re
from typing import Any

import pytest

from asgi_stream.recognise import as_handler
from tests.node.test_node import DIFFERENCES
from tests.support.events import function_url_event
from tests.support.platforms import REPO
from tests.support.wire import serve

pytestmark = pytest.mark.anyio

DOCUMENT = (REPO / "docs" / "handlers.md").read_text()
CODE = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", DOCUMENT, re.DOTALL))


@pytest.mark.parametrize(
    ("name", "metadata", "body"),
    [
        (
            "hello.py",
            {"headers": {"content-type": "text/html"}, "cookies": ["seen=1; Secure"]},
            b"<h1>One</h1><h1>Two</h1>",
        ),
        ("countdown.py", {"headers": {"content-type": "text/plain"}}, b"3\n2\n1\n"),
        ("report.py", {"headers": {"content-type": "text/csv", "content-encoding": "gzip"}}, b"A;B;C\n"),
    ],
)
async def test_the_code_runs(name: str, metadata: dict[str, Any], body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(seconds: float) -> None: ...

    module: dict[str, Any] = {}
    exec(compile(CODE[name], name, "exec"), module)
    monkeypatch.setattr(asyncio, "sleep", at_once)
    api = await serve(as_handler(module["handler"]), {})
    assert api.answers[0].prelude == {"statusCode": 200, **metadata}
    content = api.answers[0].content
    assert (gzip.decompress(content) if "content-encoding" in metadata["headers"] else content) == body
    assert api.answers[0].trailers == {}


async def test_the_function_that_calls_an_adapter_runs() -> None:
    module: dict[str, Any] = {}
    exec(compile(CODE["wrapped.py"], "wrapped.py", "exec"), module)
    api = await serve(as_handler(module["handler"]), {"source": "warmup"}, function_url_event())
    assert api.answers[0].body == b'"warm"'
    assert api.answers[1].content == b"Hello"


def test_each_block_of_code_is_run() -> None:
    assert len(CODE) == DOCUMENT.count("```python") == 4


def test_each_difference_from_nodejs_stands_in_the_table() -> None:
    """By the words that it has there."""
    words = {
        "metadata_and_nothing": "metadata, and nothing written",
        "metadata_and_end": "metadata, then `end(data)`",
        "an_object": "`write` of an object",
        "throws_before": "an exception before the first byte",
        "throws_after_metadata": "an exception before the first byte",
        "metadata_too_late": "metadata after the first byte",
        "throws": "content type of `/error`",
    }
    assert set(words) == set(DIFFERENCES)
    table = DOCUMENT.partition("## Compared with Node.js")[2]
    assert [text for text in words.values() if f"\n| {text} |" not in table] == []
