"""Paths in the scope: root paths and base paths in whole segments, decoded and raw alike. The trace in its headers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_stream import StreamingAdapter
from asgi_stream.asgi.prefix import add_prefix, has_prefix, remove_prefix
from asgi_stream.asgi.scope import http_scope
from asgi_stream.sources import HttpRequest
from asgi_stream.testing import alb_event, rest_api_event
from tests.support.events import function_url_event
from tests.support.wire import serve


def paths(path: str, source_root: str = "", **settings: Any) -> tuple[str, str, bytes]:
    """(root_path, path, raw_path) of the scope for a request of a path, percent-encoded."""
    request = HttpRequest("GET", unquote(path), path.encode(), b"", [], b"", None, None, "https", "1.1", source_root)
    scope = http_scope(request, {}, **settings)
    return scope["root_path"], scope["path"], scope["raw_path"]


@pytest.mark.parametrize(
    ("path", "base_path", "expected"),
    [
        ("/v1/a", "/v1", ("", "/a", b"/a")),
        ("/v1", "/v1", ("", "/", b"/")),
        ("/v1/", "/v1", ("", "/", b"/")),
        ("/v10/a", "/v1", ("", "/v10/a", b"/v10/a")),
        ("/a/v1", "/v1", ("", "/a/v1", b"/a/v1")),
        ("/v1/a%20b/c%2Fd", "/v1", ("", "/a b/c/d", b"/a%20b/c%2Fd")),
        ("/b%20c/d%2Fe", "/b c", ("", "/d/e", b"/d%2Fe")),
        ("/b%2Fc/d", "/b/c", ("", "/d", b"/d")),
    ],
)
def test_a_base_path_is_taken_off(path: str, base_path: str, expected: tuple[str, str, bytes]) -> None:
    assert paths(path, base_path=base_path) == expected


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/a", "/v1", ("/v1", "/v1/a", b"/v1/a")),
        ("/v1/a", "/v1", ("/v1", "/v1/a", b"/v1/a")),
        ("/v10/a", "/v1", ("/v1", "/v1/v10/a", b"/v1/v10/a")),
        ("/a%2Fb", "/é", ("/é", "/é/a/b", b"/%C3%A9/a%2Fb")),
    ],
)
def test_the_path_includes_the_root_path(path: str, root_path: str, expected: tuple[str, str, bytes]) -> None:
    assert paths(path, root_path=root_path) == expected


def test_a_stage_as_the_root_path() -> None:
    assert paths("/prod/a", "/prod", strip=False) == ("/prod", "/prod/a", b"/prod/a")
    assert paths("/prod/a", "/prod", strip=False, root_path="/prod") == ("/prod", "/prod/a", b"/prod/a")
    assert paths("/prod/v1/a", "/prod", strip=False, root_path="/v1") == ("/prod/v1", "/prod/v1/a", b"/prod/v1/a")
    assert paths("/prod/a", "/prod", strip=False, base_path="/prod") == ("", "/a", b"/a")


@pytest.mark.parametrize(
    ("path", "base_path", "root_path", "expected"),
    [
        ("/prod/a", "", "", ("", "/a", b"/a")),
        ("/prod", "", "", ("", "/", b"/")),
        ("/prod/", "", "", ("", "/", b"/")),
        ("/prod//a//", "", "", ("", "//a//", b"//a//")),
        ("/prod/prod/a", "", "", ("", "/prod/a", b"/prod/a")),
        ("/prod/a%2Fb%20c", "", "", ("", "/a/b c", b"/a%2Fb%20c")),
        ("/prod/%70rod/a", "", "", ("", "/prod/a", b"/%70rod/a")),
        ("/prod/prod%2Fa", "", "", ("", "/prod/a", b"/prod%2Fa")),
        # A base path follows the stage, or names it.
        ("/prod/v1/a", "/v1", "", ("", "/a", b"/a")),
        ("/prod/v10/a", "/v1", "", ("", "/v10/a", b"/v10/a")),
        ("/prod/v1/a", "/prod/v1", "", ("", "/a", b"/a")),
        ("/prod/a", "/prod", "", ("", "/a", b"/a")),
        ("/prod/prod/a", "/prod", "", ("", "/prod/a", b"/prod/a")),
        # A root path of its own, with which a path may begin already.
        ("/prod/a", "", "/api", ("/api", "/api/a", b"/api/a")),
        ("/prod/api/a", "", "/api", ("/api", "/api/a", b"/api/a")),
        ("/prod/apiary", "", "/api", ("/api", "/api/apiary", b"/api/apiary")),
        ("/prod/v1/a", "/v1", "/api", ("/api", "/api/a", b"/api/a")),
        # A root path that names the stage.
        ("/prod/a", "", "/prod", ("/prod", "/prod/a", b"/prod/a")),
        ("/prod/prod/a", "", "/prod", ("/prod", "/prod/prod/a", b"/prod/prod/a")),
        ("/prod/a", "", "/prod/api", ("/prod/api", "/prod/api/a", b"/prod/api/a")),
        ("/prod/a", "", "/production", ("/production", "/production/a", b"/production/a")),
        ("/prod/v1/a", "/v1", "/prod", ("/prod", "/prod/a", b"/prod/a")),
    ],
)
def test_a_stage_is_stripped(path: str, base_path: str, root_path: str, expected: tuple[str, str, bytes]) -> None:
    assert paths(path, "/prod", base_path=base_path, root_path=root_path) == expected


@pytest.mark.parametrize(
    ("path", "stage", "base_path", "root_path", "expected"),
    [
        ("/prod/v1/x", "/prod", "/v1", "", ("/prod", "/prod/x", b"/prod/x")),
        ("/prod/v10/x", "/prod", "/v1", "", ("/prod", "/prod/v10/x", b"/prod/v10/x")),
        ("/prod/v1/x", "/prod", "/prod/v1", "", ("", "/x", b"/x")),
        ("/prod/v1/x", "/prod/v1", "/prod", "", ("/v1", "/v1/x", b"/v1/x")),
        ("/prod/items", "/prod", "", "/api", ("/prod/api", "/prod/api/items", b"/prod/api/items")),
        ("/prod/items", "/prod", "", "/prod/api", ("/prod/api", "/prod/api/items", b"/prod/api/items")),
        ("/prod/api/items", "/prod", "", "/api", ("/prod/api", "/prod/api/items", b"/prod/api/items")),
        ("/prod/v1/x", "/prod", "/v1", "/api", ("/prod/api", "/prod/api/x", b"/prod/api/x")),
        ("*", "", "", "/api", ("/api", "/api/*", b"/api/*")),
        ("*", "", "", "", ("", "*", b"*")),
    ],
)
def test_root_and_base_paths_where_the_stage_is_the_root_path(
    path: str, stage: str, base_path: str, root_path: str, expected: tuple[str, str, bytes]
) -> None:
    assert paths(path, stage, strip=False, root_path=root_path, base_path=base_path) == expected


def test_a_base_path_that_a_proxy_replaces_by_a_root_path() -> None:
    assert paths("/base/a", base_path="/base", root_path="/shown") == ("/shown", "/shown/a", b"/shown/a")


segments = st.lists(st.text(st.characters(exclude_characters="/%", codec="utf-8"), min_size=1, max_size=5), max_size=4)


@given(segments, segments)
def test_adding_and_removing(prefix_parts: list[str], parts: list[str]) -> None:
    prefix = "".join(f"/{part}" for part in prefix_parts)
    path = "/" + "/".join(parts)
    raw_path = quote(path).encode()
    longer, raw_longer = add_prefix(path, raw_path, prefix)
    assert unquote(raw_longer.decode()) == longer
    assert has_prefix(longer, prefix)
    assert remove_prefix(longer, raw_longer, prefix) == (path, raw_path)


@given(st.text(max_size=8), segments, segments, segments, st.booleans())
def test_any_path_lies_below_its_root(
    rest: str, stage: list[str], base: list[str], root: list[str], strip: bool
) -> None:
    """Lone surrogates too, which JSON may carry."""
    stage_path, base_path, root_path = ("".join(f"/{part}" for part in parts) for parts in (stage, base, root))
    path = f"{stage_path}/{rest}"
    raw_path = path.encode("utf-8", "surrogatepass")
    request = HttpRequest("GET", path, raw_path, b"", [], b"", None, None, "https", "1.1", stage_path)
    scope = http_scope(request, {}, root_path=root_path, base_path=base_path, strip=strip)
    assert scope["path"].startswith("/")
    assert has_prefix(scope["path"], scope["root_path"])
    assert isinstance(scope["raw_path"], bytes)


EVENTS_TRACE = "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e"
LAMBDAS_TRACE = "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e;Parent=53995c3f42cd8ad8;Sampled=1"
SENT = [("X-Amzn-Trace-Id", EVENTS_TRACE)]


class TraceApp:
    """Keeps the tracing headers of each request, and how many headers it had."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[str], int]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        traces = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-amzn-trace-id"]
        self.seen.append((traces, len(scope["headers"])))
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})


@pytest.mark.anyio
@pytest.mark.parametrize("event", [function_url_event(), rest_api_event(headers=SENT), alb_event(headers=SENT)])
async def test_the_trace_is_the_one_that_lambda_decided(event: dict[str, Any]) -> None:
    """It names the parent segment and the sampling. Without one, or with an empty one, the event's stays."""
    app = TraceApp()
    handler = StreamingAdapter(app, lifespan="off")
    await serve(handler, event, Lambda_Runtime_Trace_Id=LAMBDAS_TRACE)
    await serve(handler, event)
    await serve(handler, event, Lambda_Runtime_Trace_Id="")
    count = app.seen[0][1]
    assert app.seen == [([LAMBDAS_TRACE], count), ([EVENTS_TRACE], count), ([EVENTS_TRACE], count)]


@pytest.mark.anyio
async def test_an_event_without_a_trace_gets_lambdas() -> None:
    app = TraceApp()
    event = function_url_event(headers={"host": "h"})
    await serve(StreamingAdapter(app, lifespan="off"), event, Lambda_Runtime_Trace_Id=LAMBDAS_TRACE)
    await serve(StreamingAdapter(app, lifespan="off"), event)
    assert app.seen == [([LAMBDAS_TRACE], 2), ([], 1)]


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (None, LAMBDAS_TRACE),
        (SimpleNamespace(aws_request_id="id-1"), LAMBDAS_TRACE),
        # Of our runtime, where the environment may be another invocation's.
        (SimpleNamespace(trace_id=None), EVENTS_TRACE),
    ],
)
def test_the_context_of_awss_own_runtime_has_no_trace(
    context: object, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in the environment alone."""
    app = TraceApp()
    handler = StreamingAdapter(app, lifespan="off", invoke_mode="buffered")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", LAMBDAS_TRACE)
    handler(function_url_event(), context)
    monkeypatch.delenv("_X_AMZN_TRACE_ID")
    handler(function_url_event(), context)
    handler.close()
    assert [traces for traces, _ in app.seen] == [[expected], [EVENTS_TRACE]]
