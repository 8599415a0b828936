"""Event sources: from an event to one :class:`HttpRequest`, and from a response to what the source wants for it.

Each module knows one source and is one :class:`Source`. Nothing here knows ASGI or does I/O.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from asgi_stream.errors import ConfigurationError, UnknownEventError
from asgi_stream.foreign import get, of_type, plain_str, shown, type_name
from asgi_stream.sources.request import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from asgi_stream.sinks import Prelude

__all__ = [
    "NAMES",
    "NOT_HTTP",
    "HttpRequest",
    "Source",
    "StreamingSource",
    "can_stream",
    "check_source",
    "find_source",
    "sources",
]

# At most one of these modules matches an event: the order decides nothing but how soon. A function has one source most
# of the time, so that the others need not be imported.
NOT_HTTP = "pass_through"  # events of all other sources, where the setting of that name is on
NAMES = ("function_url", "rest_api", "http_api", "alb", "lambda_edge", "vpc_lattice")

UNDERSTOOD = (
    "Lambda Function URL, API Gateway REST API, API Gateway HTTP API (payload 1.0 and 2.0), "
    "Application Load Balancer, VPC Lattice (V1 and V2), Lambda@Edge"
)

REMEDY = "StreamingAdapter(app, on_event=...) passes events that are not HTTP requests to a function of yours"


class Source(Protocol):
    """What an event source offers: a module here, or a user's own object."""

    @property
    def name(self) -> str:
        """How settings and messages call the source, such as ``rest_api``."""
        ...

    @property
    def streams(self) -> bool:
        """Whether its platform can take a streamed answer at all; one that does is a :class:`StreamingSource`."""
        ...

    @property
    def limit(self) -> int:
        """The longest body that a buffered answer may have, in bytes, before anything is added to it."""
        ...

    def matches(self, event: Mapping[str, Any]) -> bool:
        """True if this event comes from the source. Raises nothing, whatever the event holds."""
        ...

    def to_request(self, event: Mapping[str, Any]) -> HttpRequest:
        """Returns the request of an event that matched. Raises EventError naming the field at fault."""
        ...

    def to_answer(
        self,
        event: Mapping[str, Any],
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        is_text: bool,
    ) -> dict[str, Any]:
        """Returns the buffered answer, a JSON object, to an event that became a request. Raises AnswerTooLarge.

        ``is_text`` says that the body need not be base64. Raises AppError for what the source cannot carry.
        """
        ...


class StreamingSource(Source, Protocol):
    """A source whose answers can stream."""

    def to_prelude(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> Prelude:
        """Returns how this source wants status and headers. Raises AppError where they are too large for it."""
        ...


def find_source(event: object, extra: Sequence[Source] = ()) -> Source:
    """Returns the source that the event comes from: the first of ``extra`` that matches, else a built-in one.

    Raises UnknownEventError with what is understood, and what to do about other events.
    """
    if not isinstance(event, dict):
        raise UnknownEventError(
            f"the event is a JSON {_json_type(event)}, not an object: no HTTP request can be read from it; {REMEDY}"
        )
    for source in extra:
        if source.matches(event):
            return source
    for source in sources():
        if source.matches(event):
            return source
    keys = ", ".join(sorted(map(str, event))[:10]) or "none"
    understood = ", ".join([UNDERSTOOD, *(source.name for source in extra)])
    raise UnknownEventError(
        f"the event is no HTTP request that is understood ({understood}); its keys: {keys}; {REMEDY}"
    )


def sources() -> Iterator[Source]:
    """Yields the built-in sources, each imported when it comes to it."""
    for name in NAMES:
        yield _imported.get(name) or _import(name)


_imported: dict[str, Source] = {}


def _import(name: str) -> Source:
    source: Source = import_module(f"{__name__}.{name}")
    return _imported.setdefault(name, source)


def check_source(source: object) -> None:
    """Raises ConfigurationError for a user's object that is no :class:`Source`, or bears a built-in one's name."""
    name = get(source, "name")
    name = plain_str(name) if of_type(name, str) else ""
    if not name:
        raise ConfigurationError(f"an event source must have a name, a str: {shown(source)}")
    if name in (*NAMES, NOT_HTTP):
        raise ConfigurationError(f"there is an event source named {name} already: give yours another name")
    if type(get(source, "streams")) is not bool or not of_type(get(source, "limit"), int):
        raise ConfigurationError(f"the event source {name} must say streams, a bool, and limit, a number of bytes")
    methods = ["matches", "to_request", "to_answer"]
    if get(source, "streams") is True:
        methods.append("to_prelude")
    for method in methods:
        if not callable(get(source, method)):
            raise ConfigurationError(f"the event source {name} lacks the method {method}")


def can_stream(source: Source) -> TypeGuard[StreamingSource]:
    """True for a source whose answers can stream, and that therefore has ``to_prelude``."""
    return source.streams


def _json_type(event: object) -> str:
    names = {
        bool: "boolean",
        int: "number",
        float: "number",
        str: "string",
        list: "array",
        type(None): "null",
    }
    return names.get(type(event), type_name(event))
