"""Safe operations on the app's objects: exceptions, tracebacks, messages, return values.

The methods of such an object may raise ``SystemExit``, return a wrong length or name another class. No function here
raises for it. Types, tracebacks and causes are read from the interpreter's own fields. Code of the object runs only for
its text and its attributes, and what that code raises, any ``BaseException``, is caught here.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
import types
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    T = TypeVar("T")

__all__ = [
    "cancel",
    "cause_of",
    "context_of",
    "error_lines",
    "error_text",
    "get",
    "has_more",
    "log",
    "of_type",
    "plain_bytearray",
    "plain_bytes",
    "plain_int",
    "plain_str",
    "shown",
    "stack_lines",
    "stack_of",
    "text",
    "traceback_of",
    "type_name",
    "unreadable",
]

# How much of an exception is printed: characters of its text, entries of its traceback, exceptions in its chain and
# groups, exceptions of one group, groups within groups. What an app raises by mistake stays far below.
MAX_TEXT = 65_536
MAX_ENTRIES = 1_000
MAX_ERRORS = 100
MAX_WIDTH = 15
MAX_DEPTH = 10
# Characters of a value in an error message.
MAX_SHOWN = 100

CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
MEANWHILE = "\nDuring handling of the above exception, another exception occurred:\n\n"


def _reader(owner: type, name: str) -> Any:
    """Returns a function that reads an attribute as ``owner`` defines it, past subclasses and metaclasses."""
    return vars(owner)[name].__get__


_name = _reader(type, "__name__")
_qualname = _reader(type, "__qualname__")
_module = _reader(type, "__module__")
_mro = _reader(type, "__mro__")
_dict = _reader(type, "__dict__")
_flags = _reader(type, "__flags__")
_traceback = _reader(BaseException, "__traceback__")
_cause = _reader(BaseException, "__cause__")
_context = _reader(BaseException, "__context__")
_suppress_context = _reader(BaseException, "__suppress_context__")
_exceptions = _reader(BaseExceptionGroup, "exceptions")

_ALL = slice(None)
# Of `type.__flags__`: Py_TPFLAGS_HEAPTYPE, a class that is not built in.
_HEAP_TYPE = 1 << 9
# What `traceback` reads of an exception, and what a class may define otherwise: as a chain without an end, say.
_CHAIN = frozenset(
    ("__cause__", "__context__", "__suppress_context__", "__traceback__", "__getattribute__", "exceptions")
)


# Values


def of_type(value: object, kind: type[T]) -> TypeGuard[T]:
    """``isinstance`` by the real type: ``value.__class__`` is not asked."""
    return issubclass(type(value), kind)


def type_name(value: object) -> str:
    """The name of the type."""
    return plain_str(_name(type(value)))


def plain_str(value: str) -> str:
    """The same characters as a ``str``, of an instance of a subclass too."""
    return value if type(value) is str else str.__str__(value)


def plain_int(value: int) -> int:
    """The same number as an ``int``, of an instance of a subclass too: a bool, a member of an ``IntEnum``."""
    return value if type(value) is int else int.__int__(value)


def plain_bytes(value: bytes) -> bytes:
    """The same bytes as ``bytes``, of an instance of a subclass too: ``bytes(value)`` would ask its ``__bytes__``."""
    return value if type(value) is bytes else bytes.__getitem__(value, _ALL)


def plain_bytearray(value: bytearray) -> bytearray:
    """As :func:`plain_bytes`; a ``bytearray`` itself is not copied."""
    return value if type(value) is bytearray else bytearray.__getitem__(value, _ALL)


def text(value: object) -> str:
    """``str(value)``; the characters of an instance of ``str``; a substitute where ``__str__`` raises."""
    try:
        return plain_str(value if of_type(value, str) else str(value))
    except BaseException:
        return f"<{type_name(value)}: its text could not be made>"


def shown(value: object, limit: int = MAX_SHOWN) -> str:
    """``repr(value)``, cut to ``limit`` characters; a substitute where ``__repr__`` raises."""
    try:
        if type(value) is str or type(value) is bytes:
            value = value[:limit]  # of what may be hundreds of megabytes
        return plain_str(repr(value))[:limit]
    except BaseException:
        return f"<{type_name(value)}: its text could not be made>"


def get(value: object, name: str, default: Any = None) -> Any:
    """``getattr`` that returns ``default`` also where reading the attribute raises."""
    try:
        return getattr(value, name, default)
    except BaseException:
        return default


def cancel(task: Any) -> None:
    """Cancels a task. Its class may be the app's own, and so may be that of what it awaits, which is cancelled too."""
    with contextlib.suppress(BaseException):
        task.cancel()


# Exceptions


def traceback_of(error: BaseException) -> types.TracebackType | None:
    """Where the exception was raised."""
    return _traceback(error)  # type: ignore[no-any-return]


def cause_of(error: BaseException) -> BaseException | None:
    """What the exception was raised ``from``."""
    return _cause(error)  # type: ignore[no-any-return]


def context_of(error: BaseException) -> BaseException | None:
    """What was being handled when the exception was raised."""
    return _context(error)  # type: ignore[no-any-return]


def error_text(error: object) -> str:
    """The text of an exception; of a very long one its beginning."""
    told = text(error)
    left_out = len(told) - MAX_TEXT
    return told if left_out <= 0 else f"{told[:MAX_TEXT]}… ({left_out} characters left out)"


def has_more(error: BaseException) -> bool:
    """True where :func:`error_lines` prints other exceptions too: a cause, a context, those of a group."""
    return _before(error) is not None or of_type(error, BaseExceptionGroup)


def _before(error: BaseException) -> BaseException | None:
    """The exception that is printed before this one."""
    cause = cause_of(error)
    if cause is not None or _suppress_context(error):
        return cause
    return context_of(error)


def _members(error: BaseException) -> tuple[BaseException, ...]:
    return _exceptions(error) if of_type(error, BaseExceptionGroup) else ()


def error_lines(error: BaseException) -> list[str]:
    """The whole of an exception as Python prints it, with its causes, contexts and groups; each text ends its line.

    What ``traceback`` cannot print, or should not for its size, is printed here, as far as it can be read.
    """
    with contextlib.suppress(BaseException):
        if _is_usual(error):
            return list(traceback.TracebackException(type(error), error, traceback_of(error)).format())
    with contextlib.suppress(BaseException):
        return _Printer().chain(error)
    return [f"{type_name(error)}\n"]  # out of memory, for example


def _is_usual(error: BaseException) -> bool:
    """True for an exception that is small, and that ``traceback`` reads as it is. May raise anything."""
    found = {id(error): error}
    left = [error]
    while left:
        error = left.pop()
        if any(_flags(base) & _HEAP_TYPE and not _CHAIN.isdisjoint(_dict(base)) for base in _mro(type(error))):
            return False
        notes = vars(error).get("__notes__", [])
        if type(notes) is not list or sum(len(text(part)) for part in (error, *notes)) > MAX_TEXT:
            return False
        if len(_entries(traceback_of(error))) > MAX_ENTRIES:
            return False
        members = _members(error)
        distinct = {id(member) for member in members[: MAX_ERRORS + 1]}
        # `traceback` prints an exception in each group that has it: with 10 in each of 10 groups, 10**10 times.
        if len(distinct) < len(members) or not distinct.isdisjoint(found):
            return False
        for other in (cause_of(error), context_of(error), *members):
            if other is not None and id(other) not in found:
                if len(found) == MAX_ERRORS:
                    return False
                found[id(other)] = other
                left.append(other)
    return True


class _Printer:
    """Prints an exception without trusting anything in it. Good for one :meth:`chain`."""

    def __init__(self) -> None:
        self._left = MAX_ERRORS

    def chain(self, error: BaseException | None, depth: int = 0) -> list[str]:
        """The exception, and before it those that it came from."""
        found: dict[int, tuple[BaseException, str]] = {}
        joint = ""
        while error is not None and id(error) not in found and self._left > 0:
            self._left -= 1
            found[id(error)] = error, joint
            joint = MEANWHILE if cause_of(error) is None else CAUSED
            error = _before(error)
        lines = ["(earlier exceptions are left out)\n", joint] if error is not None and id(error) not in found else []
        for printed, joint in reversed(found.values()):
            lines += self._one(printed, depth)
            if joint:
                lines.append(joint)
        return lines

    def _one(self, error: BaseException, depth: int) -> list[str]:
        stack = stack_lines(traceback_of(error))
        lines = ["Traceback (most recent call last):\n", *stack] if stack else []
        told = error_text(error)
        lines.append(f"{_full_name(error)}: {told}\n" if told else f"{_full_name(error)}\n")
        notes = get(error, "__notes__")
        if of_type(notes, list):
            lines += [f"{error_text(note)}\n" for note in list.__getitem__(notes, slice(MAX_WIDTH))]
        members = _members(error)
        for number, member in enumerate(members, 1):
            if number > MAX_WIDTH or depth == MAX_DEPTH or self._left == 0:
                lines.append(f"  ({len(members) - number + 1} more exceptions of this group are left out)\n")
                break
            lines.append(f"  ---------------- {number} of {len(members)} ----------------\n")
            inner = "".join(self.chain(member, depth + 1))
            lines += [f"    {line}" for line in inner.splitlines(keepends=True)]
        return lines


def _full_name(error: BaseException) -> str:
    module = _module(type(error))
    module = plain_str(module) if of_type(module, str) else "builtins"
    name = plain_str(_qualname(type(error)))
    return name if module in ("builtins", "__main__") else f"{module}.{name}"


# Tracebacks


_STAND_IN = (lambda: (yield)).__code__


def unreadable(what: object, why: object) -> types.FrameType:
    """A frame for a traceback, in place of that of ``what``, a coroutine or the like, which cannot be read.

    ``why`` is the exception that reading it raised, or what was there instead.
    """
    name = get(what, "__qualname__")
    code = _STAND_IN.replace(
        co_filename=f"<a frame that cannot be read: {type_name(why)}>",
        co_name=plain_str(name)[:MAX_SHOWN] if of_type(name, str) else type_name(what),
        co_firstlineno=0,
    )
    # Of all that has a frame, a generator alone has one before it runs.
    return types.FunctionType(code, {})().gi_frame  # type: ignore[no-any-return]


def stack_of(frames: Sequence[types.FrameType]) -> types.TracebackType | None:
    """The traceback of frames that are still at work, the innermost last."""
    stack = None
    for frame in reversed(frames):
        stack = types.TracebackType(stack, frame, frame.f_lasti, frame.f_lineno or frame.f_code.co_firstlineno)
    return stack


def stack_lines(entry: types.TracebackType | None) -> list[str]:
    """The entries of a traceback as Python prints them, of a very long one the outer and the inner ones."""
    entries = _entries(entry)
    left_out = len(entries) - MAX_ENTRIES
    if left_out <= 0:
        return _lines(entries)
    half = MAX_ENTRIES // 2
    return [*_lines(entries[:half]), f"  ({left_out} frames left out)\n", *_lines(entries[-half:])]


def _entries(entry: types.TracebackType | None) -> list[types.TracebackType]:
    entries = []
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    return entries


def _lines(entries: list[types.TracebackType]) -> list[str]:
    """Entries that follow each other."""
    if not entries:
        return []
    try:
        return traceback.format_tb(entries[0], len(entries))
    except BaseException:
        return [_line(entry) for entry in entries]


def _line(entry: types.TracebackType) -> str:
    """One entry; of one that ``traceback`` cannot print, file, line and name, which can always be read."""
    frame = entry.tb_frame
    code = frame.f_code
    number = entry.tb_lineno or code.co_firstlineno
    # The second has no position within its line: frames that C extensions make may have an illegal one.
    for attempt in (entry, types.TracebackType(None, frame, -1, number)):
        try:
            return "".join(traceback.format_tb(attempt, 1))
        except BaseException:  # noqa: S112 - the next attempt
            continue
    return f'  File "{plain_str(code.co_filename)}", line {number}, in {plain_str(code.co_name)}\n'


# Logging

_logger = logging.getLogger("asgi_stream")


def log(level: int, message: str, error: BaseException | None = None) -> None:
    """Logs by ``logging``, whose handlers are the user's. What one of them cannot write is logged as ASCII text."""
    exc_info = None if error is None else (type(error), error, traceback_of(error))
    try:
        _logger.log(level, message, exc_info=exc_info, stacklevel=2)
    except BaseException:
        with contextlib.suppress(BaseException):  # of a handler that takes no record at all
            told = message if error is None else f"{message}: {shown(error)}\n{''.join(error_lines(error))}"
            _logger.log(level, "%s", told.rstrip("\n").encode("ascii", "backslashreplace").decode(), stacklevel=2)
