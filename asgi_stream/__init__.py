"""Run any ASGI app on AWS Lambda, and stream every response body message the moment the app sends it.

    from asgi_stream import StreamingAdapter

    handler = StreamingAdapter(app)

This module is the whole public surface. Its names are imported when they are asked for: a function that streams without
ASGI pays for nothing of ASGI, and the other way round.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"  # the one place where it stands; the build reads it here

if TYPE_CHECKING:
    from asgi_stream.adapter import StreamingAdapter
    from asgi_stream.config import Config
    from asgi_stream.errors import (
        AnswerTooLarge,
        AppError,
        AsgiStreamError,
        ConfigurationError,
        DeadlineExceeded,
        EventError,
        HandlerError,
        LifespanError,
        StatusError,
        StreamClosed,
        UnknownEventError,
    )
    from asgi_stream.handlers.decorator import StreamingHandler, streaming_handler
    from asgi_stream.handlers.pipeline import gzip_chunks, pipeline
    from asgi_stream.handlers.stream import BlockingResponseStream, ResponseStream
    from asgi_stream.runtime.context import LambdaContext
    from asgi_stream.sinks import Prelude
    from asgi_stream.sources import HttpRequest, Source, StreamingSource

__all__ = [
    "AnswerTooLarge",
    "AppError",
    "AsgiStreamError",
    "BlockingResponseStream",
    "Config",
    "ConfigurationError",
    "DeadlineExceeded",
    "EventError",
    "HandlerError",
    "HttpRequest",
    "LambdaContext",
    "LifespanError",
    "Prelude",
    "ResponseStream",
    "Source",
    "StatusError",
    "StreamClosed",
    "StreamingAdapter",
    "StreamingHandler",
    "StreamingSource",
    "UnknownEventError",
    "__version__",
    "gzip_chunks",
    "pipeline",
    "streaming_handler",
]

_HOMES = {
    "BlockingResponseStream": "handlers.stream",
    "Config": "config",
    "HttpRequest": "sources",
    "LambdaContext": "runtime.context",
    "Prelude": "sinks",
    "ResponseStream": "handlers.stream",
    "Source": "sources",
    "StreamingAdapter": "adapter",
    "StreamingHandler": "handlers.decorator",
    "StreamingSource": "sources",
    "gzip_chunks": "handlers.pipeline",
    "pipeline": "handlers.pipeline",
    "streaming_handler": "handlers.decorator",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(_import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
