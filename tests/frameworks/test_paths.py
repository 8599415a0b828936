"""What a path check sees, and what the app routes by: for each shape of an event, both settings, and each framework."""

from __future__ import annotations

import functools
import importlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import MagicMock

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from asgi_stream import StreamingAdapter
from asgi_stream.testing import (
    SyncLambdaTransport,
    alb_event,
    function_url_event,
    http_api_event,
    lambda_edge_event,
    rest_api_event,
    vpc_lattice_event,
)
from tests.frameworks.apps.stage import Stage
from tests.support.uvicorn_server import under_uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Builder = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")

CUSTOM = "api.example.com"
URL = "https://testserver"


def with_context_path(prefix: str) -> Builder:
    """A payload 1.0 event of an HTTP API whose own path lacks what its context's has in front."""

    def build(method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> dict[str, Any]:
        event = http_api_event(method, target, headers, body, version="1.0")
        event["requestContext"] |= {"path": prefix + event["path"], "stage": prefix[1:]}
        return event

    return build


def without_context_path(method: str, target: str, headers: Any = (), body: bytes = b"") -> dict[str, Any]:
    event = rest_api_event(method, target, headers, body)
    del event["requestContext"]["path"]
    return event


def with_route(
    method: str, target: str, headers: Any = (), body: bytes = b"", *, stage_in_path: bool = True
) -> dict[str, Any]:
    """As of an API with the route ANY /{proxy+} next to ANY /, at a stage named prod."""
    settings: dict[str, Any] = {"stage": "prod", "domain": CUSTOM, "stage_in_path": stage_in_path}
    event = http_api_event(method, target, headers, body, **settings)
    proxy = (event["rawPath"].removeprefix("/prod") if stage_in_path else event["rawPath"]).removeprefix("/")
    if not proxy:
        return event | {"routeKey": "ANY /"}
    return event | {"routeKey": "ANY /{proxy+}", "pathParameters": {"proxy": proxy}}


class Shape(NamedTuple):
    """An event for the client's path, and what the settings have to say of it.

    ``stage`` is in front of that path in the client's URL, as far as the event tells.
    """

    build: Builder
    stage: str = ""
    settings: tuple[tuple[str, Any], ...] = ()


SHAPES = {
    "function_url": Shape(function_url_event),
    "alb": Shape(alb_event),
    "lambda_edge": Shape(lambda_edge_event),
    "vpc_lattice": Shape(vpc_lattice_event),
    "vpc_lattice, V1": Shape(functools.partial(vpc_lattice_event, version="V1")),
    "rest_api": Shape(rest_api_event, "/prod"),
    "rest_api, stage v1": Shape(functools.partial(rest_api_event, stage="v1"), "/v1"),
    "rest_api, stage admin": Shape(functools.partial(rest_api_event, stage="admin"), "/admin"),
    "rest_api, custom domain": Shape(functools.partial(rest_api_event, domain=CUSTOM)),
    "rest_api, no path in the context": Shape(without_context_path),
    "http_api 2.0": Shape(http_api_event),
    "http_api 2.0, stage": Shape(functools.partial(http_api_event, stage="prod"), "/prod"),
    "http_api 2.0, custom domain": Shape(functools.partial(http_api_event, stage="prod", domain=CUSTOM)),
    "http_api 2.0, custom domain, no stage in the path": Shape(
        functools.partial(http_api_event, stage="prod", domain=CUSTOM, stage_in_path=False),
        settings=(("custom_domain_stage", False),),
    ),
    "http_api 2.0, custom domain, a route": Shape(with_route),
    "http_api 2.0, custom domain, a route, no stage in the path": Shape(
        functools.partial(with_route, stage_in_path=False)
    ),
    "http_api 1.0": Shape(functools.partial(http_api_event, version="1.0")),
    "http_api 1.0, stage": Shape(functools.partial(http_api_event, version="1.0", stage="prod"), "/prod"),
    "http_api 1.0, stage in the context": Shape(with_context_path("/prod"), "/prod"),
    "http_api 1.0, custom domain": Shape(functools.partial(http_api_event, version="1.0", stage="prod", domain=CUSTOM)),
}


def by_url(scope: Any) -> bool:
    return Request(scope).url.path.startswith("/admin")


def guarded(refuses: Callable[[Any], bool] = by_url, **options: Any) -> FastAPI:
    """Middleware refuses /admin, by the URL's path; a page that is reached shows the path that it sees."""
    app = FastAPI(**options)

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Any:
        if refuses(request.scope):
            return JSONResponse({"guarded": request.url.path}, 403)
        return await call_next(request)

    @app.get("/admin/users")
    async def users() -> str:
        return "secret"

    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.url.path)

    for route in ("/items", "/prod/items", "/production", "/v10/items", "/"):
        app.add_api_route(route, page, methods=["GET"])
    return app


def client(app: Any, shape: Shape, **settings: Any) -> httpx.Client:
    adapter = StreamingAdapter(app, lifespan="off", **dict(shape.settings), **settings)
    transport = SyncLambdaTransport(adapter, source=shape.build)
    return httpx.Client(transport=transport, base_url=URL)


PATHS = [
    *("/items", "/prod/items", "/production", "/v10/items", "/"),
    *("/admin", "/admin/users", "/%61dmin/users", "/admin%2Fusers", "/administrator"),
    *("//admin/users", "/%2Fadmin/users", "/prod/admin/users", "/%70rod/admin/users", "/prod%2Fadmin/users", "/prod"),
    *("/prod/", "/prod//admin/users", "/admin/admin/users", "/api/admin/users", "/%2561dmin/users"),
]


def asked(user: httpx.Client, url: str) -> dict[str, tuple[int, str]]:
    """Status and text for each of PATHS."""
    # With its host: httpx takes `//a` for one.
    answers = {path: user.get(f"{url}{path}") for path in PATHS}
    return {path: (answer.status_code, answer.text) for path, answer in answers.items()}


@pytest.fixture(scope="module", params=["", "/prod", "/prod/", "/api", "/admin"])
def own_root_path(request: pytest.FixtureRequest) -> tuple[str, dict[str, tuple[int, str]]]:
    """A root path that a FastAPI app names for its links, and what uvicorn gives for each of PATHS."""
    with under_uvicorn(guarded(root_path=request.param)) as url, httpx.Client(base_url=url) as user:
        return request.param, asked(user, url)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_path_check_sees_the_clients_route(shape: str, own_root_path: tuple[str, dict[str, tuple[int, str]]]) -> None:
    """As under uvicorn without a stage, whatever the stage is called."""
    root_path, expected = own_root_path
    with client(guarded(root_path=root_path), SHAPES[shape]) as user:
        assert asked(user, URL) == expected


def test_what_uvicorn_gives(own_root_path: tuple[str, dict[str, tuple[int, str]]]) -> None:
    """What the comparison is about."""
    root_path, expected = own_root_path
    assert expected["/items"] == (200, "/items")
    for path in ("/admin/users", "/%61dmin/users", "/admin%2Fusers", "/administrator"):
        assert expected[path][0] == 403
    if not root_path:
        assert {path for path in PATHS if expected[path] == (200, "secret")} == set()


async def shows_its_paths(scope: Any, receive: Any, send: Any) -> None:
    shown = json.dumps([scope["root_path"], scope["path"], scope["raw_path"].decode()]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": shown})


def paths(shape: Shape, target: str, **settings: Any) -> tuple[str, str, str]:
    """(root_path, path, raw_path)"""
    with client(shows_its_paths, shape, **settings) as user:
        root_path, path, raw_path = user.get(f"{URL}{target}").json()
    return root_path, path, raw_path


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("path", ["/admin/users", "/", "/prod/a", "//a", "/v10/a"])
def test_the_paths_of_each_shape(shape: str, path: str) -> None:
    stage = SHAPES[shape].stage
    assert paths(SHAPES[shape], path) == ("", path, path)
    assert paths(SHAPES[shape], path, stage="strip") == ("", path, path)
    assert paths(SHAPES[shape], path, stage="root_path") == (stage, stage + path, stage + path)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_root_path_of_the_users_own(shape: str) -> None:
    """It is in front of the path in both settings, behind a stage that is the root path; so a check sees it too."""
    stage = SHAPES[shape].stage
    assert paths(SHAPES[shape], "/admin/a", root_path="/api") == ("/api", "/api/admin/a", "/api/admin/a")
    assert paths(SHAPES[shape], "/admin/a", root_path="/api", stage="root_path") == (
        f"{stage}/api",
        f"{stage}/api/admin/a",
        f"{stage}/api/admin/a",
    )


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if SHAPES[shape].stage])
def test_a_root_path_that_names_the_stage(shape: str) -> None:
    """As an app that names it in the setting wants it, whatever the stage's own setting is."""
    stage = SHAPES[shape].stage
    for setting in ("strip", "root_path"):
        for path in ("/a", f"{stage}/a"):
            assert paths(SHAPES[shape], path, root_path=stage, stage=setting) == (stage, stage + path, stage + path)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_base_path_leaves_no_trace(shape: str) -> None:
    stage = SHAPES[shape].stage
    for path, expected in (("/base/admin/a", "/admin/a"), ("/base", "/"), ("/based/a", "/based/a"), ("/a", "/a")):
        assert paths(SHAPES[shape], path, api_gateway_base_path="/base") == ("", expected, expected)
        assert paths(SHAPES[shape], path, api_gateway_base_path="/base", stage="root_path") == (
            stage,
            stage + expected,
            stage + expected,
        )


def test_a_path_check_behind_a_base_path_mapping() -> None:
    """The mapping of a custom domain is no stage: check and routes see it alike, until the setting names it."""
    shape = SHAPES["rest_api, custom domain"]
    with client(guarded(), shape) as user:
        assert user.get("/base/admin/users").status_code == 404
    with client(guarded(), shape, api_gateway_base_path="/base") as user:
        assert user.get("/base/admin/users").status_code == 403
        assert user.get("/base/items").text == "/items"


def test_a_stage_that_a_custom_domain_lacks_is_no_root_path() -> None:
    """Whether the event's path has it or not: links would lead to where nothing is."""
    for name in ("http_api 2.0, custom domain", "http_api 2.0, custom domain, a route"):
        assert paths(SHAPES[name], "/a", stage="root_path") == ("", "/a", "/a")
        # One that the user names is taken at its word.
        assert paths(SHAPES[name], "/a", stage="root_path", root_path="/shop") == ("/shop", "/shop/a", "/shop/a")
        assert paths(SHAPES[name], "/a", root_path="/prod") == ("/prod", "/prod/a", "/prod/a")


def test_an_app_whose_routes_begin_like_its_stage() -> None:
    """Nothing in the event tells the two apart where the route is $default; the setting does."""
    lacks = Shape(functools.partial(http_api_event, stage="v1", domain=CUSTOM, stage_in_path=False))
    assert paths(lacks, "/v1/a") == ("", "/a", "/a")
    assert paths(lacks, "/v1/a", custom_domain_stage=False) == ("", "/v1/a", "/v1/a")
    assert paths(lacks, "/v1/a", custom_domain_stage=False, stage="root_path") == ("", "/v1/a", "/v1/a")
    has = Shape(functools.partial(http_api_event, stage="v1", domain=CUSTOM))
    assert paths(has, "/v1/a") == ("", "/v1/a", "/v1/a")
    # On API Gateway's own domain the stage is always there.
    own = Shape(functools.partial(http_api_event, stage="v1"), "/v1")
    assert paths(own, "/v1/a", custom_domain_stage=False) == ("", "/v1/a", "/v1/a")


def test_a_path_check_that_looks_at_the_url_sees_a_root_path() -> None:
    """What docs/settings.md warns of: the check by URL lets through what the check by the route does not."""

    def by_route(scope: Any) -> bool:
        return str(scope["path"]).removeprefix(scope["root_path"]).startswith("/admin")

    for settings in ({"stage": "root_path"}, {"root_path": "/api"}):
        with client(guarded(), SHAPES["rest_api"], **settings) as user:
            assert user.get("/admin/users").status_code == 200
        with client(guarded(by_route), SHAPES["rest_api"], **settings) as user:
            assert user.get("/admin/users").status_code == 403
            assert user.get("/items").status_code == 200


FRAMEWORKS = ["django", "fastapi", "litestar", "quart", "starlette"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("setting", ["strip", "root_path"])
@pytest.mark.parametrize("shape", ["function_url", "rest_api", "http_api 2.0, stage", "http_api 1.0, stage"])
def test_routes_mounts_links_and_redirects(framework: str, setting: str, shape: str, tmp_path: Path) -> None:
    """With ``strip`` the framework knows nothing of the stage; with ``root_path`` its links lead back to it."""
    app = importlib.import_module(f"tests.frameworks.apps.{framework}_app").make(Stage(tmp_path))
    root = SHAPES[shape].stage if setting == "root_path" else ""
    with client(app, SHAPES[shape], stage=setting) as user:
        for path in ("/where", "/inner/where"):
            seen, link = user.get(path).text.split(" ")
            assert seen == root + path
            assert link.removesuffix("/inner/where").removesuffix("/where") == f"https://testserver{root}"
        if framework != "litestar":  # which redirects nothing
            location = user.get("/folder").headers["location"]
            assert location.removeprefix("https://testserver") == f"{root}/folder/"
        assert user.get("/nowhere").status_code == 404


def test_fastapis_own_pages() -> None:
    """On an address of API Gateway's own, /docs finds its schema only where the root path has the stage."""
    app = FastAPI()
    with client(app, SHAPES["rest_api"]) as user:
        assert "url: '/openapi.json'" in user.get("/docs").text
        assert "servers" not in user.get("/openapi.json").json()
    with client(app, SHAPES["rest_api"], stage="root_path") as user:
        assert "url: '/prod/openapi.json'" in user.get("/docs").text
        assert user.get("/openapi.json").json()["servers"] == [{"url": "/prod"}]


class Wraps:
    """Middleware as it is usually written."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def linked(**options: Any) -> FastAPI:
    app = FastAPI(**options)

    @app.get("/items", name="items")
    async def items(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.scope['path']} {request.url_for('items')}")

    @app.get("/folder/")
    async def folder() -> str:
        return "folder"

    return app


@pytest.mark.parametrize("wrap", [lambda app: app, Wraps, lambda app: Wraps(Wraps(app))])
@pytest.mark.parametrize(("root_path", "shown"), [("/prod", "/prod"), ("/prod/", "/prod"), ("/api", "/api")])
@pytest.mark.parametrize("shape", ["rest_api", "http_api 2.0, stage", "http_api 1.0, stage", "function_url"])
def test_an_app_that_names_its_own_root_path_keeps_it(
    wrap: Callable[[Any], Any], root_path: str, shown: str, shape: str
) -> None:
    for setting in ("strip", "root_path"):
        with client(wrap(linked(root_path=root_path)), SHAPES[shape], stage=setting) as user:
            assert user.get("/items").text == f"/items {URL}{shown}/items"
            assert user.get("/docs").text.count(f"'{shown}/openapi.json'") == 1
        with client(wrap(guarded(root_path=root_path)), SHAPES[shape], stage=setting) as user:
            assert user.get("/admin/users").status_code == 403


class Odd:
    """An app whose attributes do what they like."""

    def __init__(self, **attributes: Any) -> None:
        self._attributes = attributes

    def __getattr__(self, name: str) -> Any:
        value = self._attributes.get(name)
        if isinstance(value, BaseException):
            raise value
        return value

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await shows_its_paths(scope, receive, send)


class Itself(Odd):
    @property
    def app(self) -> Odd:
        return self


@pytest.mark.parametrize(
    "app",
    [
        Odd(root_path=None),
        Odd(root_path=""),
        Odd(root_path="/"),
        Odd(root_path=b"/x"),
        Odd(root_path=7),
        Odd(root_path=RuntimeError("no")),
        Odd(app=RuntimeError("no")),
        Odd(root_path=SystemExit("no")),
        Odd(app=KeyboardInterrupt()),
        Odd(root_path=RecursionError()),
        Odd(app=Odd(app=Odd(root_path=ValueError("deep")))),
        Odd(root_path="/var/task", import_name="main"),
        Itself(),
        MagicMock(side_effect=shows_its_paths),
    ],
)
def test_odd_attributes_of_an_app(app: Any) -> None:
    assert paths_of(app, stage="root_path") == ("/prod", "/prod/a", "/prod/a")


def test_a_root_path_deep_inside() -> None:
    assert paths_of(Odd(app=Odd(app=Odd(root_path="/x"))), stage="root_path") == ("", "/a", "/a")


def paths_of(app: Any, **settings: Any) -> tuple[str, str, str]:
    with client(app, SHAPES["rest_api"], **settings) as user:
        root_path, path, raw_path = user.get("/a").json()
    return root_path, path, raw_path


@pytest.mark.parametrize("shape", ["function_url", "rest_api", "http_api 2.0", "http_api 1.0", "lambda_edge"])
@pytest.mark.parametrize("host", ["[:::]", "[::g]:80", "[example.com]"])
def test_a_malformed_address_as_the_host_gives_way_to_the_events_domain(shape: str, host: str) -> None:
    app = FastAPI()

    @app.get("/")
    async def index(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.scope['server'][0]} {request.url.hostname}")

    with client(app, SHAPES[shape]) as user:
        seen = user.get("/", headers={"host": host}).text.split()
    assert seen[0].endswith((".on.aws", ".amazonaws.com", ".cloudfront.net"))
    assert seen[1] == seen[0]


def hosts(
    sent: Sequence[tuple[str, str]], shape: str = "function_url", setting: str | None = "x-forwarded-host"
) -> tuple[str, Any, list[str]]:
    """What the app sees of its host: the URL that it builds, the scope's server and the Host headers."""

    async def index(scope: Any, receive: Any, send: Any) -> None:
        found = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        url = str(Request(scope).url)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps([url, scope["server"], found]).encode()})

    with client(index, SHAPES[shape], host_header=setting) as user:
        url, server, found = user.get(
            "/items", headers=[(name.encode(), value.encode("latin-1")) for name, value in sent]
        ).json()
    return url, server, found


@pytest.mark.parametrize("shape", SHAPES)
def test_a_header_that_is_trusted_for_the_host(shape: str) -> None:
    expected = ("https://www.example.com/items", ["www.example.com", 443], ["www.example.com"])
    for sent in (
        [("x-forwarded-host", "www.example.com")],
        [("X-Forwarded-Host", "www.example.com")],
        [("x-forwarded-host", "www.example.com, inner.example")],
    ):
        assert hosts(sent, shape) == expected
    # Nothing is trusted unless it is named.
    for setting, name in ((None, "x-forwarded-host"), ("x-viewer-host", "x-forwarded-host")):
        url, server, found = hosts([(name, "www.example.com")], shape, setting)
        assert (url, server[0], found) == ("https://testserver/items", "testserver", ["testserver"])


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("www.example.com:8443", "https://www.example.com:8443/items"),
        ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443/items"),
        ("192.0.2.7", "https://192.0.2.7/items"),
        # Not a host: that of the request stays.
        *(
            (odd, "https://testserver/items")
            for odd in (
                *(
                    "",
                    ",",
                    " ",
                    "/",
                    "a/b",
                    "a b",
                    "a@b",
                    "a?b",
                    "a#b",
                    "a:b",
                    "a:99999",
                    "[:::]",
                    "[a]",
                    "2001:db8::1",
                ),
                *("<script>", "h\xe9", "a\\b", "https://a", "a:80:80", "[::1]x", "%41", ":80", "a\tb", '"a"'),
            )
        ),
    ],
)
def test_what_a_trusted_header_may_name(host: str, url: str) -> None:
    assert hosts([("x-forwarded-host", host)])[0] == url


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_links_and_redirects_with_a_trusted_host(framework: str, tmp_path: Path) -> None:
    """As behind CloudFront with an origin path: the viewer's URL has its own host, and no stage."""
    app = importlib.import_module(f"tests.frameworks.apps.{framework}_app").make(Stage(tmp_path))
    with client(app, SHAPES["rest_api"], host_header="x-forwarded-host") as user:
        user.headers["host"] = "abcdefghij.execute-api.us-east-1.amazonaws.com"
        user.headers["x-forwarded-host"] = "www.example.com"
        path, link = user.get("/where").text.split(" ")
        assert (path, link.partition(".com/")[0]) == ("/where", "https://www.example")
        if framework != "litestar":  # which redirects nothing
            location = user.get("/folder").headers["location"]
            assert location in ("/folder/", "https://www.example.com/folder/")
