"""Run any ASGI app on AWS Lambda, and stream every response body message the moment the app sends it.

    from asgi_stream import StreamingAdapter

    handler = StreamingAdapter(app)

This module is the whole public surface.
"""

from asgi_stream._version import __version__
from asgi_stream.adapter import StreamingAdapter
from asgi_stream.errors import (
    AppError,
    AsgiStreamError,
    ConfigurationError,
    EventError,
    LifespanError,
    StreamClosed,
)

__all__ = [
    "AppError",
    "AsgiStreamError",
    "ConfigurationError",
    "EventError",
    "LifespanError",
    "StreamClosed",
    "StreamingAdapter",
    "__version__",
]
