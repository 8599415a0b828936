"""The table of settings, ``Config``, and the places that say the same: arguments, variables, handlers and documents."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import asgi_stream
from asgi_stream import ConfigurationError, StreamingAdapter
from asgi_stream.config import PREFIX, RUNTIME_VARIABLES, SETTINGS, Config, Setting, load_config
from asgi_stream.handlers.plain import PlainHandler
from asgi_stream.sinks import Handler

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(asgi_stream.__file__).parent
CHECKOUT = PACKAGE.parent
ARGUMENTS = {
    name: parameter
    for name, parameter in inspect.signature(StreamingAdapter).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}
# Arguments that have no variable; the last one is Mangum's, and raises.
OBJECTS = ["on_event", "event_sources", "custom_handlers"]


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


def default_of(setting: Setting) -> str:
    is_none = setting.default is None or setting.default in ("", b"", frozenset())
    return setting.shown or ("none" if is_none else f"``{setting.default}``")


def test_each_field_is_a_setting() -> None:
    assert list(Config.__annotations__) == list(SETTINGS)


def test_the_adapter_takes_each_setting() -> None:
    assert [*ARGUMENTS] == [*SETTINGS, *OBJECTS]


@pytest.mark.parametrize("name", SETTINGS)
def test_each_argument_has_a_type_and_is_read(name: str) -> None:
    assert ARGUMENTS[name].default is None
    assert ARGUMENTS[name].annotation.endswith(" | None")
    assert "Any" not in ARGUMENTS[name].annotation
    with pytest.raises(ConfigurationError, match=f"^{name} "):
        StreamingAdapter(app, **{name: object()})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in SETTINGS if "Literal" in ARGUMENTS[name].annotation])
def test_the_choices_of_an_argument_are_those_of_the_setting(name: str) -> None:
    allowed = re.findall(r"'(\w+)'", ARGUMENTS[name].annotation)
    with pytest.raises(ConfigurationError, match=f"^{name} must be one of {', '.join(allowed)}, not"):
        StreamingAdapter(app, **{name: "?"})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SETTINGS)
def test_each_variable_is_read_and_errors_have_its_name(name: str) -> None:
    environ = {PREFIX + name.upper(): "?"}
    if name in ("text_mime_types", "exclude_headers"):  # which take any text
        assert getattr(load_config({}, environ), name) != SETTINGS[name].default
        return
    with pytest.raises(ConfigurationError, match=f"^{PREFIX}{name.upper()} must be "):
        load_config({}, environ)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_docstring_of_the_adapter(name: str) -> None:
    setting = SETTINGS[name]
    line = f"- ``{name}``: {setting.help} Default: {default_of(setting)}."
    assert line in " ".join(str(StreamingAdapter.__doc__).split())


def test_the_table_of_the_documents() -> None:
    page = (CHECKOUT / "docs" / "settings.md").read_text()
    (table,) = re.findall(r"\| argument \| variable .*\n\|---.*\n((?:\|.*\n)+)", page)
    rows = re.sub(r" \(\[[^]]+\]\([^)]+\)\)", "", table).splitlines()  # links lead to more
    expected = [
        f"| `{name}` | `{PREFIX}{name.upper()}` | {setting.help} | {default_of(setting)} |".replace("``", "`")
        for name, setting in SETTINGS.items()
    ]
    assert rows[: len(expected)] == expected
    others = [row.split(" | ")[:2] for row in rows[len(expected) :]]
    assert [argument.strip("|` ") for argument, _ in others if argument != "|"] == OBJECTS[:-1]
    assert {variable.strip("` ") for argument, variable in others if argument == "|"} == RUNTIME_VARIABLES


def test_each_variable_that_is_named_anywhere_is_one() -> None:
    known = {*RUNTIME_VARIABLES, *(PREFIX + name.upper() for name in SETTINGS)}
    files = [
        path
        for folder in ("asgi_stream", "docs", "example_app")
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and path.suffix in ("", ".md", ".py", ".yaml")
    ]
    named = {variable for path in files for variable in re.findall(rf"(?<![\w]){PREFIX}[A-Z_]*[A-Z]", path.read_text())}
    assert named == known


@pytest.mark.parametrize("name", Handler.__annotations__)
@pytest.mark.parametrize("make", [lambda: StreamingAdapter(app), lambda: PlainHandler(print)])
def test_what_the_runtime_reads_of_a_handler_is_its_setting(
    name: str, make: Callable[[], Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert getattr(Handler, name) == getattr(make(), name) == SETTINGS[name].default
    monkeypatch.setenv(PREFIX + name.upper(), "on" if SETTINGS[name].default is False else "2")
    assert getattr(make(), name) == (True if SETTINGS[name].default is False else 2)


@pytest.mark.parametrize("name", Handler.__annotations__)
def test_a_function_takes_over_what_the_runtime_reads_of_its_adapters(name: str) -> None:
    value: Any = True if SETTINGS[name].default is False else 2
    function = PlainHandler(print)
    function.adopt([StreamingAdapter(app), StreamingAdapter(app, **{name: value})])
    assert getattr(function, name) == value
