"""The environment variable ``_X_AMZN_TRACE_ID``, anew for each invocation, and no memory left by it.

glibc's ``setenv``, which ``os.environ`` calls, never frees a value: each trace id, and each is another, leaves some 150
bytes, 15 MB after 100,000 invocations. ``putenv`` puts memory of ours into the environment instead, one buffer that is
written over. Getting at it takes ctypes, whose import no cold start should pay for, nor an environment that serves few
invocations: the first values go the plain way.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["set_trace_id"]

NAME = "_X_AMZN_TRACE_ID"
PLAIN = 1000  # values, of some 150 KB
LONGEST = 1024  # bytes of a value; X-Ray's have some 75

_values = 0
_write: Callable[[bytes], None] | None = None


def set_trace_id(value: str | None) -> None:
    """Sets the variable, for ``os.environ``, for C code and for child processes alike; None removes it.

    A value that no variable can have (NUL, or what the locale's encoding lacks) removes it too.
    Raises nothing, whatever the app has put in the place of ``os.environ``.
    """
    try:  # noqa: SIM105 - contextlib.suppress would take 1 µs more for each invocation
        _set(value)
    except BaseException:  # noqa: S110
        pass


def _set(value: str | None) -> None:
    global _values, _write
    if value is None or "\0" in value:
        os.environ.pop(NAME, None)
        return
    _values += 1
    if _values == PLAIN:
        _write = _writer()
    try:
        if _write is None or len(encoded := os.fsencode(value)) > LONGEST:
            os.environ[NAME] = value
        else:
            _write(encoded)
    except ValueError:
        os.environ.pop(NAME, None)


def _writer() -> Callable[[bytes], None] | None:
    """Returns what writes a value over the one before; None where this Python has no ctypes."""
    try:
        import ctypes

        putenv = ctypes.CDLL(None).putenv
        # What os.environ keeps beside the environment that C sees; there is no public way to the one without the other.
        values: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]  # noqa: SLF001
    except (ImportError, OSError, AttributeError):
        return None
    name = os.fsencode(NAME)
    prefix = name + b"="
    buffer = ctypes.create_string_buffer(len(prefix) + LONGEST + 1)
    # It is a part of the environment from here on, which C code reads to the very end: Python must never free it.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(buffer))

    def write(value: bytes) -> None:
        buffer.value = prefix + value
        putenv(buffer)  # each time, for the app may have set the variable itself, or removed it
        values[name] = value

    return write
