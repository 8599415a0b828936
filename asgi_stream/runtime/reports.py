"""What Lambda is told of an exception: type, message and stack trace, small enough for where it goes.

The JSON object is the one that AWS's own runtimes send (``errorType``, ``errorMessage``, ``stackTrace``); the
``Lambda-Runtime-Function-Error-Type`` beside it is what the platform counts by, and it keeps only values of the form
``Runtime.Name`` or ``Function.Name``.
"""

from __future__ import annotations

import contextlib
import json
import os
from binascii import b2a_base64
from typing import TYPE_CHECKING, NamedTuple

from asgi_stream.foreign import (
    error_text,
    get,
    of_type,
    plain_str,
    stack_lines,
    text,
    traceback_of,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ErrorReport", "describe"]

# The Runtime API server drops the connection at a trailer block of 5,000 bytes and takes one of 3,500. Base64 makes
# 4 bytes of 3; names, type and line ends of the block take up to 300.
TRAILER_LIMIT = 3_200
MAX_TYPE = 100
# A POST to /error may be far larger; beyond this nobody reads it.
BODY_LIMIT = 65_536

# Not `json.dumps`, in whose place apps put a faster one, with other arguments and another result.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_NO_STACK: tuple[str, ...] = ()
_LEFT_OUT = "  ({} outer frames left out)\n"
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_IMPORT_SYSTEM = ("<frozen importlib", os.path.join("importlib", "__init__.py"))


class ErrorReport(NamedTuple):
    """An error as Lambda is told of it.

    ``kind`` is the header's value, such as ``Function.ValueError``; ``error_type`` the class name or AWS's
    documented init error type; ``stack`` the formatted frames, innermost last.
    """

    kind: str
    error_type: str
    message: str
    stack: tuple[str, ...]

    def to_json(self, limit: int = BODY_LIMIT) -> bytes:
        """Returns the JSON object in at most ``limit`` bytes (500 at least).

        What does not fit is cut: the message beyond half of the room, then outer frames before inner ones.
        """
        body = self._dump(self.message, self.stack)
        if len(body) <= limit:
            return body
        room = limit - len(self._dump("", ()))
        message = _cut(self.message, room // 2)
        room -= len(_encode(message)) + len(_encode(_LEFT_OUT.format(len(self.stack))))
        kept: list[str] = []
        for frame in reversed(self.stack):
            size = len(_encode(frame)) + 1
            if size > room:
                break
            kept.insert(0, frame)
            room -= size
        left_out = len(self.stack) - len(kept)
        return self._dump(message, [_LEFT_OUT.format(left_out), *kept] if left_out else kept)

    def _dump(self, message: str, stack: Sequence[str]) -> bytes:
        fields = {"errorMessage": message, "errorType": self.error_type, "stackTrace": stack}
        return _encode(fields).encode("ascii")

    def to_trailers(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Returns the two trailers that end a stream in an error, the body as standard base64 of the JSON."""
        body = b2a_base64(self.to_json(TRAILER_LIMIT * 3 // 4), newline=False).decode("ascii")
        return (
            ("Lambda-Runtime-Function-Error-Type", self.kind),
            ("Lambda-Runtime-Function-Error-Body", body),
        )


def _cut(text: str, size: int) -> str:
    """``text``, or its beginning and an ellipsis, in at most ``size`` bytes of JSON."""
    if len(_encode(text)) <= size:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if len(_encode(text[:middle] + "…")) <= size:
            low = middle
        else:
            high = middle - 1
    return text[:low] + "…"


def _is_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()


def describe(error: BaseException) -> ErrorReport:
    """Returns the report of an exception of any class. Raises nothing.

    The stack starts in the user's code: frames of this package and of the import system before it are left out.
    """
    name = type_name(error)[:MAX_TYPE]
    letters = "".join(filter(_is_letter, name))
    kind = f"Function.{letters[:1].upper()}{letters[1:]}" if len(letters) > 1 else "Function.Unknown"
    message, stack = "", _NO_STACK
    with contextlib.suppress(BaseException):  # out of memory, for example: Lambda counts by the type
        message = error_text(error)
        stack = _stack(error)
    return ErrorReport(kind, name, message, stack)


def _stack(error: BaseException) -> tuple[str, ...]:
    entry = traceback_of(error)
    while entry is not None and _is_plumbing(plain_str(entry.tb_frame.f_code.co_filename)):
        entry = entry.tb_next
    stack = stack_lines(entry)
    if of_type(error, SyntaxError) and (filename := get(error, "filename")) is not None:
        source = get(error, "text")
        line = plain_str(source).strip() if of_type(source, str) else ""
        place = f'  File "{text(filename)}", line {text(get(error, "lineno"))}\n'
        stack.append(f"{place}    {line}\n" if line else place)
    return tuple(stack)


def _is_plumbing(filename: str) -> bool:
    return filename.startswith((_OURS, _IMPORT_SYSTEM[0])) or filename.endswith(_IMPORT_SYSTEM[1])
