"""Event sources: from an event to one :class:`HttpRequest`, and from a response's headers to a prelude.

Each module knows one source. It has ``matches(event)``, ``to_request(event)`` and ``to_prelude(status, headers)``.
Nothing here knows ASGI or does I/O.
"""

from __future__ import annotations

from asgi_stream.errors import EventError
from asgi_stream.sources import function_url
from asgi_stream.sources.request import HttpRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Protocol

    from asgi_stream.sinks import Prelude

    class Source(Protocol):
        """What a module of an event source offers."""

        def matches(self, event: Mapping[str, Any]) -> bool:
            """True if this event comes from the source."""
            ...

        def to_request(self, event: Mapping[str, Any]) -> HttpRequest:
            """Returns the request. Raises EventError for an event that is not whole."""
            ...

        def to_prelude(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> Prelude:
            """Returns how this source wants status and headers."""
            ...


__all__ = ["HttpRequest", "find_source"]

SOURCES: tuple[Source, ...] = (function_url,)


def find_source(event: object) -> Source:
    """Returns the source that the event comes from. Raises EventError with what is understood."""
    if not isinstance(event, dict):
        raise EventError(f"the event is a JSON {_json_type(event)}, not an object: no HTTP request can be read from it")
    for source in SOURCES:
        if source.matches(event):
            return source
    keys = ", ".join(sorted(map(str, event))[:10]) or "none"
    raise EventError(
        f"the event is no HTTP request that is understood (Lambda Function URL, payload 2.0); its keys: {keys}"
    )


def _json_type(event: object) -> str:
    names = {
        bool: "boolean",
        int: "number",
        float: "number",
        str: "string",
        list: "array",
        type(None): "null",
    }
    return names.get(type(event), type(event).__name__)
