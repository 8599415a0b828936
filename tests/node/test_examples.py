"""Each of Node.js's examples has a Python twin that is at most as long."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.support.platforms import REPO

EXAMPLES = REPO / "example_app" / "handlers"
TWINS = sorted((Path(__file__).parent / "examples").glob("*.mjs"))


def lines_of_python(text: str) -> int:
    """Lines that are neither blank nor comment nor docstring."""
    tree = ast.parse(text)
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                docstrings.update(range(first.lineno, (first.end_lineno or 0) + 1))
    kept: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.string.strip() and token.type != tokenize.COMMENT:
            kept.update(range(token.start[0], token.end[0] + 1))
    return len(kept - docstrings)


def lines_of_javascript(text: str) -> int:
    """Lines that are neither blank nor comment."""
    text = re.sub(r"^\s*/\*.*?\*/", "", text, flags=re.DOTALL | re.MULTILINE)
    return sum(1 for line in text.splitlines() if line.strip() and not line.strip().startswith("//"))


def test_the_counting() -> None:
    assert (
        lines_of_python('"""Doc\nstring."""\n\n# comment\nA = """x\n\ny"""\n\n\ndef f():\n    "doc"\n    return 1\n')
        == 5
    )
    assert lines_of_javascript("// comment\n\n/* more\n of it */\nconst a = 1; // one\n  // two\nb();\n") == 2


@pytest.mark.parametrize("twin", TWINS, ids=lambda path: path.stem)
def test_a_python_twin_is_at_most_as_long(twin: Path) -> None:
    example = EXAMPLES / f"{twin.stem}.py"
    assert lines_of_python(example.read_text()) <= lines_of_javascript(twin.read_text())


def test_every_example_has_a_twin() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} - {"__init__"} == {path.stem for path in TWINS}
    assert len(TWINS) == 4
