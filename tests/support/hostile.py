"""Objects that do what nobody expects of them, each a plain description first: tests can draw and print it."""

from __future__ import annotations

import asyncio
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping

# For tests that run code which coverage's tracer cannot follow: it raises, or ends the process.
UNTRACED = pytest.mark.usefixtures("untraced")

RAISED: tuple[type[BaseException], ...] = (
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    StopIteration,
    MemoryError,
    RecursionError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    asyncio.CancelledError,
)
RETURNED: tuple[object, ...] = (
    None,
    True,
    False,
    0,
    -1,
    7,
    10**5000,
    float("nan"),
    "",
    "text",
    b"",
    b"bytes",
    (),
    {},
    object(),
)

# What a class may define as it likes: methods, and attributes that are read.
METHODS = (
    "__str__", "__repr__", "__format__", "__bytes__", "__len__", "__bool__", "__hash__", "__eq__", "__ne__", "__lt__",
    "__le__", "__gt__", "__ge__", "__int__", "__index__", "__float__", "__iter__", "__next__", "__getitem__",
    "__contains__", "__add__", "__radd__", "__mod__", "__call__", "__await__", "__aiter__", "__dir__", "__getattr__",
    "__getattribute__", "__buffer__", "__instancecheck__", "__subclasscheck__", "with_traceback", "add_note", "derive",
    "get", "items", "keys", "values", "strip", "lower", "decode", "encode", "startswith", "isdigit", "translate",
)  # fmt: skip
ATTRIBUTES = (
    "__class__", "__dict__", "__module__", "__doc__", "__cause__", "__context__", "__suppress_context__",
    "__traceback__", "__notes__", "exceptions", "args", "message", "name", "obj", "filename", "lineno", "text", "msg",
    "__signature__", "__wrapped__", "__name__",
)  # fmt: skip
# What its class says of itself, by a metaclass. Not `__subclasscheck__`: Python itself asks for it when it raises.
OF_THE_CLASS = (
    "__name__", "__module__", "__mro__", "__bases__", "__dict__", "__getattribute__", "__eq__", "__hash__",
    "__instancecheck__", "__call__", "__repr__", "__str__", "__bool__", "__len__",
)  # fmt: skip

behaviours = st.one_of(
    st.sampled_from(RAISED).map(lambda error: ("raises", error)),
    st.sampled_from(RETURNED).map(lambda value: ("returns", value)),
    st.just(("returns", "itself")),
)
members = st.dictionaries(st.sampled_from(METHODS + ATTRIBUTES), behaviours, max_size=6)
class_members = st.dictionaries(st.sampled_from(OF_THE_CLASS), behaviours, max_size=3)


def make_class(
    base: type, members: Mapping[str, tuple[str, Any]], of_the_class: Mapping[str, tuple[str, Any]] | None = None
) -> type:
    """A subclass of ``base``, named ``Hostile``, whose members do what is described; some of its metaclass's too."""
    meta: type = type(base)
    if of_the_class:
        meta = type("Meta", (meta,), {name: _member(name, *what) for name, what in of_the_class.items()})
    namespace = {name: _member(name, *what) for name, what in members.items()}
    return type.__call__(meta, "Hostile", (base,), namespace)  # type: ignore[no-any-return]


def _member(name: str, how: str, what: Any) -> Any:
    def member(self: object, *arguments: object, **keywords: object) -> Any:
        if how == "raises":
            raise what
        return self if what == "itself" else what

    if name in METHODS:
        return member
    return property(member, lambda self, value: None)


def at_an_illegal_position(error: BaseException, line: int = 1) -> BaseException:
    """As C extensions make tracebacks: one whose instruction is not in the code of its frame."""
    BaseException.with_traceback(error, types.TracebackType(None, sys._getframe(), 100_000, line))
    return error


def make_error(
    base: type[BaseException],
    members: Mapping[str, tuple[str, Any]],
    of_the_class: Mapping[str, tuple[str, Any]] | None = None,
) -> BaseException:
    """An instance of such an exception class."""
    arguments = ("told", [ValueError("inner")]) if issubclass(base, BaseExceptionGroup) else ("told",)
    return type.__call__(make_class(base, members, of_the_class), *arguments)  # type: ignore[no-any-return]
