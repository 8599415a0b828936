"""The adapter's settings: one small frozen value, made from keyword arguments and environment variables.

An argument beats its variable (``ASGI_STREAM_`` and the name in capitals); a name or value that is not understood
raises. :class:`Config` is the table of all settings. A new one is an entry there, an argument of ``StreamingAdapter``
with its line in the docstring, and a row in docs/settings.md; ``tests/test_settings.py`` compares them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asgi_stream.errors import ConfigurationError
from asgi_stream.foreign import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Never, TypeVar

    T = TypeVar("T")

__all__ = ["SETTINGS", "Config", "Setting", "load_config", "read_setting"]

PREFIX = "ASGI_STREAM_"
INVOKE_MODES = ("stream", "buffered")
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


def _choice(*allowed: str) -> Callable[[object, str], str]:
    return lambda value, origin: _one_of(allowed, value, origin)


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


class Setting:
    """A line of the table: ``read(value, origin)`` returns the value or raises ConfigurationError.

    ``help`` is the text of the documentation; ``shown`` describes the default there, if the value itself does not.
    """

    __slots__ = ("default", "help", "read", "shown")

    def __init__(self, default: object, read: Callable[[object, str], Any], help: str, shown: str) -> None:  # noqa: A002
        self.default = default
        self.read = read
        self.help = help
        self.shown = shown

    def __set_name__(self, owner: type, name: str) -> None:
        SETTINGS[name] = self


SETTINGS: dict[str, Setting] = {}


def _setting(default: T, read: Callable[[object, str], T], help: str, *, shown: str = "") -> T:  # noqa: A002
    """Declares a field of :class:`Config`: for type checkers a field is what ``read`` returns."""
    return Setting(default, read, help, shown)  # type: ignore[return-value]


class Config:
    """How a :class:`~asgi_stream.StreamingAdapter` works: the table of its settings, and their values, read-only."""

    lifespan: str = _setting(
        "auto",
        _choice("auto", "on", "off"),
        "``auto``: an app that raises on the lifespan scope has no lifespan; ``on``: that is an init error; "
        "``off``: no lifespan is run.",
    )
    invoke_mode: tuple[tuple[str, str], ...] = _setting(
        (),
        _read_invoke_mode,
        "How the source is set up to take responses: ``stream`` or ``buffered``; or one mode for each source, "
        '``{"rest_api": "buffered"}``, in the variable ``function_url=stream,rest_api=buffered``. A source that cannot '
        "stream always gets a buffered response.",
        shown="``stream``",
    )
    stage: str = _setting(
        "strip",
        _choice("strip", "root_path"),
        "What becomes of an API Gateway stage: ``strip`` leaves it out of ``path``, ``raw_path`` and ``root_path``; "
        "``root_path`` makes it ASGI's ``root_path``, with which ``path`` begins, unless the app names its own, as "
        "``FastAPI(root_path=…)`` does.",
    )
    custom_domain_stage: bool = _setting(
        True,
        _read_switch,
        "``False``: an HTTP API's path has no stage on a domain of your own, and none is stripped from it there.",
    )
    root_path: str = _setting(
        "",
        _read_path,
        "Where the app is mounted, such as ``/v1``: ASGI's ``root_path``, and ``path`` includes it; a path that begins "
        "with it already stays as it is.",
    )
    api_gateway_base_path: str = _setting(
        "",
        _read_path,
        "A prefix that is stripped from each path, such as a custom domain's base path, in whole segments: ``/v1`` "
        "does not strip ``/v10``.",
    )
    host_header: bytes = _setting(
        b"",
        _read_header_name,
        "The name of a request header to take the host from, such as ``x-forwarded-host``, which your proxy "
        "(CloudFront, a gateway) overwrites.",
    )
    context_headers: bool = _setting(
        False,
        _read_switch,
        "``True`` fills the request headers ``x-amzn-request-context``, ``x-amzn-lambda-context`` and "
        "``x-amz-tenant-id`` from event and context, as Lambda Web Adapter does. What a client sends under these names "
        "is dropped either way.",
    )
    text_mime_types: tuple[str, ...] = _setting(
        TEXT_MIME_TYPES,
        _read_mime_types,
        "Which bodies are text in a buffered response: beginnings of content types, and suffixes such as ``+json``; "
        "separated by commas in the variable.",
        shown="a table",
    )
    exclude_headers: frozenset[bytes] = _setting(
        frozenset(),
        _read_header_names,
        "Names of response headers to leave out; separated by commas in the variable.",
    )
    deadline_margin: float | None = _setting(
        None,
        _read_seconds,
        "How long before its deadline an app receives ``http.disconnect``, in seconds.",
        shown="the smaller of 1 s and 10 % of the time given",
    )
    workers: int = _setting(
        1,
        _read_count,
        "How many processes share the slots of an environment on Lambda Managed Instances, for apps that compute. "
        "Ignored elsewhere, where there is one slot and one process.",
    )
    share_writes: bool = _setting(
        False,
        _read_switch,
        "``True``: the later messages of a burst share a write; each remains its own chunk, and leaves at the event "
        "loop's next turn at the latest.",
    )
    pathsend: bool = _setting(
        False,
        _read_switch,
        "``True``: offer the ASGI extension ``http.response.pathsend``, with which the app names a file and the "
        "adapter sends it. Common middleware does not know the message.",
    )
    pass_through_path: str = _setting(
        "",
        _read_route,
        "A route of the app, such as ``/events``: events that are not HTTP requests are posted to it as JSON, and the "
        "JSON that it returns is the result of the invocation. Without it such an event is an error.",
    )
    error_status_codes: frozenset[int] = _setting(
        frozenset(),
        _read_status_codes,
        "Statuses that Lambda counts as errors: ``500,502-504``. Where the response is streamed, the client still gets "
        "the app's page.",
    )
    access_log: str = _setting(
        "off",
        _choice("off", "json", "emf"),
        "``json`` or ``emf``: one record for each HTTP invocation on stdout, ``emf`` as CloudWatch metrics.",
    )
    event_stream_keep_alive: float | None = _setting(
        None,
        _read_interval,
        "After how many idle seconds a ``text/event-stream`` response gets a comment.",
    )
    disconnect_after: float | None = _setting(
        None,
        _read_interval,
        "How many seconds after its request an invocation is treated as if its deadline were near: the app receives "
        "``http.disconnect``, then is cancelled. A stream whose client has left does not run, and cost, until the "
        "function's timeout.",
    )

    def __init__(self, **values: Any) -> None:
        if unknown := values.keys() - SETTINGS:
            raise TypeError(f"not settings: {', '.join(sorted(unknown))}")
        vars(self).update({name: values.get(name, setting.default) for name, setting in SETTINGS.items()})

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError(f"{name} cannot be set: a Config is read-only")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

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
    known = {PREFIX + name.upper(): name for name in SETTINGS}
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
            values[name] = read_setting(name, value, origin)
    config = Config(**values)
    for source, _ in config.invoke_mode:
        if source != EVERY_SOURCE:
            _one_of((*STREAMING_SOURCES, *sources), source, "a source in invoke_mode")
    return config


def read_setting(name: str, value: object, origin: str) -> Any:
    """Returns the value of a setting; ``origin`` is the name that errors use. Raises ConfigurationError."""
    try:
        return SETTINGS[name].read(value, origin)
    except ConfigurationError:
        raise
    except BaseException as error:  # of a value that cannot be compared, or iterated over
        raise ConfigurationError(f"{origin} cannot be read: {shown(error)}") from error
