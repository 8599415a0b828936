"""Run any ASGI app on AWS Lambda, and stream every response body message the moment the app sends it.

    from asgi_stream import StreamingAdapter

    handler = StreamingAdapter(app)

This module is the whole public surface.
"""

from asgi_stream._version import __version__
from asgi_stream.adapter import StreamingAdapter
from asgi_stream.errors import (
    AnswerTooLarge,
    AppError,
    AsgiStreamError,
    ConfigurationError,
    EventError,
    LifespanError,
    StreamClosed,
    UnknownEventError,
)
from asgi_stream.sinks import Prelude
from asgi_stream.sources import HttpRequest

__all__ = [
    "AnswerTooLarge",
    "AppError",
    "AsgiStreamError",
    "ConfigurationError",
    "EventError",
    "HttpRequest",
    "LifespanError",
    "Prelude",
    "StreamClosed",
    "StreamingAdapter",
    "UnknownEventError",
    "__version__",
]
