"""From the text in _HANDLER to the handler, or to the error type that AWS documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asgi_stream.runtime.loader import HandlerLoadError, load_handler

if TYPE_CHECKING:
    from pathlib import Path

WORKS = """from asgi_stream import StreamingAdapter
async def app(scope, receive, send): ...
handler = StreamingAdapter(app)
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loader_folder").mkdir()
    (tmp_path / "loader_folder" / "works.py").write_text(WORKS)
    (tmp_path / "loader_no_dependency.py").write_text("import loader_missing_dependency\n")
    (tmp_path / "loader_syntax.py").write_text("def f(:\n")
    (tmp_path / "loader_raises.py").write_text("def f():\n    raise ValueError('no table')\nf()\n")
    (tmp_path / "loader_exits.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "loader_bare.py").write_text("async def app(scope, receive, send): ...\nNUMBER = 5\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("name", ["loader_folder.works.handler", "loader_folder/works.handler"])
def test_a_handler(name: str) -> None:
    assert type(load_handler(name)).__name__ == "StreamingAdapter"


def test_a_bare_asgi_app_is_wrapped() -> None:
    assert type(load_handler("loader_bare.app")).__name__ == "StreamingAdapter"


@pytest.mark.parametrize(
    ("name", "error_type", "message", "first_frame"),
    [
        ("", "Runtime.MalformedHandlerName", "Bad handler ''", None),
        ("handler", "Runtime.MalformedHandlerName", "it must be module.attribute", None),
        (".handler", "Runtime.MalformedHandlerName", "Bad handler", None),
        ("module.", "Runtime.MalformedHandlerName", "Bad handler", None),
        ("loader_not_there.handler", "Runtime.ImportModuleError", "No module named 'loader_not_there'", None),
        ("loader_no_dependency.handler", "Runtime.ImportModuleError", "'loader_missing_dependency'", "loader_no_dep"),
        ("loader_syntax.handler", "Runtime.UserCodeSyntaxError", "Syntax error in module", "loader_syntax.py"),
        ("loader_raises.handler", "ValueError", "no table", "loader_raises.py"),
        ("loader_exits.handler", "SystemExit", "3", "loader_exits.py"),
        ("loader_folder.works.other", "Runtime.HandlerNotFound", "Handler 'other' missing on module", None),
        (
            "loader_bare.NUMBER",
            "Runtime.HandlerNotFound",
            "Handler 'loader_bare.NUMBER' cannot be used: it is int",
            None,
        ),
    ],
)
def test_what_is_no_handler(name: str, error_type: str, message: str, first_frame: str | None) -> None:
    with pytest.raises(HandlerLoadError) as info:
        load_handler(name)
    report = info.value.report()
    assert report.error_type == error_type
    assert report.kind == (error_type if error_type.startswith("Runtime.") else f"Function.{error_type}")
    assert message in report.message
    if first_frame is None:
        assert report.stack == ()
    else:
        assert first_frame in report.stack[0]


BROKEN = """
class Broken(BASE):
    def _raise(self, *_):
        raise SystemExit
    __str__ = __repr__ = __bool__ = __len__ = __eq__ = _raise
    __hash__ = BASE.__hash__
"""


@pytest.mark.parametrize(
    ("base", "error_type"),
    [
        ("Exception", "Broken"),
        ("SystemExit", "Broken"),
        ("ImportError", "Runtime.ImportModuleError"),
        ("ModuleNotFoundError", "Runtime.ImportModuleError"),
        ("SyntaxError", "Runtime.UserCodeSyntaxError"),
    ],
)
def test_an_import_that_raises_what_cannot_be_told(base: str, error_type: str, tmp_path: Path) -> None:
    (tmp_path / f"loader_broken_{base}.py").write_text(BROKEN.replace("BASE", base) + "raise Broken('told')\n")
    with pytest.raises(HandlerLoadError) as info:
        load_handler(f"loader_broken_{base}.handler")
    report = info.value.report()
    assert report.error_type == error_type
    assert f"loader_broken_{base}.py" in report.stack[0]
    assert "<Broken: its text could not be made>" in report.message


@pytest.mark.parametrize("error", ["ValueError", "SystemExit", "KeyboardInterrupt"])
def test_a_module_that_cannot_be_asked(error: str, tmp_path: Path) -> None:
    (tmp_path / f"loader_asked_{error}.py").write_text(f"def __getattr__(name): raise {error}('not today')\n")
    with pytest.raises(HandlerLoadError, match=f"cannot be read: {error}") as info:
        load_handler(f"loader_asked_{error}.handler")
    report = info.value.report()
    assert (report.kind, report.message) == (f"Function.{error}", "not today")


PROXIES = """
class Proxy:
    '''As one that is of use in a request alone.'''
    def __getattr__(self, name):
        raise ERROR("working outside of a request")
    def __call__(self, scope, receive, send): ...

class Signed(Proxy):
    @property
    def __signature__(self):
        raise ERROR("no signature")

class Classless(Proxy):
    @property
    def __class__(self):
        raise ERROR("no class")

app, signed, classless = Proxy(), Signed(), Classless()
"""


@pytest.mark.parametrize("error", ["RuntimeError", "SystemExit"])
def test_an_object_whose_attributes_cannot_be_read(error: str, tmp_path: Path) -> None:
    (tmp_path / f"loader_proxies_{error}.py").write_text(PROXIES.replace("ERROR", error))
    for name in ("app", "signed", "classless"):
        assert type(load_handler(f"loader_proxies_{error}.{name}")).__module__.startswith("asgi_stream.")


def test_a_handler_that_cannot_be_wrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever raises then, it is an init error."""

    def fail(value: object) -> None:
        raise KeyboardInterrupt("not today")

    monkeypatch.setattr("asgi_stream.recognise.as_handler", fail)
    with pytest.raises(HandlerLoadError, match="cannot be used: KeyboardInterrupt") as info:
        load_handler("loader_bare.app")
    assert info.value.report().kind == "Function.KeyboardInterrupt"
