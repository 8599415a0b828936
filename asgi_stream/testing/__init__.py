"""Tests that take an ASGI app through the whole event path, without a server.

    import httpx
    from asgi_stream.testing import LambdaTransport, exchange

    async with httpx.AsyncClient(transport=LambdaTransport(app), base_url="https://testserver") as client:
        response = await client.get("/")

A request becomes the event of an event source, the adapter answers it, and what it answers is decoded from the bytes
that would go to Lambda. Bodies stream. Needs the extra ``asgi-stream[testing]``, and is never imported by what runs on
Lambda.
"""

from __future__ import annotations

from asgi_stream.errors import LambdaRefused
from asgi_stream.testing.delivery import Chunk
from asgi_stream.testing.events import (
    alb_event,
    function_url_event,
    http_api_event,
    lambda_edge_event,
    rest_api_event,
    vpc_lattice_event,
)
from asgi_stream.testing.exchange import Exchange, exchange
from asgi_stream.testing.transport import LambdaTransport, SyncLambdaTransport

__all__ = [
    "Chunk",
    "Exchange",
    "LambdaRefused",
    "LambdaTransport",
    "SyncLambdaTransport",
    "alb_event",
    "exchange",
    "function_url_event",
    "http_api_event",
    "lambda_edge_event",
    "rest_api_event",
    "vpc_lattice_event",
]
