"""What an app may send, and when: the ASGI HTTP response as a table of states.

:class:`ResponseMachine` takes the messages one by one, checks each against :data:`TRANSITIONS` and against the
specification's types, and gives back what to do: a :class:`Start`, a :class:`Body`, a :class:`PathSend`, or
an :class:`~asgi_stream.errors.AppError` whose sentence says what was wrong. It knows no event loop and no network.
"""

from __future__ import annotations

import enum
import functools
from typing import TYPE_CHECKING, Any

from asgi_stream.errors import AppError, DeadlineExceeded
from asgi_stream.foreign import of_type, plain_bytearray, plain_bytes, plain_int, plain_str, shown, type_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_stream.sinks import Buffer

__all__ = [
    "BODY",
    "CUT_OFF",
    "PATHSEND",
    "TRANSITIONS",
    "Body",
    "PathSend",
    "ResponseMachine",
    "ResponseState",
    "Start",
]

START = "http.response.start"
BODY = "http.response.body"
LAST_BODY = "last http.response.body"
PATHSEND = "http.response.pathsend"
CUT_OFF = "the app has stopped at the deadline of its invocation, and its response is not complete"


class ResponseState(enum.StrEnum):  # whose members hash as quickly as text
    """How much of its response the app has sent."""

    NOTHING = "nothing has been sent"
    BARE_HEAD = "status and headers have been sent, the body has not"
    HEAD = "a part of the body has been sent, the last has not"
    COMPLETE = "all has been sent"


TRANSITIONS: dict[tuple[ResponseState, str], ResponseState] = {
    (ResponseState.NOTHING, START): ResponseState.BARE_HEAD,
    (ResponseState.HEAD, BODY): ResponseState.HEAD,
    (ResponseState.HEAD, LAST_BODY): ResponseState.COMPLETE,
    (ResponseState.BARE_HEAD, BODY): ResponseState.HEAD,
    (ResponseState.BARE_HEAD, LAST_BODY): ResponseState.COMPLETE,
    (ResponseState.BARE_HEAD, PATHSEND): ResponseState.COMPLETE,
}

_REASONS = {
    ResponseState.NOTHING: "no http.response.start has been sent",
    ResponseState.BARE_HEAD: "http.response.start has been sent already",
    ResponseState.HEAD: "a part of the body has been sent already",
    ResponseState.COMPLETE: "the response is already complete",
}

# RFC 9110, 5.1 and 5.5: a token; no line ends or NUL, no white space around.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CONTROLS = bytes((*range(9), *range(10, 32), 127))
# Of a content-length, without zeros before it.
MAX_DIGITS = 18


class Start:
    """Status and headers, checked."""

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers = headers


class Body:
    """A piece of the body as it must go out: empty where the request or status allows none."""

    __slots__ = ("data", "last")

    def __init__(self, data: Buffer, last: bool) -> None:
        self.data = data
        self.last = last


class PathSend:
    """A file that is the whole body: its path, and its length if the headers promise one, in bytes.

    ``silent`` where the request or status allows no body. (ASGI extension "Path Send". The specification has absolute
    paths; Starlette sends the one that it was given.)
    """

    __slots__ = ("path", "promised", "silent")

    def __init__(self, path: str, promised: int | None, silent: bool) -> None:
        self.path = path
        self.promised = promised
        self.silent = silent


class ResponseMachine:
    """The response to one request with the method ``method``; ``pathsend``: the scope offers that extension."""

    __slots__ = (
        "_headers", "_method", "_promised", "_sent", "_silent", "flows", "pathsend", "state", "status", "stopped",
    )  # fmt: skip

    def __init__(self, method: str, pathsend: bool = True) -> None:
        self.pathsend = pathsend
        self.state = ResponseState.NOTHING
        self.status = 0
        self._method = method
        # True where a piece of the body that is not the last goes out as it is and changes nothing here: such a message
        # need not come by :meth:`accept`.
        self.flows = False
        self._silent = False  # no body goes out, whatever the app sends
        self._promised: int | None = None  # content-length, in bytes
        self._sent = 0
        self.stopped = False  # the app has got the disconnect of its deadline in mid-response
        self._headers: list[tuple[bytes, bytes]] = []

    # What a response is at its deadline

    @property
    def is_open(self) -> bool:
        """True for a response that has begun and is not complete."""
        return self.state in (ResponseState.BARE_HEAD, ResponseState.HEAD)

    @property
    def is_open_event_stream(self) -> bool:
        """True for an open response of server-sent events without a length."""
        types = {value.partition(b";")[0].strip(b" \t").lower() for value in self._values(b"content-type")}
        return self.is_open and self._promised is None and types == {b"text/event-stream"}

    @property
    def may_be_left_open(self) -> bool:
        """True for an event stream whose client opens it again when it ends.

        (HTML, "Server-sent events": a GET, with status 200 and the type ``text/event-stream``.)
        """
        return self.is_open_event_stream and self._method == "GET" and self.status == 200

    def _falls_short(self, last: Buffer) -> bool:
        """True if a body that ends with ``last`` may have been cut off: a middleware ends what has stopped.

        It does so by an empty message, or by the end of the compression.
        """
        if self._promised is not None:
            return self._sent + len(last) < self._promised
        return not last or bool(self._values(b"content-encoding"))

    def _values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self._headers if key == name]

    def accept(self, message: Mapping[str, Any]) -> Start | Body | PathSend:
        """Takes the app's next message.

        Raises AppError, or DeadlineExceeded for the end of a body that the deadline has cut off; then nothing has
        changed. Values of subclasses are taken as plain bytes, int and str: their methods are the app's.
        """
        try:
            kind = message["type"]
        except (TypeError, KeyError, IndexError):
            raise AppError(f"an ASGI message must be a dict with a type, not {type_name(message)}") from None
        except BaseException as error:
            raise _unreadable(error) from error
        if type(kind) is not str and of_type(kind, str):
            kind = plain_str(kind)
        try:
            if kind == BODY:
                return self._accept_body(message)
            if kind == START:
                return self._accept_start(message)
            if kind == PATHSEND:
                return self._accept_path(message)
        except (AppError, DeadlineExceeded):
            raise
        except BaseException as error:
            raise _unreadable(error) from error
        raise AppError(f"{shown(kind)} is not a message that an HTTP response can consist of")

    def _next_state(self, kind: str, wire_kind: str) -> ResponseState:
        try:
            return TRANSITIONS[self.state, kind]
        except KeyError:
            raise AppError(f"{wire_kind} is out of turn: {_REASONS[self.state]}") from None

    def _accept_start(self, message: Mapping[str, Any]) -> Start:
        state = TRANSITIONS.get((self.state, START)) or self._next_state(START, START)
        status = message.get("status")
        if type(status) is not int:
            if not of_type(status, int) or type(status) is bool:
                raise AppError(f"the status of {START} must be an int, not {shown(status)}")
            status = plain_int(status)
        if not 200 <= status <= 599:
            raise AppError(f"the status of {START} must be from 200 to 599, not {shown(status)}")
        headers, promised = _headers(message.get("headers", ()))
        if message.get("trailers", False):
            raise AppError(
                f"{START} announces trailers: the extension http.response.trailers is not offered in the scope"
            )
        self._promised = promised
        self._silent = self._method == "HEAD" or status in (204, 304)
        if status == 204:
            # RFC 9110, 8.6: not even one of 0.
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        self.status = status
        self.state = state
        self._headers = headers
        return Start(status, headers)

    def _accept_body(self, message: Mapping[str, Any]) -> Body:
        last = not message.get("more_body", False)
        kind = LAST_BODY if last else BODY
        state = TRANSITIONS.get((self.state, kind)) or self._next_state(kind, BODY)
        data = message.get("body", b"")
        if type(data) is not bytes:
            if of_type(data, bytes):
                data = plain_bytes(data)
            elif of_type(data, bytearray):
                data = plain_bytearray(data)
            elif not of_type(data, memoryview):
                raise AppError(f"the body of {BODY} must be bytes, bytearray or memoryview, not {type_name(data)}")
            elif data.itemsize != 1 or data.ndim != 1 or not data.contiguous:
                data = data.tobytes()
        if self._silent:
            if data and self._method != "HEAD":
                raise AppError(f"a response of status {self.status} has no body, and {len(data)} bytes were sent")
            data = b""
        elif last and self.stopped and self._falls_short(data):
            raise DeadlineExceeded(f"{CUT_OFF}: {self.state.value}")
        elif self._promised is not None:
            sent = self._sent + len(data)
            if sent > self._promised:
                raise AppError(f"the body is longer than its content-length of {self._promised} bytes")
            if last and sent < self._promised:
                raise AppError(f"the body ends after {sent} bytes, its content-length says {self._promised}")
            self._sent = sent
        self.state = state
        self.flows = not last and self._promised is None and not self._silent
        return Body(data, last)

    def _accept_path(self, message: Mapping[str, Any]) -> PathSend:
        if not self.pathsend:
            raise AppError(
                f"{PATHSEND} is not offered in the scope: set pathsend=True (or ASGI_STREAM_PATHSEND=on) to offer it, "
                "or send the file as http.response.body"
            )
        state = self._next_state(PATHSEND, PATHSEND)
        path = message.get("path")
        path = plain_str(path) if of_type(path, str) else path
        if type(path) is not str or not path:
            raise AppError(f"the path of {PATHSEND} must be a str, not {shown(path)}")
        self.state = state
        return PathSend(path, self._promised, self._silent)


def _unreadable(error: BaseException) -> AppError:
    return AppError(f"an ASGI message cannot be read: {type_name(error)} was raised by what is in it")


def _headers(headers: Any) -> tuple[list[tuple[bytes, bytes]], int | None]:
    """The headers, checked, and the number of bytes that they promise."""
    checked = []
    lengths = []
    try:
        pairs = [(name, value) for name, value in headers]
    except (TypeError, ValueError):
        raise AppError(f"the headers of {START} must be pairs of bytes, not {type_name(headers)}") from None
    for name, value in pairs:
        if type(name) is not bytes or type(value) is not bytes:
            name, value = _plain_pair(name, value)
        lower = _name(name)
        if len(value.translate(None, _CONTROLS)) < len(value):
            raise AppError(f"the header {name.decode('ascii')} has an illegal value: it holds a control character")
        value = value.strip(b" \t")
        checked.append((lower, value))
        if lower == b"content-length":
            lengths.append(value)
    return checked, _length(lengths) if lengths else None


def _plain_pair(name: object, value: object) -> tuple[bytes, bytes]:
    if not of_type(name, bytes) or not of_type(value, bytes):
        kind = type_name(value)
        raise AppError(f"a header of {START} must be a pair of bytes: {shown(name)} comes with {kind}")
    return plain_bytes(name), plain_bytes(value)


# An app sends the same names again and again. The cache saves 0.1 µs for each of them (Python 3.11 and 3.13); this one
# and its likes in `sources` and `runtime.http11` save 5 µs of the 140 that an invocation with 35 headers takes.
@functools.lru_cache(maxsize=128)
def _name(name: bytes) -> bytes:
    if not name or name.translate(None, _TOKEN):
        raise AppError(f"{shown(name)} is not a legal header name")
    return name.lower()


def _length(lengths: list[bytes]) -> int:
    length = lengths[0]
    # Python makes no int of more than 4,300 digits; a length of 18 is more than there are bytes anywhere.
    if len(set(lengths)) > 1 or not length.isdigit() or len(length.lstrip(b"0")) > MAX_DIGITS:
        raise AppError(f"content-length must be one number of bytes, not {shown(length)}")
    return int(length.lstrip(b"0") or b"0")
