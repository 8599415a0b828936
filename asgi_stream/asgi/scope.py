"""From an :class:`~asgi_stream.sources.HttpRequest` to an ASGI HTTP connection scope.

Source: ASGI HTTP & WebSocket specification, "HTTP Connection Scope".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_stream.asgi.prefix import add_prefix, has_prefix, remove_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_stream.sources.request import HttpRequest

__all__ = ["ASGI_VERSION", "HTTP_SPEC_VERSION", "http_scope"]

ASGI_VERSION = "3.0"
# As uvicorn. From 2.4 on frameworks rely on the OSError of `send`, and watch `receive` for a disconnect no longer: a
# stream that waits for its next event would not notice its deadline.
HTTP_SPEC_VERSION = "2.3"


def http_scope(
    request: HttpRequest,
    state: Mapping[str, Any],
    *,
    root_path: str = "",
    base_path: str = "",
    strip: bool = True,
    custom_domain_stage: bool = True,
) -> dict[str, Any]:
    """Returns a fresh scope; ``state`` is copied, one level deep, as the specification asks.

    ``base_path`` is stripped from the path, as if the client had not sent it, also where it follows the stage.
    ``root_path`` is where the app is mounted: the scope names it, and ``path`` includes it, as the specification says.
    The stage, which is the request's own root path, is stripped from ``path`` with ``strip``; else it precedes
    ``root_path``. A ``root_path`` that begins with the stage is the whole of it in both cases. A stage that the
    client's URL lacks is always stripped, or, without ``custom_domain_stage``, a part of the route.
    """
    path, raw_path, stage = request.path, request.raw_path, request.root_path
    if not request.root_path_in_url:
        strip = True
        stage = stage if custom_domain_stage else ""
    if base_path and has_prefix(path, base_path):
        path, raw_path = remove_prefix(path, raw_path, base_path)
        stage = stage[len(base_path) :] if has_prefix(stage, base_path) else ""
    elif base_path:
        inner, raw_inner = remove_prefix(path, raw_path, stage)
        if has_prefix(inner, base_path):
            path, raw_path = add_prefix(*remove_prefix(inner, raw_inner, base_path), stage)
    named = bool(root_path) and has_prefix(root_path, stage)
    if strip and stage and not named:
        path, raw_path = remove_prefix(path, raw_path, stage)
        stage = ""
    root = root_path if named else stage + root_path
    if root and not has_prefix(path, root):
        path, raw_path = add_prefix(*remove_prefix(path, raw_path, stage), root)
    return {
        "type": "http",
        "asgi": {"version": ASGI_VERSION, "spec_version": HTTP_SPEC_VERSION},
        "http_version": request.http_version,
        "method": request.method,
        "scheme": request.scheme,
        "path": path,
        "raw_path": raw_path,
        "query_string": request.query_string,
        "root_path": root,
        "headers": list(request.headers),
        "client": request.client,
        "server": request.server,
        "state": dict(state),
        "extensions": {},
    }
