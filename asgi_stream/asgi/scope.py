"""From an :class:`~asgi_stream.sources.HttpRequest` to an ASGI HTTP connection scope.

Source: ASGI HTTP & WebSocket specification, "HTTP Connection Scope".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from asgi_stream.sources.request import HttpRequest

__all__ = ["ASGI_VERSION", "HTTP_SPEC_VERSION", "http_scope"]

ASGI_VERSION = "3.0"
# From 2.4 on `send` raises OSError once the peer is gone, and frameworks stop watching `receive` for a disconnect.
HTTP_SPEC_VERSION = "2.5"


def http_scope(request: HttpRequest, state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a fresh scope; ``state`` is copied, one level deep, as the specification asks."""
    return {
        "type": "http",
        "asgi": {"version": ASGI_VERSION, "spec_version": HTTP_SPEC_VERSION},
        "http_version": request.http_version,
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.raw_path,
        "query_string": request.query_string,
        "root_path": "",
        "headers": list(request.headers),
        "client": request.client,
        "server": request.server,
        "state": dict(state),
        "extensions": {},
    }
