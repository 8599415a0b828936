"""What Lambda is told of an exception."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from asgi_stream.runtime.reports import ErrorReport, describe

if TYPE_CHECKING:
    from pathlib import Path


def caught(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:
        return raised


def test_an_exception() -> None:
    report = describe(caught(ValueError("boom")))
    assert report[:3] == ("Function.ValueError", "ValueError", "boom")
    assert len(report.stack) == 1
    assert report.stack[0].startswith(f'  File "{__file__}", line ')
    assert "in caught\n    raise error" in report.stack[0]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("HTTP2Error", "Function.HTTPError"),
        ("lower_case", "Function.Lowercase"),
        ("E", "Function.Unknown"),
        ("Äußerst", "Function.Uerst"),
        ("_1", "Function.Unknown"),
        ("E" * 500, "Function." + "E" * 100),
    ],
)
def test_the_kind_is_one_that_lambda_keeps(name: str, kind: str) -> None:
    report = describe(type(name, (Exception,), {})())
    assert report.kind == kind
    assert report.error_type == name[:100]


def test_a_text_that_cannot_be_made() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert describe(Broken()) == ErrorReport("Function.Broken", "Broken", "<Broken: its text could not be made>", ())


def test_the_stack_of_an_import_starts_in_the_users_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outer_module.py").write_text("import inner_module\n")
    (tmp_path / "inner_module.py").write_text("raise KeyError('x')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyError) as info:
        importlib.import_module("outer_module")
    # The frame of this test is a user's to `describe`; the loader has none.
    info.value.__traceback__ = info.value.__traceback__ and info.value.__traceback__.tb_next
    stack = describe(info.value).stack
    assert "outer_module.py" in stack[0]
    assert "inner_module.py" in stack[-1]


def test_a_syntax_error_names_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("x = 1\ndef f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SyntaxError) as info:
        importlib.import_module("broken_module")
    assert describe(info.value).stack[-1] == f'  File "{tmp_path}/broken_module.py", line 2\n    def f(:\n'
    assert "broken_module" not in sys.modules
