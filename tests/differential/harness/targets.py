"""Where a package's requests go: uvicorn, the reference, and the paths through Lambda that are compared with it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from asgi_stream.testing import alb_event, function_url_event, http_api_event, rest_api_event

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BEHIND_STAGES", "BUFFERED", "EVENTS", "REFERENCE", "TARGETS"]

REFERENCE = "uvicorn"

# The client's address and the scheme are what the app sees under uvicorn.
LIKE_UVICORN: dict[str, Any] = {"source_ip": "127.0.0.1", "scheme": "http"}

# target -> the events that its requests become, and the adapter's settings
EVENTS: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any]]] = {
    "function_url": (functools.partial(function_url_event, **LIKE_UVICORN), {}),
    "rest_api": (functools.partial(rest_api_event, stage="prod", **LIKE_UVICORN), {}),
    "rest_api_buffered": (
        functools.partial(rest_api_event, stage="prod", **LIKE_UVICORN),
        {"invoke_mode": "buffered"},
    ),
    "http_api": (functools.partial(http_api_event, stage="dev", **LIKE_UVICORN), {}),
    "alb": (functools.partial(alb_event, multi_value=True, **LIKE_UVICORN), {}),
}
BUFFERED = ("rest_api_buffered", "http_api", "alb")

# What a package file may name in TARGETS. "local" is the whole local Lambda: `asgi-stream dev` and its child process.
TARGETS = (*EVENTS, "local")

BEHIND_STAGES = ("rest_api", "rest_api_buffered", "http_api", "alb")
