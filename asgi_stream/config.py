"""The adapter's settings: one small frozen value, made from keyword arguments and environment variables.

An argument beats its variable (``ASGI_STREAM_`` and the name in capitals); a name or value that is not understood
raises.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from asgi_stream.errors import ConfigurationError
from asgi_stream.foreign import shown
from asgi_stream.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["INVOKE_MODES", "LIFESPAN_MODES", "Config", "load_config"]

PREFIX = "ASGI_STREAM_"
LIFESPAN_MODES = ("auto", "on", "off")
ACCESS_LOGS = ("off", "json", "emf")
INVOKE_MODES = ("stream", "buffered")
STAGES = ("strip", "root_path")
# The sources whose platform can stream; for all others an answer is buffered, whatever the setting.
STREAMING_SOURCES = ("function_url", "rest_api")
EVERY_SOURCE = "*"
# Content types whose bodies are text: by their beginning, or by a structured syntax suffix (RFC 6838, 4.2.8).
TEXT_MIME_TYPES = (
    "text/",  # RFC 2046, 4.1
    "application/json",  # RFC 8259; the beginning of application/json-seq (RFC 7464) and application/jsonl too
    "application/x-json",  # older names of lines of JSON: application/x-jsonl, application/x-jsonlines
    "application/ndjson",
    "application/x-ndjson",  # github.com/ndjson/ndjson-spec
    "application/javascript",  # RFC 9239, as the next three
    "application/x-javascript",
    "application/ecmascript",
    "application/x-ecmascript",
    "application/xml",  # RFC 7303
    "application/yaml",  # RFC 9512
    "application/x-yaml",
    "application/toml",  # IANA, toml.io
    "application/graphql",  # GraphQL over HTTP; the beginning of application/graphql-response+json too
    "application/x-www-form-urlencoded",  # WHATWG URL, 5
    "application/vnd.oai.openapi",  # OpenAPI 3.1, in YAML without a suffix
    "application/sql",  # RFC 6922
    "application/sparql-",  # W3C SPARQL 1.1: queries and updates
    "application/n-triples",  # W3C RDF 1.1, as the next two
    "application/n-quads",
    "application/trig",
    "application/openmetrics-text",  # OpenMetrics 1.0
    "application/jwt",  # RFC 7519
    "application/jose",  # RFC 7515, 9.2.1; the beginning of application/jose+json too
    "application/pem-certificate-chain",  # RFC 8555, 9.1
    "application/vnd.apple.mpegurl",  # RFC 8216, 10; as the next three
    "application/x-mpegurl",
    "audio/mpegurl",
    "audio/x-mpegurl",
    "+json",  # RFC 6839, 3.1
    "+xml",  # RFC 7303, 4.2: image/svg+xml, application/xhtml+xml
    "+yaml",  # RFC 9512, 2.2
    "+json-seq",  # RFC 8091
    "+jwt",  # RFC 8417, 7.2
)
# Text of booleans, in any case.
SWITCHES = {"on": True, "off": False, "true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
# Read by bootstrap and by the runtime, before there is an adapter.
RUNTIME_VARIABLES = frozenset({"ASGI_STREAM_EXEC_WRAPPER", "ASGI_STREAM_LOOP", "ASGI_STREAM_SHUTDOWN_EXTENSION"})


class Config(Record):
    """How a :class:`~asgi_stream.StreamingAdapter` works. Each field is described there."""

    __slots__ = ()
    lifespan: str
    invoke_mode: tuple[tuple[str, str], ...]
    root_path: str
    api_gateway_base_path: str
    text_mime_types: tuple[str, ...]
    exclude_headers: frozenset[bytes]
    deadline_margin: float | None
    workers: int
    pass_through_path: str
    error_status_codes: frozenset[int]
    access_log: str
    event_stream_keep_alive: float | None
    disconnect_after: float | None
    share_writes: bool
    pathsend: bool
    stage: str
    context_headers: bool
    custom_domain_stage: bool
    host_header: bytes

    def __new__(
        cls,
        lifespan: str = "auto",
        invoke_mode: tuple[tuple[str, str], ...] = (),
        root_path: str = "",
        api_gateway_base_path: str = "",
        text_mime_types: tuple[str, ...] = TEXT_MIME_TYPES,
        exclude_headers: frozenset[bytes] = frozenset(),
        deadline_margin: float | None = None,
        workers: int = 1,
        pass_through_path: str = "",
        error_status_codes: frozenset[int] = frozenset(),
        access_log: str = "off",
        event_stream_keep_alive: float | None = None,
        disconnect_after: float | None = None,
        share_writes: bool = False,
        pathsend: bool = False,
        stage: str = "strip",
        context_headers: bool = False,
        custom_domain_stage: bool = True,
        host_header: bytes = b"",
    ) -> Self:
        return tuple.__new__(
            cls,
            (
                lifespan,
                invoke_mode,
                root_path,
                api_gateway_base_path,
                text_mime_types,
                exclude_headers,
                deadline_margin,
                workers,
                pass_through_path,
                error_status_codes,
                access_log,
                event_stream_keep_alive,
                disconnect_after,
                share_writes,
                pathsend,
                stage,
                context_headers,
                custom_domain_stage,
                host_header,
            ),
        )

    def streams(self, source: str) -> bool:
        """True if the answer to an event of this source is to be streamed, where it can be."""
        if not self.invoke_mode:
            return True
        modes = dict(self.invoke_mode)
        return modes.get(source, modes.get(EVERY_SOURCE, "stream")) == "stream"

    def is_text(self, content_type: str, content_encoding: str) -> bool:
        """True if a buffered body with these two headers may travel as text; everything else travels as base64.

        A body that has a content coding is binary (RFC 9110, 8.4), and so is text in a charset such as UTF-16, in which
        ASCII characters are other bytes.
        """
        if content_encoding.strip(" \t").lower() not in ("", "identity"):
            return False
        content_type = content_type.strip(" \t").lower()
        media_type, *parameters = content_type.split(";")
        suffixes = tuple(entry for entry in self.text_mime_types if entry.startswith("+"))
        if not content_type.startswith(self.text_mime_types) and not media_type.rstrip(" \t").endswith(suffixes):
            return False
        return all(_has_ascii(parameter) for parameter in parameters)


def _has_ascii(parameter: str) -> bool:
    """False for a ``charset`` parameter of a content type that names an encoding in which ``a`` is another byte."""
    name, _, value = parameter.partition("=")
    if name.strip(" \t") != "charset":
        return True
    try:
        return b"a".decode(value.strip(" \t\"'")) == "a"
    except LookupError:
        return True  # an unknown name: whether the body is UTF-8 decides
    except ValueError:
        return False


def load_config(
    arguments: Mapping[str, Any], environ: Mapping[str, str] = os.environ, sources: Sequence[str] = ()
) -> Config:
    """Returns the settings; arguments that are None stand for absent ones. Raises ConfigurationError.

    ``sources`` are the names of the user's own event sources, which may have an invoke mode too.
    """
    known = {PREFIX + name.upper(): name for name in Config._fields}
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in known and variable not in RUNTIME_VARIABLES:
            names = ", ".join(sorted({*known, *RUNTIME_VARIABLES}))
            raise ConfigurationError(f"the environment variable {variable} is not a setting; these are: {names}")
    values = {}
    for variable, name in known.items():
        value, origin = arguments.get(name), name
        if value is None:
            value, origin = environ.get(variable), variable
        if value is not None:
            values[name] = _read(name, value, origin)
    config = Config(**values)
    for source, _ in config.invoke_mode:
        if source != EVERY_SOURCE:
            _one_of((*STREAMING_SOURCES, *sources), source, "a source in invoke_mode")
    return config


def _read(name: str, value: object, origin: str) -> Any:
    try:
        return _READERS[name](value, origin)
    except ConfigurationError:
        raise
    except BaseException as error:  # of a value that cannot be compared, or iterated over
        raise ConfigurationError(f"{origin} cannot be read: {shown(error)}") from error


def _read_lifespan(value: object, origin: str) -> str:
    return _one_of(LIFESPAN_MODES, value, origin)


def _read_invoke_mode(value: object, origin: str) -> tuple[tuple[str, str], ...]:
    """One mode for every source, or one for each: a mapping, or the text ``function_url=stream,rest_api=buffered``."""
    if isinstance(value, str) and "=" in value:
        if len({item.partition("=")[0].strip() for item in _items(value, origin)}) < len(_items(value, origin)):
            raise ConfigurationError(f"{origin} names a source twice: {shown(value)}")
        value = {source.strip(): mode.strip() for source, _, mode in (i.partition("=") for i in _items(value, origin))}
    elif isinstance(value, str):
        value = {EVERY_SOURCE: value}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{origin} must be a mode or a mapping of sources to modes, not {shown(value)}")
    return tuple((source, _one_of(INVOKE_MODES, mode, origin)) for source, mode in value.items())


def _read_stage(value: object, origin: str) -> str:
    return _one_of(STAGES, value, origin)


def _read_path(value: object, origin: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{origin} must be a path, not {shown(value)}")
    path = value.strip("/")
    if any(character in path for character in "?#%\\") or "//" in path:
        raise ConfigurationError(f"{origin} must be a decoded path without a query, such as /v1, not {shown(value)}")
    return f"/{path}" if path else ""


def _read_mime_types(value: object, origin: str) -> tuple[str, ...]:
    return tuple(item.lower() for item in _items(value, origin))


def _read_header_names(value: object, origin: str) -> frozenset[bytes]:
    return frozenset(item.lower().encode("latin-1", "replace") for item in _items(value, origin))


def _read_header_name(value: object, origin: str) -> bytes:
    name = value.strip().lower() if isinstance(value, str) else ""
    if not name or not name.isascii() or not name.replace("-", "").isalnum():
        raise ConfigurationError(f"{origin} must be the name of a header, such as x-forwarded-host, not {value!r:.100}")
    return name.encode("ascii")


def _read_seconds(value: object, origin: str) -> float:
    try:
        seconds = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else -1.0
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 900:
        raise ConfigurationError(f"{origin} must be a number of seconds from 0 to 900, not {shown(value)}")
    return seconds


def _read_interval(value: object, origin: str) -> float:
    seconds = _read_seconds(value, origin)
    if seconds == 0:
        raise ConfigurationError(f"{origin} must be more than 0 seconds; leave it out to turn it off")
    return seconds


def _read_count(value: object, origin: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{origin} must be a number of processes, 1 or more, not {shown(value)}")
    return value


def _read_switch(value: object, origin: str) -> bool:
    if isinstance(value, bool):
        return value
    switch = SWITCHES.get(value.strip().lower()) if isinstance(value, str) else None
    if switch is None:
        raise ConfigurationError(
            f"{origin} must be True or False, on or off (or true/false, yes/no, 1/0), not {shown(value)}"
        )
    return switch


def _read_route(value: object, origin: str) -> str:
    if not isinstance(value, str) or (value and not value.startswith("/")) or any(mark in value for mark in "?#%\\"):
        raise ConfigurationError(
            f"{origin} must be a decoded path without a query, such as /events, not {shown(value)}"
        )
    return value


def _read_status_codes(value: object, origin: str) -> frozenset[int]:
    """Codes and ranges: ``500,502-504``, or a list of these."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, (list, tuple, set, frozenset, range)):
        value = ",".join(map(str, value))
    codes: set[int] = set()
    for item in _items(value, origin):
        first, dash, last = (part.strip() for part in item.partition("-"))
        numbers = (first, last) if dash else (first, first)
        if not all(len(number) == 3 and number.isascii() and number.isdigit() for number in numbers):
            raise ConfigurationError(f"{origin} must be status codes and ranges such as 500,502-504, not {shown(item)}")
        codes.update(range(int(numbers[0]), int(numbers[1]) + 1))
        if not (200 <= int(numbers[0]) <= int(numbers[1]) <= 599):
            raise ConfigurationError(f"{origin} must be status codes from 200 to 599, not {shown(item)}")
    return frozenset(codes)


_READERS: dict[str, Callable[[object, str], Any]] = {
    "lifespan": _read_lifespan,
    "invoke_mode": _read_invoke_mode,
    "root_path": _read_path,
    "api_gateway_base_path": _read_path,
    "text_mime_types": _read_mime_types,
    "exclude_headers": _read_header_names,
    "deadline_margin": _read_seconds,
    "workers": _read_count,
    "share_writes": _read_switch,
    "pathsend": _read_switch,
    "pass_through_path": _read_route,
    "error_status_codes": _read_status_codes,
    "access_log": lambda value, origin: _one_of(ACCESS_LOGS, value, origin),
    "event_stream_keep_alive": _read_interval,
    "disconnect_after": _read_interval,
    "stage": _read_stage,
    "context_headers": _read_switch,
    "custom_domain_stage": _read_switch,
    "host_header": _read_header_name,
}


def _one_of(allowed: Iterable[str], value: object, origin: str) -> str:
    if isinstance(value, str) and value in allowed:
        return value
    raise ConfigurationError(f"{origin} must be one of {', '.join(allowed)}, not {shown(value)}")


def _items(value: object, origin: str) -> list[str]:
    """The items of a list, or of a text in which commas part them."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple, set, frozenset)) or not all(isinstance(item, str) for item in items):
        raise ConfigurationError(f"{origin} must be a list of texts, not {shown(value)}")
    return [item.strip() for item in items if item.strip()]
