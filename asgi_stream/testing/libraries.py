"""httpx and httpx2: two libraries with one shape, of which a test may use either, or both.

Their clients insist on responses and byte streams of their own classes, so an answer is made with the library that the
request came from. A transport, they only call; for type checkers ours are subclasses of both libraries'.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

from asgi_stream.foreign import shown

if TYPE_CHECKING:
    from types import ModuleType

    from asgi_stream.local.prelude import ResponseStart

__all__ = ["EXCHANGE", "library", "make_response"]

NAMES = ("httpx", "httpx2")
EXCHANGE = "lambda"  # in a response's extensions

try:
    import httpx as library
except ModuleNotFoundError as missing:
    if missing.name != "httpx":
        raise
    try:
        import httpx2 as library  # type: ignore[no-redef]
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "asgi_stream.testing needs httpx: pip install 'asgi-stream[testing]'", name="httpx"
        ) from None


def make_response(request: Any, start: ResponseStart, exchange: object, body: type, *arguments: object) -> Any:
    """Returns a response of the library that ``request`` is of.

    ``body`` is a class with the name and the methods of the library's ``AsyncByteStream`` or ``SyncByteStream``; an
    instance of it is made with ``arguments``. Raises TypeError for a request of another library.
    """
    module = _library_of(request)
    return module.Response(
        start.status,
        headers=start.headers,
        stream=_stream_class(body, getattr(module, body.__name__))(*arguments),
        extensions={"http_version": b"HTTP/1.1", EXCHANGE: exchange},
    )


def _library_of(request: object) -> ModuleType:
    for name in NAMES:
        module = sys.modules.get(name)
        if module is not None and isinstance(request, module.Request):
            return module
    raise TypeError(f"a request must be one of {' or '.join(NAMES)}, not {shown(request)}")


@functools.cache
def _stream_class(ours: type, theirs: type) -> Any:
    return type(ours.__name__, (ours, theirs), {})
