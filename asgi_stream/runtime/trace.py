"""The environment variable ``_X_AMZN_TRACE_ID``: another value for each invocation, in the same memory.

glibc's ``setenv``, which ``os.environ`` calls, never frees a value, and each trace id is another: 150 bytes an
invocation, 13 MiB after 90,000 (docs/soak.md). So, after the first 1,000 values, ``putenv`` puts a buffer of ours into
the environment, which is written over. Before that it would not pay to import ctypes, which takes 2 ms.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

__all__ = ["set_trace_id"]

NAME = "_X_AMZN_TRACE_ID"
PLAIN = 1000  # values that os.environ takes, 150 KB
MAX_LENGTH = 1024  # of a value in the buffer; X-Ray's have some 75 characters

_values = itertools.count(1)
_libc: Any = None
_buffer: Any = None


def set_trace_id(value: str | None) -> None:
    """Sets the variable, for ``os.environ``, for C code and for child processes alike; None removes it.

    So does a value that is not printable ASCII, which X-Ray's are. Raises nothing, whatever the app has put in the
    place of ``os.environ``.
    """
    global _libc, _buffer
    try:
        if value is None or not (value.isascii() and value.isprintable()):
            os.environ.pop(NAME, None)
            return
        if _buffer is None or len(value) > MAX_LENGTH:
            os.environ[NAME] = value
        else:
            _buffer.value = f"{NAME}={value}".encode("ascii")
            _libc.putenv(_buffer)  # each time: the app may have set the variable itself, or removed it
            os.environ._data[NAME.encode("ascii")] = value.encode("ascii")  # type: ignore[attr-defined]  # noqa: SLF001
        if next(_values) == PLAIN:
            import ctypes

            _libc, _buffer = ctypes.CDLL(None), ctypes.create_string_buffer(len(NAME) + MAX_LENGTH + 2)
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(_buffer))  # C code reads the environment to the very end
    except BaseException:  # of what is there instead of os.environ; a Python without ctypes
        return
