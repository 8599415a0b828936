"""Stages and root paths with Starlette: routes, mounts, links and redirects.

`scripts/lowest` runs it with the versions of Starlette in which they changed, from 0.27 on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import starlette
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from asgi_stream import StreamingAdapter
from asgi_stream.testing import SyncLambdaTransport, function_url_event, http_api_event, rest_api_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

URL = "https://testserver"
VERSION = tuple(map(int, starlette.__version__.split(".")[:2]))
# From the first version on routes are looked for below the root path, as the ASGI specification has it; from the second
# on URLs have it once.
ROUTES_BELOW_IT, LINKS_WITH_IT = (0, 33), (0, 35)


def staged(build: Callable[..., dict[str, Any]], **settings: Any) -> Callable[..., dict[str, Any]]:
    def event(*arguments: Any) -> dict[str, Any]:
        return build(*arguments, stage="prod", **settings)

    return event


SHAPES = {
    "function_url": (function_url_event, ""),
    "rest_api": (staged(rest_api_event), "/prod"),
    "http_api 2.0": (staged(http_api_event), "/prod"),
    "http_api 2.0, custom domain": (staged(http_api_event, domain="api.example.com"), ""),
    "http_api 1.0": (staged(http_api_event, version="1.0"), "/prod"),
}


def make() -> Starlette:
    async def where(request: Request) -> Response:
        return PlainTextResponse(f"{request.url.path} {request.url_for('where')} {request.url_for('inner:where')}")

    async def folder(request: Request) -> Response:
        return PlainTextResponse("folder")

    inner = Starlette(routes=[Route("/where", where, name="where"), Route("/folder/", folder)])
    return Starlette(
        routes=[Mount("/inner", inner, name="inner"), Route("/where", where, name="where"), Route("/folder/", folder)]
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("settings", "before", "route"),
    [
        ({"stage": "strip"}, "", ""),
        ({"stage": "root_path"}, "{stage}", ""),
        ({"root_path": "/api"}, "/api", ""),
        ({"api_gateway_base_path": "/v1"}, "", "/v1"),
    ],
    ids=["strip", "root_path", "a root path of your own", "a base path"],
)
def test_routes_mounts_links_and_redirects(settings: dict[str, Any], before: str, route: str, shape: str) -> None:
    build, stage = SHAPES[shape]
    root = before.replace("{stage}", stage)
    transport = SyncLambdaTransport(StreamingAdapter(make(), lifespan="off", **settings), source=build)
    with httpx.Client(transport=transport, base_url=URL + route) as user:
        if root and VERSION < ROUTES_BELOW_IT:
            assert user.get("/where").status_code == 404
            return
        if root and VERSION < LINKS_WITH_IT:
            assert user.get("/where").text.startswith(f"{root}{root}/where ")
            return
        for mount in ("", "/inner"):
            seen, link, link_below = user.get(f"{mount}/where").text.split(" ")
            assert seen == f"{root}{mount}/where"
            if not mount:
                assert (link, link_below) == (f"{URL}{root}/where", f"{URL}{root}/inner/where")
            location = user.get(f"{mount}/folder").headers["location"]
            assert location == f"{URL}{root}{mount}/folder/"
        assert user.get("/nowhere").status_code == 404
