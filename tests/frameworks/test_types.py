"""Read by mypy under its strict rules: what a StreamingAdapter and a transport take without a cast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import httpx2
import pytest
from fastapi import FastAPI
from litestar import Litestar
from quart import Quart
from starlette.applications import Starlette

from asgi_stream import ConfigurationError, StreamingAdapter
from asgi_stream.testing import Exchange, LambdaTransport, SyncLambdaTransport, exchange
from tests.frameworks.apps import django_app

if TYPE_CHECKING:
    from pathlib import Path

    from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
    from django.core.handlers.asgi import ASGIHandler

from tests.frameworks.apps.stage import Stage


async def plain(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": False})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def test_every_framework_is_taken(tmp_path: Path) -> None:
    fastapi: FastAPI = FastAPI()
    starlette: Starlette = Starlette()
    litestar: Litestar = Litestar()
    quart: Quart = Quart(__name__)
    django: ASGIHandler = django_app.make(Stage(tmp_path))
    asgi3: ASGI3Application = plain
    adapters = [
        StreamingAdapter(fastapi),
        StreamingAdapter(starlette),
        StreamingAdapter(litestar),
        StreamingAdapter(quart),
        StreamingAdapter(django),
        StreamingAdapter(asgi3),
        StreamingAdapter(plain),
    ]
    assert [adapter.app for adapter in adapters] == [fastapi, starlette, litestar, quart, django, asgi3, plain]
    for app in (fastapi, starlette, litestar, quart, django, asgi3):
        LambdaTransport(app)
    LambdaTransport(adapters[0], source="alb")


def test_a_wrong_app_is_seen() -> None:
    """The checks above would be worth nothing if everything were taken."""

    def wsgi(environ: dict[str, str], start_response: object) -> list[bytes]:
        return []

    StreamingAdapter(wsgi)  # type: ignore[arg-type]
    # A function of two arguments may be a plain handler: here a look at the names tells.
    with pytest.raises(ConfigurationError, match="WSGI"):
        LambdaTransport(wsgi)


def test_the_clients_of_both_libraries_take_the_transports() -> None:
    with (
        httpx.Client(transport=SyncLambdaTransport(plain), base_url="https://testserver") as one,
        httpx2.Client(transport=SyncLambdaTransport(plain), base_url="https://testserver") as two,
    ):
        exchanges: list[Exchange] = [exchange(one.get("/")), exchange(two.get("/"))]
    assert all(shown.ended for shown in exchanges)
    assert httpx.AsyncClient(transport=LambdaTransport(plain)).is_closed is False
    assert httpx2.AsyncClient(transport=LambdaTransport(plain)).is_closed is False
