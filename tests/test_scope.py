"""Paths in the scope: root paths and base paths in whole segments, decoded and raw alike."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_stream.asgi.prefix import add_prefix, has_prefix, remove_prefix
from asgi_stream.asgi.scope import http_scope
from asgi_stream.sources import HttpRequest


def paths(path: str, source_root: str = "", *, root_path: str = "", base_path: str = "") -> tuple[str, str, bytes]:
    """(root_path, path, raw_path) of the scope for a request of a path, percent-encoded."""
    request = HttpRequest("GET", unquote(path), path.encode(), b"", [], b"", None, None, "https", "1.1", source_root)
    scope = http_scope(request, {}, root_path=root_path, base_path=base_path)
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


def test_what_the_source_knows_of_it() -> None:
    assert paths("/prod/a", "/prod") == ("/prod", "/prod/a", b"/prod/a")
    assert paths("/prod/a", "/prod", root_path="/prod") == ("/prod", "/prod/a", b"/prod/a")
    assert paths("/prod/v1/a", "/prod", root_path="/v1") == ("/prod/v1", "/prod/v1/a", b"/prod/v1/a")
    assert paths("/prod/a", "/prod", base_path="/prod") == ("", "/a", b"/a")


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
def test_behind_a_stage(
    path: str, stage: str, base_path: str, root_path: str, expected: tuple[str, str, bytes]
) -> None:
    assert paths(path, stage, root_path=root_path, base_path=base_path) == expected


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


@given(st.text(max_size=8), segments, segments, segments)
def test_any_path_lies_below_its_root(rest: str, stage: list[str], base: list[str], root: list[str]) -> None:
    """Lone surrogates too, which JSON may carry."""
    stage_path, base_path, root_path = ("".join(f"/{part}" for part in parts) for parts in (stage, base, root))
    path = f"{stage_path}/{rest}"
    raw_path = path.encode("utf-8", "surrogatepass")
    request = HttpRequest("GET", path, raw_path, b"", [], b"", None, None, "https", "1.1", stage_path)
    scope = http_scope(request, {}, root_path=root_path, base_path=base_path)
    assert scope["path"].startswith("/")
    assert has_prefix(scope["path"], scope["root_path"])
    assert isinstance(scope["raw_path"], bytes)
