"""The one shape that every event source turns its events into, and the readings that sources share."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from asgi_stream.errors import EventError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")

__all__ = ["HttpRequest", "field", "read_body", "read_server"]


class HttpRequest(NamedTuple):
    """An HTTP request as its client sent it.

    ``raw_path`` and ``query_string`` are the bytes on the request line (no ``?``), ``path`` is decoded once;
    ``headers`` are (lower-case name, value) pairs; ``client`` and ``server`` are (host, port) pairs, port 0 where the
    event does not tell it.
    """

    method: str
    path: str
    raw_path: bytes
    query_string: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    client: tuple[str, int] | None
    server: tuple[str, int] | None
    scheme: str
    http_version: str


def field(event: Mapping[str, Any], path: str, kind: type[T], default: T) -> T:
    """Returns ``event["a"]["b"]`` for the path ``a.b``; ``default`` where it is absent or null.

    Raises EventError that names the field if it is of another kind.
    """
    value: Any = event
    walked = ""
    for key in path.split("."):
        if not isinstance(value, dict):
            raise EventError(f"the event's {walked or 'top'} is not an object")
        value = value.get(key)
        walked = f"{walked}.{key}" if walked else key
        if value is None:
            return default
    # A boolean is an int in Python and never what a number field means.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise EventError(f"the event's {path} must be a {kind.__name__}, not {type(value).__name__}")
    return value


def read_body(event: Mapping[str, Any]) -> bytes:
    """Returns the request's body. Raises EventError for base64 that is broken."""
    body = field(event, "body", str, "")
    if not field(event, "isBase64Encoded", bool, False):
        return encode(body)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EventError(f"the event's body says that it is base64 and is not: {error}") from error


def encode(text: str) -> bytes:
    """UTF-8, also for the lone surrogates that JSON may carry."""
    return text.encode("utf-8", "surrogatepass")


def encode_header(text: str) -> bytes:
    """Header bytes: Latin-1 as ASGI has it, UTF-8 for what that cannot say."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return encode(text)


def read_server(host: str, forwarded_port: str, scheme: str) -> tuple[str, int] | None:
    """Returns (host, port) from a Host header and ``x-forwarded-port``; None where no host can be told.

    Nothing that a client can put there raises: an odd port gives way to the scheme's own.
    """
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":")
    elif host.count(":") > 1:
        name, port = host, ""  # IPv6 without its brackets
    else:
        name, _, port = host.partition(":")
    if not name:
        return None
    for candidate in (forwarded_port, port):
        if candidate.isascii() and candidate.isdigit() and len(candidate) <= 5 and int(candidate) <= 65535:
            return name, int(candidate)
    return name, 80 if scheme == "http" else 443
