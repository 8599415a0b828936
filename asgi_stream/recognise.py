"""What the name in ``_HANDLER`` stands for: a handler of this package, an ASGI app, or a plain function.

One ``bootstrap`` serves every function of a project. What needs no wrapping is left alone; only what is needed for the
kind of handler that there is, is imported.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any

from asgi_stream.config import SETTINGS, read_setting
from asgi_stream.errors import ConfigurationError
from asgi_stream.foreign import get, of_type, type_name
from asgi_stream.sinks import Handler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_stream.sinks import Sink

__all__ = ["as_handler"]

METHODS = ("startup", "invoke", "shutdown")
ATTRIBUTES = tuple(Handler.__annotations__)


class OtherHandler(Handler):
    """Drives an object that has the methods of a handler, and reads its attributes.

    One that the object lacks, or that cannot be read or is not as declared, has its default.
    """

    def __init__(self, value: Any) -> None:
        self._value = value
        for name in ATTRIBUTES:
            setattr(self, name, _attribute(value, name))

    def __copy__(self) -> OtherHandler:
        import copy  # on a developer's machine alone

        return OtherHandler(copy.copy(self._value))

    @property
    def wants_shutdown(self) -> bool:
        return get(self._value, "wants_shutdown") is True

    def adopt(self, adapters: Sequence[Any]) -> None:
        if (adopt := get(self._value, "adopt")) is not None:
            adopt(adapters)

    def startup(self) -> Any:
        return self._value.startup()

    def invoke(self, event: Any, context: Any, sink: Sink) -> Any:
        return self._value.invoke(event, context, sink)

    def shutdown(self) -> Any:
        return self._value.shutdown()


def _attribute(value: object, name: str) -> Any:
    found = get(value, name)
    # No instance of a subclass, whose methods may do anything; `in` would call `__eq__` of its type.
    if any(type(found) is kind for kind in (bool, int, float)):
        with contextlib.suppress(ConfigurationError):
            return read_setting(name, found, name)
    return SETTINGS[name].default


def as_handler(value: Any) -> Handler:
    """Returns what the runtime can drive. Raises ConfigurationError for what is no handler, with the remedy."""
    is_class = of_type(value, type)
    if not is_class and all(callable(get(value, name)) for name in METHODS):
        # Attributes of our handlers can be set to anything, too.
        is_sound = of_type(value, Handler) and all(get(value, name) is _attribute(value, name) for name in ATTRIBUTES)
        return value if is_sound else OtherHandler(value)
    if is_class or not callable(value):
        what = "a class" if is_class else type_name(value)
        raise ConfigurationError(
            f"it is {what}; a handler is StreamingAdapter(app), an ASGI app, or a function (event, context)"
        )
    parameters = _signature(value)
    if parameters is None:
        # Nothing shows what it takes. Functions of C code are plain handlers, objects are apps in a middleware.
        return _function(value) if _is_function(value) else _app(value)
    names = tuple(parameters.parameters)
    if names[:2] == ("environ", "start_response"):
        raise ConfigurationError("it is a WSGI app; make it an ASGI app first, with a2wsgi or asgiref")
    if _takes(parameters, 2):
        return _function(value)
    if not _takes(parameters, 3) or names[-1:] == ("context",):
        raise ConfigurationError(
            f"it takes ({', '.join(names)}); a handler takes (event, context), a streaming one (event, response, "
            "context), decorated with @streaming_handler, and an ASGI app (scope, receive, send)"
        )
    return _app(value)


def _app(value: Any) -> Handler:
    from asgi_stream.adapter import StreamingAdapter

    return StreamingAdapter(value)


def _function(value: Any) -> Handler:
    from asgi_stream.handlers.base import is_a

    if is_a(value, inspect.isasyncgenfunction, inspect.isgeneratorfunction):
        from asgi_stream.handlers.decorator import StreamingHandler

        return StreamingHandler(value)
    from asgi_stream.handlers.plain import PlainHandler

    return PlainHandler(value)


def _signature(value: Any) -> inspect.Signature | None:
    """What a handler takes, None where that cannot be read."""
    from asgi_stream.handlers.signatures import signature

    # What is read here is the user's code, and may raise anything.
    try:
        found = signature(value)
        # Python 3.13 and newer show (*args, **kwargs) for an object of a type in C.
        is_read = not inspect.ismethoddescriptor(get(type(value), "__call__"))
    except BaseException:
        try:
            # An object may have its __call__ in a slot, as Sentry's middleware has: the type does not show it.
            found = signature(get(value, "__call__"))
        except BaseException:
            return None
        is_read = False
    anything = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    is_vague = all(parameter.kind in anything for parameter in found.parameters.values())
    return found if is_read or _is_function(value) or not is_vague else None


def _takes(parameters: inspect.Signature, count: int) -> bool:
    try:
        parameters.bind(*range(count))
    except TypeError:
        return False
    return True


def _is_function(value: Any) -> bool:
    while of_type(value, functools.partial):
        value = value.func
    try:
        return inspect.isroutine(value) or "function" in type_name(value)  # such as Cython's
    except BaseException:  # an object that raises for its __class__
        return False
