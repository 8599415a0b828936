"""AWS's own Node.js runtime and ours, given the same handlers: what reaches the Runtime API server, field by field.

Where they differ it is on purpose, and stands in DIFFERENCES here and, with the reason, in docs/handlers.md.
"""

from __future__ import annotations

import gzip
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asgi_stream.local.environment import lambda_environment
from tests.node.handlers import Answers, Streams
from tests.node.recorder import Recorder
from tests.node.test_examples import TWINS
from tests.support.platforms import BOOTSTRAP, REPO

if TYPE_CHECKING:
    from tests.node.recorder import Post

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parent
RUNTIME = REPO / ".cache" / "node" / "aws-lambda-ric"
WHY_NOT = REPO / ".cache" / "node" / "why-not"

HTTP = "application/vnd.awslambda.http-integration-response"
OCTET_STREAM = "application/octet-stream"
ERROR_TRAILERS = ["lambda-runtime-function-error-body", "lambda-runtime-function-error-type"]

# These two have tests of their own: one never ends under Node.js, one ends its process.
APART = {"no_end", "source_that_fails"}
STREAMS = [name for name in vars(Streams) if not name.startswith("_") and name not in APART]
ANSWERS = [name for name in vars(Answers) if not name.startswith("_")]

# case -> field -> (Node.js, ours); in all other fields the two agree.
DIFFERENCES: dict[str, dict[str, tuple[Any, Any]]] = {
    "metadata_and_nothing": {"prelude": (None, {"statusCode": 204, "headers": {}})},
    "metadata_and_end": {"prelude": (None, {"statusCode": 200, "headers": {}})},
    "an_object": {
        "kind": ("response", "error"),
        "mode": ("streaming", None),
        "announced": (ERROR_TRAILERS, []),
        "content type": (OCTET_STREAM, "application/vnd.aws.lambda.error+json"),
        "content": (b'{"a":1}', None),
        "error type": (None, "Function.TypeError"),
        "error": (
            None,
            ("TypeError", "a response is written in text or bytes, not dict: for an object, write json.dumps(…)"),
        ),
    },
    "throws_before": {
        "kind": ("response", "error"),
        "mode": ("streaming", None),
        "announced": (ERROR_TRAILERS, []),
        "trailers": (ERROR_TRAILERS, []),
        "content type": (OCTET_STREAM, "application/vnd.aws.lambda.error+json"),
        "content": (b"", None),
    },
    "throws_after_metadata": {
        "kind": ("response", "error"),
        "mode": ("streaming", None),
        "announced": (ERROR_TRAILERS, []),
        "trailers": (ERROR_TRAILERS, []),
        "content type": (HTTP, "application/vnd.aws.lambda.error+json"),
        "content": (b"", None),
    },
    "metadata_too_late": {
        "error type": ("Runtime.InvalidStreamingOperation", "Function.HandlerError"),
        "error": (
            ("Runtime.InvalidStreamingOperation", "Cannot set content-type, too late."),
            ("HandlerError", "HTTP metadata after the first byte: it has to be set before the first write"),
        ),
    },
    "throws": {
        "content type": ("application/json", "application/vnd.aws.lambda.error+json"),
        "error type": (None, "Function.TypeError"),
    },
}


def why_no_node() -> str | None:
    """Says why AWS's Node.js runtime cannot run here; None if it can."""
    if WHY_NOT.is_file():
        return WHY_NOT.read_text(encoding="utf-8").strip()
    if not RUNTIME.is_dir():
        return "AWS's Node.js runtime is not there: run scripts/node.py"
    return None


def nodejs(handler: str, module: str = "handlers") -> Recorder:
    return Recorder(["node", str(RUNTIME / "bin" / "index.mjs"), f"{module}.{handler}"], dict(os.environ), FOLDER)


def ours(handler: str, module: str = "tests.node.handlers") -> Recorder:
    environ = lambda_environment(f"{module}:{handler}", "", os.environ)
    environ["LAMBDA_TASK_ROOT"] = str(REPO)
    return Recorder([str(BOOTSTRAP), sys.executable, "/var/runtime/bootstrap.py"], environ, REPO)


def fields(posts: list[Post]) -> dict[str, Any]:
    """What a case's one post says, in the same words for both runtimes."""
    (post,) = posts
    assert post.complete
    announced = re.split(", ?", post.headers["trailer"].lower()) if "trailer" in post.headers else []
    content: bytes | None = post.content if post.kind == "response" else None
    if post.prelude is not None and post.prelude["headers"].get("content-encoding") == "gzip":
        content = gzip.decompress(post.content)
    error = post.error
    return {
        "kind": post.kind,
        "mode": post.headers.get("lambda-runtime-function-response-mode"),
        "content type": post.headers.get("content-type"),
        "announced": sorted(announced),
        "prelude": post.prelude if post.kind == "response" else None,
        "content": content,
        "trailers": sorted(post.trailers),
        "error type": post.error_type,
        "error": None if error is None else (error["errorType"], error["errorMessage"]),
    }


@pytest.fixture(scope="module")
async def seen() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """What each runtime has posted for each case, theirs first. One process for all streams, one for all answers."""
    if (reason := why_no_node()) is not None:
        pytest.skip(reason)
    both: dict[str, list[dict[str, Any]]] = {}
    for start in (nodejs, ours):
        for handler, names in (("streaming", STREAMS), ("plain", ANSWERS)):
            async with start(handler) as runtime:
                for name in names:
                    posts, lives = await runtime.invoke({"case": name})
                    assert lives, (start.__name__, name)
                    both.setdefault(f"{handler} {name}", []).append(fields(posts))
    return {name: (theirs, own) for name, (theirs, own) in both.items()}


@pytest.mark.parametrize(
    ("handler", "name"),
    [*(("streaming", name) for name in STREAMS), *(("plain", name) for name in ANSWERS)],
)
async def test_the_same_handler_under_both_runtimes(
    seen: dict[str, tuple[dict[str, Any], dict[str, Any]]], handler: str, name: str
) -> None:
    theirs, own = seen[f"{handler} {name}"]
    meant = DIFFERENCES.get(name, {})
    for field, value in own.items():
        expected = theirs[field]
        if field in meant:
            assert (expected, value) == meant[field], field
            continue
        if field == "error type" and expected is not None:
            expected = f"Function.{expected}"  # the form that Lambda keeps
        assert value == expected, field


@pytest.mark.parametrize("name", [path.stem for path in TWINS])
async def test_an_example_and_its_twin_send_the_same(name: str) -> None:
    if (reason := why_no_node()) is not None:
        pytest.skip(reason)
    sent = []
    for runtime in (nodejs("handler", f"examples/{name}"), ours("handler", f"example_app.handlers.{name}")):
        async with runtime:
            posts, lives = await runtime.invoke({"queryStringParameters": {"delay": "0", "megabytes": "1"}})
            assert lives
            sent.append(fields(posts))
    assert sent[0] == sent[1]
    assert sent[0]["content"]


def test_both_have_the_same_cases() -> None:
    text = (FOLDER / "handlers.mjs").read_text()
    assert set(re.findall(r"^  async (\w+)\(", text, re.MULTILINE)) == {*STREAMS, *ANSWERS, *APART}


async def test_a_source_that_fails_ends_the_process_of_nodejs_and_is_an_error_in_trailers_here() -> None:
    """There `pipeline` destroys the response with its source, and nobody is left to be told by the stream."""
    if (reason := why_no_node()) is not None:
        pytest.skip(reason)
    async with nodejs("streaming") as runtime:
        posts, lives = await runtime.invoke({"case": "source_that_fails"})
        assert not lives
        assert posts[-1].kind == "error"
        assert posts[-1].error is not None
        assert posts[-1].error["errorType"] == "Runtime.UnhandledPromiseRejection"
    async with ours("streaming") as runtime:
        posts, lives = await runtime.invoke({"case": "source_that_fails"})
        assert lives
        assert fields(posts) == {
            "kind": "response",
            "mode": "streaming",
            "content type": OCTET_STREAM,
            "announced": ERROR_TRAILERS,
            "prelude": None,
            "content": b"part",
            "trailers": ERROR_TRAILERS,
            "error type": "Function.TypeError",
            "error": ("TypeError", "in the source"),
        }


async def test_a_response_without_its_end_is_ended_here() -> None:
    """Node.js waits for it until the function times out, which no test does."""
    async with ours("streaming") as runtime:
        posts, lives = await runtime.invoke({"case": "no_end"})
        assert lives
        sent = fields(posts)
        assert (sent["content"], sent["trailers"]) == (b"whole", [])
