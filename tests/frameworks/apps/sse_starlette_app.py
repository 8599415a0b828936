from __future__ import annotations

from typing import TYPE_CHECKING

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from tests.frameworks.apps.stage import Stage


def make(stage: Stage) -> Starlette:
    """The event streams alone: the rest is Starlette's."""

    async def events(request: Request) -> EventSourceResponse:
        return EventSourceResponse(stage.endless())

    return Starlette(routes=[Route("/events", events, methods=["GET", "POST"])])
