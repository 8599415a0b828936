"""The ASGI side: scope, the order of messages, lifespan. Knows nothing of Lambda and does no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    # Frameworks word scope, receive and send in types of their own: asgiref's alone would turn FastAPI's away.
    ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
