"""The one shape that every event source turns its events into, and how the parts of a request are read.

An event that is not shaped as AWS documents it is an :class:`~asgi_stream.errors.EventError` that names the field.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from asgi_stream.errors import EventError
from asgi_stream.sources.forwarded import read_host, read_scheme, read_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    T = TypeVar("T")

__all__ = [
    "Headers",
    "HttpRequest",
    "as_text",
    "build_request",
    "decode_base64",
    "encode",
    "encode_header",
    "field",
    "object_field",
    "read_body",
    "read_headers",
    "read_method",
    "text_field",
    "with_host",
]


WHITE_SPACE = dict.fromkeys(b"\r\n\t ")  # for str.translate: to be left out


class HttpRequest(NamedTuple):
    """An HTTP request as its client sent it.

    ``raw_path`` and ``query_string`` are the bytes on the request line (no ``?``), ``path`` is decoded once;
    ``headers`` are (lower-case name, value) pairs; ``client`` and ``server`` are (host, port) pairs, port 0 where the
    event does not tell it. ``root_path`` is the stage in front of the app's route, decoded, without a slash at its end;
    both paths begin with it. What the app sees of it is a setting, ``stage``. ``root_path_in_url`` is False where the
    client's URL lacks it: on a domain other than API Gateway's own.
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
    root_path: str = ""
    root_path_in_url: bool = True


class Headers:
    """``pairs`` as ASGI wants them; ``first`` maps a lower-case name to the first value that came under it."""

    __slots__ = ("first", "pairs")

    def __init__(self, pairs: list[tuple[bytes, bytes]], first: dict[str, str]) -> None:
        self.pairs = pairs
        self.first = first


def build_request(
    *,
    method: str,
    path: str,
    raw_path: bytes,
    query_string: bytes,
    headers: Headers,
    body: bytes,
    client: tuple[str, int] | None,
    host: str = "",
    protocol: str = "",
    root_path: str = "",
    root_path_in_url: bool = True,
) -> HttpRequest:
    """Returns the request, its scheme and server read from the headers; ``host`` stands in where none is sent."""
    scheme = read_scheme(headers.first)
    return HttpRequest(
        method=method,
        path=path,
        raw_path=raw_path,
        query_string=query_string,
        headers=headers.pairs,
        body=body,
        client=client,
        server=read_server(
            headers.first.get("host", ""), headers.first.get("x-forwarded-port", ""), scheme, fallback=host
        ),
        scheme=scheme,
        http_version="1.1" if protocol == "HTTP/1.1" else _http_version(protocol),
        root_path=root_path,
        root_path_in_url=root_path_in_url,
    )


def with_host(request: HttpRequest, header: bytes) -> HttpRequest:
    """Returns the request as if its client had sent the host that ``header`` names, the first where it names several.

    The request stays as it is where the header is missing or names no host.
    """
    value = next((value for name, value in request.headers if name == header), b"")
    host = value.partition(b",")[0].strip()
    server = read_host(host.decode("latin-1"), request.scheme)
    if server is None:
        return request
    headers = [(name, value) for name, value in request.headers if name != b"host"]
    return request._replace(headers=[(b"host", host), *headers], server=server)


def field(event: Mapping[str, Any], path: str, kind: type[T], default: T) -> T:
    """Returns ``event["a"]["b"]`` for the path ``a.b``; ``default`` where it is absent or null.

    Raises EventError that names the field if it is of another kind.
    """
    value: Any = event
    keys = path.split(".")
    for depth, key in enumerate(keys):
        if not isinstance(value, dict):
            raise EventError(f"the event's {'.'.join(keys[:depth]) or 'top'} is not an object")
        value = value.get(key)
        if value is None:
            return default
    # Exactly this type, as JSON gives it: a boolean is an int in Python and never what a number field means.
    if type(value) is not kind:
        raise EventError(f"the event's {path} must be a {kind.__name__}, not {type(value).__name__}")
    return value


def text_field(part: Mapping[str, Any], key: str, where: str = "") -> str:
    """Returns the text ``part[key]``, an empty one where it is absent or null; ``where`` is what leads to the part.

    Raises EventError that names the field if it is no text.
    """
    value = part.get(key)
    return value if type(value) is str else as_text(value, where + key)


def as_text(value: object, name: str) -> str:
    """Returns a value that is text, an empty text for null. Raises EventError that calls the field ``name``."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise EventError(f"the event's {name} must be a str, not {type(value).__name__}")


def object_field(part: Mapping[str, Any], key: str, where: str = "") -> dict[str, Any]:
    """Returns the object ``part[key]``, an empty one where it is absent or null. Raises EventError."""
    value = part.get(key)
    if type(value) is dict:
        return value
    if value is None:
        return {}
    raise EventError(f"the event's {where}{key} must be a dict, not {type(value).__name__}")


def read_method(part: Mapping[str, Any], key: str, where: str = "") -> str:
    """Returns the request's method in capitals. Raises EventError where ``part[key]`` does not hold one."""
    method = text_field(part, key, where)
    if not method:
        raise EventError(f"the event's {where}{key} is missing")
    return method.upper()


def read_headers(pairs: Iterable[tuple[str, str]], cookies: Sequence[str] = ()) -> Headers:
    """Returns the headers; several cookie headers become one, and ``cookies`` stand for them where there are any."""
    first: dict[str, str] = {}
    encoded = []
    in_headers = []
    for raw_name, value in pairs:
        name, encoded_name = _name(raw_name)
        first.setdefault(name, value)
        if name == "cookie":
            in_headers.append(value)
        else:
            try:
                encoded.append((encoded_name, value.encode("latin-1")))
            except UnicodeEncodeError:
                encoded.append((encoded_name, encode(value)))
    if cookies or in_headers:
        # RFC 9113, 8.2.3: one header for an app that knows only HTTP/1.1.
        encoded.append((b"cookie", encode_header("; ".join(cookies or in_headers))))
    return Headers(encoded, first)


# The figure is in `asgi.response`.
@functools.lru_cache(maxsize=128)
def _name(raw: str) -> tuple[str, bytes]:
    name = raw.lower()
    return name, encode_header(name)


def read_body(event: Mapping[str, Any], flag: str = "isBase64Encoded") -> bytes:
    """Returns the request's body, which the field ``flag`` marks as base64. Raises EventError for broken base64."""
    body = text_field(event, "body")
    is_base64 = event.get(flag, False) is not False and field(event, flag, bool, False)
    if not body:
        return b""
    return decode_base64(body, "body") if is_base64 else encode(body)


def decode_base64(text: str, name: str) -> bytes:
    """Returns the bytes; line ends, spaces and tabs in the text count for nothing (RFC 2045, 6.8).

    Raises EventError that calls the field ``name`` for anything else, missing padding included: a body that was cut
    short is not a whole one.
    """
    from binascii import a2b_base64  # few requests need it

    try:
        try:
            return a2b_base64(text, strict_mode=True)
        except ValueError:
            return a2b_base64(text.translate(WHITE_SPACE), strict_mode=True)
    except ValueError as error:
        raise EventError(f"the event's {name} says that it is base64 and is not: {error}") from error


def encode(text: str) -> bytes:
    """UTF-8, also for the lone surrogates that JSON may carry."""
    return text.encode("utf-8", "surrogatepass")


def encode_header(text: str) -> bytes:
    """Header bytes: Latin-1 as ASGI has it, UTF-8 for what that cannot say."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return encode(text)


def _http_version(protocol: str) -> str:
    version = protocol.removeprefix("HTTP/").removesuffix(".0") if protocol != "HTTP/1.0" else "1.0"
    return version if version in ("1.0", "1.1", "2", "3") else "1.1"
