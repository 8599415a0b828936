"""What the documents say is true: tests that they name exist, their code runs."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

import asgi_stream
from tests.faults import test_apps as apps
from tests.faults import test_replies as replies
from tests.support.events import function_url_event
from tests.support.wire import serve

CHECKOUT = Path(asgi_stream.__file__).parent.parent
DOCUMENTS = sorted(CHECKOUT.glob("*.md")) + sorted((CHECKOUT / "docs").glob("*.md"))
TESTS = CHECKOUT / "tests"


PROMISES = ["behavior.md", "faults.md", "handlers.md", "share-writes.md"]
# path, function and row of a test, as pytest writes them.
NAMED = r"`((?:\w+/)*test_\w+\.py)(?:::(\w+)(?:\[([^\]]+)\])?)?`"


@pytest.mark.parametrize(
    "named", [named for page in PROMISES for named in re.findall(NAMED, (CHECKOUT / "docs" / page).read_text())]
)
def test_each_promise_names_a_test_that_exists(named: tuple[str, str, str]) -> None:
    path, function, row = named
    text = (TESTS / path).read_text()
    assert re.search(rf"^\s*(async )?def {function}\(", text, re.MULTILINE) if function else "def test_" in text
    assert f'"{row}"' in text if row else True


def test_each_fault_has_an_outcome_and_a_test() -> None:
    """And each row of the tests stands on the page."""
    page = (CHECKOUT / "docs" / "faults.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ") and "| outcome |" not in line]
    assert len(rows) > 40
    for row in rows:
        case, outcome, test = row
        assert case.strip("| "), row
        assert outcome.strip(), row
        assert re.search(NAMED, test), row
    for name in [*replies.ROWS, *apps.ROWS]:
        assert f"[{name}]`" in page


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert "://" in target or (document.parent / target).exists(), target


def test_names_are_importable_from_where_the_documents_say() -> None:
    pages = "".join(path.read_text() for path in DOCUMENTS)
    named = {name.rpartition(".")[::2] for name in re.findall(r"`(asgi_stream(?:\.\w+)*\.[A-Z]\w+)", pages)}
    for module, names in re.findall(r"^ *from (asgi_stream[\w.]*) import ([\w, ]+)", pages, re.MULTILINE):
        named |= {(module, name.split()[0]) for name in names.split(",")}
    assert {("asgi_stream", "Source"), ("asgi_stream", "Config"), ("asgi_stream.testing", "LambdaRefused")} <= named
    for module, name in named:
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.anyio
async def test_the_code_in_the_readme_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    module: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), module)
    handler = module["handler"]
    assert isinstance(handler, asgi_stream.StreamingAdapter)
    api = await serve(handler, function_url_event(path="/docs"))
    assert api.answers[0].prelude["statusCode"] == 200
    assert b"swagger" in api.answers[0].content


@pytest.mark.parametrize("command", ["./scripts/run", "./scripts/test"])
def test_the_commands_in_the_readme_exist(command: str) -> None:
    assert command in (CHECKOUT / "README.md").read_text()
    assert (CHECKOUT / command).stat().st_mode & 0o100


@pytest.mark.anyio
async def test_the_event_source_in_the_documents_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (CHECKOUT / "docs/event-sources.md").read_text(), re.DOTALL)
    bodies = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    module: dict[str, Any] = {"app": app}
    exec(compile(code, "event-sources.md", "exec"), module)
    api = await serve(module["handler"], {"queue": "q", "path": "/a", "message": [1]}, {"queue": "q"})
    assert json.loads(api.answers[0].body) == {"ok": True, "answer": "/a"}
    assert bodies == [b"[1]"]
    assert "the event's path must be a str" in json.loads(api.answers[1].body)["errorMessage"]
