"""Events that are not HTTP requests, posted to a route of the app: ``pass_through_path``.

The rules are those of Lambda Web Adapter ("Non-HTTP Event Triggers" in its guide): the event is the body of a POST, as
JSON; a body that is JSON is the answer, any other is null; the status does not matter, unless ``error_status_codes``
names it. Unlike there, an exception that the app raises fails the invocation, so that the event source tries again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from asgi_stream.sources import NOT_HTTP
from asgi_stream.sources.answers import LAMBDA_LIMIT
from asgi_stream.sources.percent import quote_path
from asgi_stream.sources.request import Headers, HttpRequest, build_request

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PassThrough"]


class PassThrough:
    """The source of all events that no other source recognises. ``path`` is the route, decoded."""

    name = NOT_HTTP
    streams = False
    limit = LAMBDA_LIMIT

    def __init__(self, path: str) -> None:
        self._path = path

    def matches(self, event: object) -> bool:
        """True: it takes what no other source does."""
        return True

    def to_request(self, event: object) -> HttpRequest:
        """Returns the POST that carries the event."""
        body = json.dumps(event, separators=(",", ":")).encode("ascii")
        pairs = [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        return build_request(
            method="POST",
            path=self._path,
            raw_path=quote_path(self._path),
            query_string=b"",
            headers=Headers(pairs, {"host": "localhost"}),
            body=body,
            client=None,
        )

    def to_answer(
        self, event: object, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, is_text: bool
    ) -> Any:
        """Returns the JSON in the response's body, None where it holds none."""
        try:
            return json.loads(body, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
