"""Every error that this package raises for its user to see, in one place. Base class: :class:`AsgiStreamError`.

The classes say who has to act: :class:`ConfigurationError` (the deployment), :class:`EventError` (the invoker of the
function), :class:`AppError` and :class:`AnswerTooLarge` (the ASGI app), :class:`HandlerError` (a streaming handler).
:class:`StreamClosed` is an ``OSError``, which the ASGI specification requires of ``send`` when the peer is gone.
All are names of ``asgi_stream``, but for :class:`LambdaRefused`, which ``asgi_stream.testing`` has.
"""

from __future__ import annotations

__all__ = [
    "AnswerTooLarge",
    "AppError",
    "AsgiStreamError",
    "ConfigurationError",
    "DeadlineExceeded",
    "EventError",
    "HandlerError",
    "LambdaRefused",
    "LifespanError",
    "StatusError",
    "StreamClosed",
    "UnknownEventError",
    "stems_from",
]


class AsgiStreamError(Exception):
    """Base of the errors of this package, for ``except`` clauses that want all of them."""


class ConfigurationError(AsgiStreamError, ValueError):
    """Raised for a setting or an argument with a name or value that is not understood."""


class EventError(AsgiStreamError, ValueError):
    """Raised when an event cannot be turned into an HTTP request.

    No ASGI app has seen such an invocation: it is reported through the Runtime API's ``/error``.
    """


class UnknownEventError(EventError):
    """Raised for an event that no event source recognises: a queue's, a schedule's, a direct invocation's.

    The argument ``on_event`` of :class:`~asgi_stream.StreamingAdapter` takes such events.
    """


class AnswerTooLarge(AsgiStreamError, ValueError):
    """Raised for a buffered answer beyond the limit of the event source that asked; the sentence names the limit."""


class HandlerError(AsgiStreamError, RuntimeError):
    """Raised when a streaming handler uses its response out of turn.

    HTTP metadata after the first byte, a write after the end, a write that is never awaited.
    """


class AppError(AsgiStreamError, RuntimeError):
    """Raised inside the app's ``send`` for a message that the ASGI HTTP specification does not allow.

    Raised on the app's behalf when it returns without having sent a whole response.
    """


class StatusError(AsgiStreamError, RuntimeError):
    """Raised for an invocation whose response has a status that the setting ``error_status_codes`` names.

    Where the answer is streamed the client gets the app's page, and Lambda counts an error. ``status`` is the code.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the app answered with status {status}, which error_status_codes counts as an error")
        self.status = status


class LifespanError(AsgiStreamError, RuntimeError):
    """Raised when the app answers ``lifespan.startup.failed``, or raises where lifespan is ``on``.

    Carries the app's own message. On Lambda it is an init error.
    """


class DeadlineExceeded(AsgiStreamError, TimeoutError):
    """Raised for an invocation whose response is not complete shortly before its deadline. Reported to Lambda."""


class StreamClosed(AsgiStreamError, ConnectionError):
    """Raised by ``send`` when the peer is gone: Lambda has closed the response stream, or the deadline an event stream.

    An ``OSError``, as the ASGI specification requires for a closed connection (HTTP, version 2.4).
    """


class LambdaRefused(AsgiStreamError):
    """Raised to the client of a test transport for a request or response that Lambda would not take.

    The sentence names the limit: the size of an event or of a streamed response, what a prelude or a function's answer
    may hold. It is raised whatever ``raise_app_exceptions`` says.
    """


# The attributes of the built-in classes: a class of an app may have other ones under these names.
_CAUSE, _CONTEXT = (vars(BaseException)[name].__get__ for name in ("__cause__", "__context__"))
_MEMBERS = vars(BaseExceptionGroup)["exceptions"].__get__


def stems_from(error: BaseException, lost: BaseException) -> bool:
    """True if ``error`` is ``lost``, or has that very object among its causes, contexts or the members of its group.

    At any depth. Calls nothing that the exceptions' classes define.
    """
    seen: set[int] = set()
    left = [error]
    while left:
        error = left.pop()
        if error is lost:
            return True
        if id(error) not in seen:
            seen.add(id(error))
            left += [linked for linked in (_CAUSE(error), _CONTEXT(error)) if linked is not None]
            if issubclass(type(error), BaseExceptionGroup):
                left += _MEMBERS(error)
    return False
