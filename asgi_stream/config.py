"""The adapter's settings: one small frozen value, made from keyword arguments and environment variables.

An argument beats its variable (``ASGI_STREAM_`` and the name in capitals); a name or value that is not understood
raises.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from asgi_stream.errors import ConfigurationError
from asgi_stream.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Self

__all__ = ["INVOKE_MODES", "LIFESPAN_MODES", "Config", "load_config"]

PREFIX = "ASGI_STREAM_"
LIFESPAN_MODES = ("auto", "on", "off")
INVOKE_MODES = ("stream", "buffered")
STAGES = ("strip", "root_path")
# The sources whose platform can stream; for all others an answer is buffered, whatever the setting.
STREAMING_SOURCES = ("function_url", "rest_api")
EVERY_SOURCE = "*"
TEXT_MIME_TYPES = (
    "text/",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/vnd.api+json",
    "application/vnd.oai.openapi",
)
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
        """True if a buffered body of this type may travel as text; everything else travels as base64."""
        return not content_encoding and content_type.strip().lower().startswith(self.text_mime_types)


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
            values[name] = _READERS[name](value, origin)
    config = Config(**values)
    for source, _ in config.invoke_mode:
        if source != EVERY_SOURCE:
            _one_of((*STREAMING_SOURCES, *sources), source, "a source in invoke_mode")
    return config


def _read_lifespan(value: object, origin: str) -> str:
    return _one_of(LIFESPAN_MODES, value, origin)


def _read_invoke_mode(value: object, origin: str) -> tuple[tuple[str, str], ...]:
    """One mode for every source, or one for each: a mapping, or the text ``function_url=stream,rest_api=buffered``."""
    if isinstance(value, str) and "=" in value:
        if len({item.partition("=")[0].strip() for item in _items(value, origin)}) < len(_items(value, origin)):
            raise ConfigurationError(f"{origin} names a source twice: {value!r:.100}")
        value = {source.strip(): mode.strip() for source, _, mode in (i.partition("=") for i in _items(value, origin))}
    elif isinstance(value, str):
        value = {EVERY_SOURCE: value}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{origin} must be a mode or a mapping of sources to modes, not {value!r:.100}")
    return tuple((source, _one_of(INVOKE_MODES, mode, origin)) for source, mode in value.items())


def _read_stage(value: object, origin: str) -> str:
    return _one_of(STAGES, value, origin)


def _read_path(value: object, origin: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{origin} must be a path, not {value!r:.100}")
    path = value.strip("/")
    if any(character in path for character in "?#%\\") or "//" in path:
        raise ConfigurationError(f"{origin} must be a decoded path without a query, such as /v1, not {value!r:.100}")
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
        raise ConfigurationError(f"{origin} must be a number of seconds from 0 to 900, not {value!r:.100}")
    return seconds


def _read_count(value: object, origin: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{origin} must be a number of processes, 1 or more, not {value!r:.100}")
    return value


def _read_switch(value: object, origin: str) -> bool:
    if isinstance(value, bool):
        return value
    if value not in ("on", "off"):
        raise ConfigurationError(f"{origin} must be True or False, on or off in the variable, not {value!r:.100}")
    return value == "on"


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
    "stage": _read_stage,
    "context_headers": _read_switch,
    "custom_domain_stage": _read_switch,
    "host_header": _read_header_name,
}


def _one_of(allowed: Iterable[str], value: object, origin: str) -> str:
    if isinstance(value, str) and value in allowed:
        return value
    raise ConfigurationError(f"{origin} must be one of {', '.join(allowed)}, not {value!r:.100}")


def _items(value: object, origin: str) -> list[str]:
    """The items of a list, or of a text in which commas part them."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple, set, frozenset)) or not all(isinstance(item, str) for item in items):
        raise ConfigurationError(f"{origin} must be a list of texts, not {value!r:.100}")
    return [item.strip() for item in items if item.strip()]
