"""From the text in ``_HANDLER`` to the object that answers invocations.

The error types are those that AWS documents for its Python runtime: ``Runtime.ImportModuleError``,
``Runtime.UserCodeSyntaxError``, ``Runtime.HandlerNotFound`` and ``Runtime.MalformedHandlerName``.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from asgi_stream.errors import ConfigurationError
from asgi_stream.foreign import MAX_TEXT, shown, text
from asgi_stream.runtime.reports import ErrorReport, describe

if TYPE_CHECKING:
    from asgi_stream.sinks import Handler

__all__ = ["HandlerLoadError", "load_handler"]


class HandlerLoadError(Exception):
    """Raised when the handler cannot be had.

    ``error_type`` is one of AWS's init error types, or None where the exception of the user's own code says more
    (it is the ``__cause__`` then).
    """

    def __init__(self, message: str, error_type: str | None) -> None:
        super().__init__(message)
        self.error_type = error_type

    def report(self) -> ErrorReport:
        """Returns what Lambda is told: the stack is that of the user's exception, if there was one."""
        report = describe(self if self.__cause__ is None else self.__cause__)
        if self.__cause__ is None:
            report = report._replace(stack=())  # nothing in it but our own frames
        if self.error_type is not None:
            report = report._replace(kind=self.error_type, error_type=self.error_type, message=str(self))
        return report


def load_handler(name: str) -> Handler:
    """Imports ``package.module.handler`` (also ``folder/module.handler``) and returns the handler.

    An ASGI app and a plain function are wrapped. Raises HandlerLoadError.
    """
    if name.endswith((".sh", ".bash")):
        raise HandlerLoadError(
            f"The handler {name!r} is a script that starts a web server, as Lambda Web Adapter needs it. No server is "
            "started here: set the handler to your app or its StreamingAdapter, such as main.app",
            "Runtime.HandlerNotFound",
        )
    module_name, dot, attribute = name.rpartition(".")
    module_name = module_name.replace("/", ".")
    if not dot or not module_name.strip(".") or not attribute:
        raise HandlerLoadError(
            f"Bad handler {name!r}: it must be module.attribute, such as main.handler",
            "Runtime.MalformedHandlerName",
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise HandlerLoadError(
            f"Unable to import module {module_name!r}: {text(error)}", "Runtime.ImportModuleError"
        ) from error
    except SyntaxError as error:
        raise HandlerLoadError(
            f"Syntax error in module {module_name!r}: {text(error)}", "Runtime.UserCodeSyntaxError"
        ) from error
    except BaseException as error:
        raise HandlerLoadError(
            f"Module {module_name!r} failed while it was imported: {shown(error, MAX_TEXT)}", None
        ) from error
    try:
        handler = getattr(module, attribute)
    except AttributeError:
        raise HandlerLoadError(
            f"Handler {attribute!r} missing on module {module_name!r}", "Runtime.HandlerNotFound"
        ) from None
    except BaseException as error:  # of a `__getattr__` of the module's own
        raise HandlerLoadError(f"Handler {name!r} cannot be read: {shown(error, MAX_TEXT)}", None) from error
    # Here and not above: only now is it known what is needed of this package.
    from asgi_stream.recognise import as_handler

    try:
        driven = as_handler(handler)
        if (adapter := sys.modules.get("asgi_stream.adapter")) is not None:
            driven.adopt(adapter.adapters())  # all that were made by now, which is during the import
    except ConfigurationError as error:
        raise HandlerLoadError(f"Handler {name!r} cannot be used: {error}", "Runtime.HandlerNotFound") from None
    except BaseException as error:
        raise HandlerLoadError(f"Handler {name!r} cannot be used: {shown(error, MAX_TEXT)}", None) from error
    return driven
