"""What Lambda is told of an exception."""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from asgi_stream.errors import stems_from
from asgi_stream.runtime import reports
from asgi_stream.runtime.reports import ErrorReport, describe
from tests.support.hostile import at_an_illegal_position, class_members, make_error, members

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


def test_the_errors_of_a_lost_stream_in_a_chain_without_an_end() -> None:
    lost, error, other = OSError("lost"), ValueError("one"), LookupError("two")
    error.__cause__, other.__context__ = other, error
    assert not stems_from(error, lost)
    other.__context__, lost.__context__ = lost, error
    assert stems_from(error, lost)
    assert stems_from(lost, lost)


def test_an_error_that_is_false_in_a_chain() -> None:
    lost = OSError("lost")
    false = make_error(Exception, {"__bool__": ("returns", False), "__len__": ("raises", SystemExit)})
    false.__context__ = lost
    error = ValueError("outer")
    error.__cause__ = false
    assert stems_from(error, lost)
    hidden = make_error(Exception, {"__context__": ("returns", None), "__cause__": ("raises", SystemExit)})
    vars(BaseException)["__context__"].__set__(hidden, lost)
    assert stems_from(hidden, lost)


def test_where_there_is_no_memory_the_type_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(reports, "stack_lines", fail)
    assert describe(caught(ValueError("told"))) == ErrorReport("Function.ValueError", "ValueError", "told", ())
    monkeypatch.setattr(reports, "error_text", fail)
    assert describe(caught(ValueError("told"))) == ErrorReport("Function.ValueError", "ValueError", "", ())


def test_a_long_stack_and_text_fit_into_a_report() -> None:
    error = caught(ValueError("x" * 20_000_000))
    assert len(describe(error).to_json()) <= 65_536
    assert len(describe(error).to_trailers()[1][1]) <= 3_200


@given(members, class_members)
def test_whatever_is_raised_has_its_name(members: dict[str, Any], of_the_class: dict[str, Any]) -> None:
    error = at_an_illegal_position(caught(make_error(Exception, members, of_the_class)))
    report = describe(error)
    assert report[:2] == ("Function.Hostile", "Hostile")
    assert "in at_an_illegal_position" in report.stack[-1]
    assert json.loads(report.to_json())["errorType"] == "Hostile"
