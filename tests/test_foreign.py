"""Objects that are not ours: what is read of them is right, and nothing that they do comes out."""

from __future__ import annotations

import logging
import sys
import traceback
import types
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_stream import foreign
from asgi_stream.foreign import error_lines, stack_lines, stack_of, traceback_of
from tests.support.hostile import (
    RAISED,
    UNTRACED,
    at_an_illegal_position,
    behaviours,
    class_members,
    make_error,
    members,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def caught(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:
        return raised


def printed(error: BaseException) -> str:
    return "".join(error_lines(error))


# What Python can print is printed as Python prints it.


def chained() -> BaseException:
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise ValueError("second") from first
    except ValueError:
        return caught(LookupError("third"))


def noted() -> BaseException:
    error = caught(ValueError("noted"))
    error.add_note("a note\nof two lines")
    return error


def misspelled() -> BaseException:
    try:
        return types.SimpleNamespace(price=7).prize  # type: ignore[no-any-return]
    except AttributeError as error:
        return error


def recursive() -> BaseException:
    def go_on() -> None:
        go_on()

    try:
        go_on()
    except RecursionError as error:
        return error
    raise AssertionError


def grouped() -> BaseException:
    inner = BaseExceptionGroup("inner", [noted(), caught(OSError(2, "no"))])
    return caught(BaseExceptionGroup("several", [chained(), inner]))


USUAL: list[Callable[[], BaseException]] = [
    chained,
    noted,
    misspelled,
    recursive,
    grouped,
    lambda: SyntaxError("odd", ("m.py", 3, 1, "x = ", 3, 2)),
    lambda: ValueError("never raised"),
    lambda: caught(ValueError()),
    lambda: caught(SystemExit(3)),
]


@pytest.mark.parametrize("make", USUAL)
def test_what_python_can_print_is_printed_as_python_prints_it(make: Callable[[], BaseException]) -> None:
    error = make()
    assert error_lines(error) == traceback.format_exception(error)
    assert stack_lines(traceback_of(error)) == traceback.format_tb(error.__traceback__)


# What it cannot print is printed as far as it can be read.


def test_a_position_that_is_not_in_the_code() -> None:
    """`traceback` raises for the whole of such a traceback."""
    error = at_an_illegal_position(ValueError("told"), 8)
    with pytest.raises(RuntimeError):
        traceback.format_exception(error)
    error = caught(error)
    assert error_lines(error)[0] == "Traceback (most recent call last):\n"
    outer, inner = stack_lines(traceback_of(error))
    assert f'  File "{__file__}", line ' in outer
    assert "in caught\n    raise error" in outer
    assert inner.startswith(
        f'  File "{sys.modules["tests.support.hostile"].__file__}", line 8, in at_an_illegal_position'
    )
    assert printed(error).endswith("ValueError: told\n")


class Name(str):
    """A text that cannot be asked for anything."""

    __slots__ = ()

    def _raise(self, *_: object) -> Any:
        raise SystemExit

    __str__ = __repr__ = __format__ = __hash__ = __eq__ = __len__ = startswith = _raise


def frame_of(**changes: Any) -> types.FrameType:
    def generate() -> Any:
        yield

    return types.FunctionType(generate.__code__.replace(**changes), {})().gi_frame  # type: ignore[no-any-return]


@UNTRACED
def test_a_line_number_that_there_is_not() -> None:
    frame = frame_of(co_filename="app.py", co_firstlineno=3)
    error = ValueError("told").with_traceback(types.TracebackType(None, frame, 1 << 20, -1))
    assert foreign.get(error.__traceback__, "tb_lineno", 7) is None
    assert "line 3, in generate\n" in printed(error)


@UNTRACED
@pytest.mark.parametrize("kind", [str, Name], ids=["str", "Name"])
@pytest.mark.parametrize("file", ["app.py", "a\0b.py"])
def test_names_of_files_and_functions(file: str, kind: type[str]) -> None:
    frame = frame_of(co_filename=kind(file), co_name=Name("handler"))
    (line,) = stack_lines(stack_of([frame]))
    assert line == f'  File "{file}", line {frame.f_lineno}, in handler\n'


@UNTRACED
def test_code_without_a_table_of_positions() -> None:
    frame = frame_of(co_linetable=b"", co_filename="app.py", co_firstlineno=3)
    (line,) = stack_lines(stack_of([frame]))
    assert line == '  File "app.py", line 3, in generate\n'


def test_a_source_that_cannot_be_had() -> None:
    """`linecache` asks the loader of the frame's module."""

    class Loader:
        def get_source(self, name: str) -> str:
            raise KeyboardInterrupt

    spec = types.SimpleNamespace(name="app", loader=Loader())
    code = compile("raise ValueError('told')", "/no/such/file.py", "exec")
    with pytest.raises(ValueError, match="told") as info:
        exec(code, {"__name__": "app", "__loader__": spec.loader, "__spec__": spec})
    assert printed(info.value).endswith('  File "/no/such/file.py", line 1, in <module>\nValueError: told\n')


def test_a_frame_that_cannot_be_read() -> None:
    coroutine = types.SimpleNamespace(__qualname__="Protocol.query")
    stack = stack_of([foreign.unreadable(coroutine, RuntimeError()), sys._getframe(), foreign.unreadable(7, 8)])
    lines = stack_lines(stack)
    assert lines[0] == '  File "<a frame that cannot be read: RuntimeError>", line 0, in Protocol.query\n'
    assert "in test_a_frame_that_cannot_be_read\n" in lines[1]
    assert lines[2] == '  File "<a frame that cannot be read: int>", line 0, in int\n'


def test_a_long_traceback_keeps_both_ends() -> None:
    frames = [frame_of(co_name=f"f{number}", co_filename="x", co_firstlineno=1) for number in range(5_000)]
    lines = stack_lines(stack_of(frames))
    assert len(lines) == 1_001
    assert [line.split()[-1] for line in (lines[0], lines[499], lines[501], lines[-1])] == [
        "f0",
        "f499",
        "f4500",
        "f4999",
    ]
    assert lines[500] == "  (4000 frames left out)\n"


def test_a_long_traceback_that_repeats_itself_is_short() -> None:
    frame = frame_of(co_filename="x", co_firstlineno=1)
    lines = stack_lines(stack_of([frame] * 50_000))
    assert "".join(lines).count("Previous line repeated 497 more times") == 2
    assert len(lines) < 20


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_a_chain_without_an_end_and_one_of_a_million(link: str) -> None:
    cycle, other = ValueError("one"), LookupError("two")
    setattr(cycle, link, other)
    setattr(other, link, cycle)
    text = printed(cycle)
    assert (text.count("ValueError: one"), text.count("LookupError: two")) == (1, 1)
    error: BaseException = KeyError("the first")
    for number in range(10_000):
        following = ValueError(number)
        setattr(following, link, error)
        error = following
    lines = error_lines(error)
    assert lines[0] == "(earlier exceptions are left out)\n"
    assert lines[-1] == "ValueError: 9999\n"
    assert lines.count("ValueError: 9900\n") == 1
    assert "ValueError: 9899\n" not in lines


def test_a_chain_that_makes_itself_anew() -> None:
    class Endless(Exception):
        @property
        def __cause__(self) -> BaseException:  # type: ignore[override]
            return Endless()

    error = caught(Endless("told"))
    assert printed(error).endswith("Endless: told\n")
    assert printed(error).count("Endless: told") == 1


def test_groups_within_groups_and_wide_ones() -> None:
    error: Exception = ValueError("inner")
    for _ in range(10_000):
        error = ExceptionGroup("group", [error, LookupError("beside")])
    text = printed(error)
    assert text.count("ExceptionGroup: group (2 sub-exceptions)") == 11
    assert text.count("LookupError: beside") == 10
    assert text.count("  (2 more exceptions of this group are left out)\n") == 1
    wide = ExceptionGroup("wide", [ValueError(number) for number in range(10_000)])
    text = printed(wide)
    assert text.startswith(
        "ExceptionGroup: wide (10000 sub-exceptions)\n  ---------------- 1 of 10000 ----------------\n"
    )
    assert text.endswith("    ValueError: 14\n  (9985 more exceptions of this group are left out)\n")
    tree: Exception = ValueError("leaf")
    for _ in range(9):
        tree = ExceptionGroup("branch", [tree] * 14)
    assert printed(tree).count("branch") + printed(tree).count("leaf") == 100


def test_a_long_text_keeps_its_beginning() -> None:
    error = caught(ValueError("x" * 20_000_000))
    text = printed(error)
    assert text.endswith("xxx… (19934464 characters left out)\n")
    assert len(text) < 70_000
    error = caught(ValueError("told"))
    error.add_note("x" * 20_000_000)
    assert len(printed(error)) < 70_000


def test_notes_that_are_none() -> None:
    class Notes(list[str]):
        def __iter__(self) -> Any:
            raise SystemExit

    error = ValueError("told")
    error.__notes__ = Notes(["first", "second"])
    assert printed(error) == "ValueError: told\nfirst\nsecond\n"
    error.__notes__ = 7  # type: ignore[assignment]
    assert printed(error) == "ValueError: told\n"


def test_the_members_of_an_exception_are_printed_beside_one_that_cannot_be() -> None:
    hostile = make_error(ValueError, {"__str__": ("raises", SystemExit), "__traceback__": ("raises", SystemExit)})
    group = BaseExceptionGroup("several", [caught(LookupError("legible")), hostile])
    group.__cause__ = at_an_illegal_position(ValueError("cause"))
    text = printed(group)
    assert text.index("ValueError: cause") < text.index("direct cause") < text.index("ExceptionGroup: several")
    assert "in caught\n        raise error" in text
    assert "    LookupError: legible\n" in text
    assert "Hostile: <Hostile: its text could not be made>" in text


def test_where_there_is_no_memory_the_type_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise MemoryError

    monkeypatch.setattr(foreign, "stack_lines", fail)
    monkeypatch.setattr(traceback, "TracebackException", fail)
    assert error_lines(ValueError("told")) == ["ValueError\n"]


# Values


class Bytes(bytes):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, key: Any) -> Any:
        raise SystemExit

    def __iter__(self) -> Any:
        raise SystemExit

    __bytes__ = __buffer__ = __eq__ = __hash__ = __getitem__  # type: ignore[assignment]


class Bytearray(bytearray):
    def __len__(self) -> int:
        return 2

    __bytes__ = __buffer__ = __getitem__ = Bytes.__iter__  # type: ignore[assignment]


class Number(int):
    def _raise(self, *_: object) -> Any:
        raise SystemExit

    __int__ = __index__ = __le__ = __ge__ = __eq__ = __hash__ = __str__ = __repr__ = _raise


def test_plain_values() -> None:
    data = foreign.plain_bytes(Bytes(b"told"))
    assert (type(data), data) == (bytes, b"told")
    array = foreign.plain_bytearray(Bytearray(b"told"))
    assert (type(array), array) == (bytearray, bytearray(b"told"))
    text = foreign.plain_str(Name("told"))
    assert (type(text), text) == (str, "told")
    number = foreign.plain_int(Number(7))
    assert (type(number), number) == (int, 7)
    assert type(foreign.plain_int(True)) is int
    for value in (b"told" * 99, bytearray(b"told"), "told", 7):
        same = {
            bytes: foreign.plain_bytes,
            bytearray: foreign.plain_bytearray,
            str: foreign.plain_str,
            int: foreign.plain_int,
        }
        assert same[type(value)](value) is value  # type: ignore[operator]


def test_types_are_the_real_ones() -> None:
    class Liar:
        __class__ = bytes  # type: ignore[assignment]

    assert isinstance(Liar(), bytes)
    assert not foreign.of_type(Liar(), bytes)
    assert foreign.of_type(Bytes(), bytes)
    assert foreign.type_name(Liar()) == "Liar"
    assert foreign.type_name(type(Name("Odd"), (), {})()) == "Odd"
    assert type(foreign.type_name(type(Name("Odd"), (), {})())) is str


def test_a_value_in_a_message_is_short_and_takes_little_memory() -> None:
    assert foreign.shown("x" * 200) == "'" + "x" * 99
    assert foreign.shown(b"x" * 50_000_000) == "b'" + "x" * 98
    assert foreign.shown(10**5000) == "<int: its text could not be made>"
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert foreign.shown(nested) == "<list: its text could not be made>"


def test_an_attribute_that_cannot_be_read() -> None:
    class Shy:
        given = 7

        @property
        def kept(self) -> None:
            raise SystemExit

    assert [foreign.get(Shy(), name, 8) for name in ("given", "kept", "missing")] == [7, 8, 8]
    assert foreign.get(Shy(), "kept") is None


BASES: list[type[BaseException]] = [
    Exception,
    SystemExit,
    SyntaxError,
    AttributeError,
    ImportError,
    OSError,
    ExceptionGroup,
]


@given(st.sampled_from(BASES), members, class_members, behaviours)
def test_nothing_that_an_exception_does_comes_out(
    base: type[BaseException], members: dict[str, Any], of_the_class: dict[str, Any], text: tuple[str, Any]
) -> None:
    error = make_error(base, {**members, "__str__": text}, of_the_class)
    error = at_an_illegal_position(caught(error))
    outer = caught(ValueError("outer"))
    outer.__cause__ = error
    lines = error_lines(error)
    assert {type(line) for line in lines} == {str}
    assert "Hostile" in "".join(lines)
    assert printed(outer).endswith("ValueError: outer\n")
    assert "in at_an_illegal_position" in "".join(stack_lines(traceback_of(error)))
    assert type(foreign.text(error)) is type(foreign.shown(error)) is type(foreign.error_text(error)) is str
    assert foreign.type_name(error) == "Hostile"
    for name in ("args", "name", "__class__", "__dict__", "__traceback__"):
        foreign.get(error, name)
    foreign.has_more(error)


# Logging


@pytest.mark.parametrize("raised", RAISED)
def test_handlers_that_raise(raised: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise raised

    broken = Broken()
    logging.getLogger("asgi_stream").addHandler(broken)
    try:
        foreign.log(logging.ERROR, "said", ValueError("told"))
        foreign.log(logging.WARNING, "said alone")
    finally:
        logging.getLogger("asgi_stream").removeHandler(broken)
    assert caplog.records == []


def test_what_a_handler_cannot_print_is_logged_as_text(caplog: pytest.LogCaptureFixture) -> None:
    lines = []

    class Strict(logging.Handler):
        """As AWS's own: nothing is caught."""

        def emit(self, record: logging.LogRecord) -> None:
            lines.append(logging.Formatter("%(message)s").format(record))

    strict = Strict()
    logging.getLogger("asgi_stream").addHandler(strict)
    try:
        foreign.log(logging.ERROR, "said", at_an_illegal_position(ValueError("töld")))
    finally:
        logging.getLogger("asgi_stream").removeHandler(strict)
    (line,) = lines
    assert line.startswith("said: ValueError('t\\xf6ld')\nTraceback (most recent call last):\n  File ")
    assert line.endswith("in at_an_illegal_position\n" + line.splitlines()[-2] + "\nValueError: t\\xf6ld")
    assert [record.funcName for record in caplog.records] == [
        "test_what_a_handler_cannot_print_is_logged_as_text"
    ] * len(caplog.records)
