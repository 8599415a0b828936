"""What the name in ``_HANDLER`` stands for: a handler of this package, an ASGI app, or a plain function.

One ``bootstrap`` serves every function of a project. What needs no wrapping is left alone; only what is needed for the
kind of handler that there is, is imported.
"""

from __future__ import annotations

import inspect

from asgi_stream.errors import ConfigurationError
from asgi_stream.foreign import get, of_type, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["as_handler"]

METHODS = ("startup", "invoke", "shutdown")


def as_handler(value: Any) -> Any:
    """Returns what the runtime can drive. Raises ConfigurationError for what is no handler, with the remedy."""
    is_class = of_type(value, type)
    if not is_class and all(callable(get(value, name)) for name in METHODS):
        return value
    if is_class or not callable(value):
        what = "a class" if is_class else type_name(value)
        raise ConfigurationError(
            f"it is {what}; a handler is StreamingAdapter(app), an ASGI app, or a function (event, context)"
        )
    names = _parameters(value)
    if names[:2] == ("environ", "start_response"):
        raise ConfigurationError("it is a WSGI app; make it an ASGI app first, with a2wsgi or asgiref")
    if _takes(value, 2):
        return _function(value)
    if not _takes(value, 3) or names[-1:] == ("context",):
        raise ConfigurationError(
            f"it takes ({', '.join(names)}); a handler takes (event, context), a streaming one (event, response, "
            "context), decorated with @streaming_handler, and an ASGI app (scope, receive, send)"
        )
    from asgi_stream.adapter import StreamingAdapter

    return StreamingAdapter(value)


def _function(value: Any) -> Any:
    from asgi_stream.handlers.base import is_a

    if is_a(value, inspect.isasyncgenfunction, inspect.isgeneratorfunction):
        from asgi_stream.handlers.decorator import StreamingHandler

        return StreamingHandler(value)
    from asgi_stream.handlers.plain import PlainHandler

    return PlainHandler(value)


def _parameters(value: Any) -> tuple[str, ...]:
    from asgi_stream.handlers.signatures import signature

    try:
        return tuple(signature(value).parameters)
    except (TypeError, ValueError):
        return ()


def _takes(value: Any, count: int) -> bool:
    from asgi_stream.handlers.signatures import signature

    try:
        signature(value).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return count == 2  # written in C, without a signature: a function, most likely
    return True
