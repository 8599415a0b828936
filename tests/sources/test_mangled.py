"""No event, however mangled, gives anything but a request or the one documented error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_stream.asgi.prefix import has_prefix
from asgi_stream.asgi.scope import http_scope
from asgi_stream.errors import AnswerTooLarge, EventError
from asgi_stream.sources import find_source
from tests.sources.recorded import NAMES, recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

prefixes = st.sampled_from(["", "/v1", "/prod", "/a/b", "/é"])
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["", "/", "/prod", "2.0", "1.0", "%", "%zz", ",", "[", ":", "base64", "\ud800%41", "viewer-request"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any) -> Iterator[Any]:
    """Every object and list in a JSON value that has something in it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if inner:
        yield value
    for part in inner:
        yield from places(part)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_no_event_gives_anything_but_a_request_or_the_one_error(name: str, data: st.DataObject) -> None:
    event = recorded(name)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(places(event)) or [{}]))
        if not place:
            break
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if data.draw(st.booleans()):
            place[key] = data.draw(json_values)
        elif isinstance(place, dict):
            del place[key]
    event = json.loads(json.dumps(event))
    try:
        source = find_source(event)
        request = source.to_request(event)
    except EventError:
        return
    assert request.method == request.method.upper() != ""
    assert isinstance(request.path, str)
    assert request.path.startswith(request.root_path)
    assert isinstance(request.raw_path, bytes)
    assert isinstance(request.query_string, bytes)
    assert {type(part) for pair in request.headers for part in pair} <= {bytes}
    assert request.scheme in ("http", "https")
    root_path, base_path = data.draw(prefixes), data.draw(prefixes)
    scope = http_scope(request, {}, root_path=root_path, base_path=base_path, strip=data.draw(st.booleans()))
    assert has_prefix(scope["path"], scope["root_path"])
    # What became a request can be answered.
    try:
        answer = source.to_answer(event, 200, [(b"set-cookie", b"a=1")], b"x", True)
    except AnswerTooLarge:
        return
    assert json.loads(json.dumps(answer))["body"] == "x"


@given(event=json_values)
def test_nor_does_any_other_json(event: object) -> None:
    with pytest.raises(EventError):
        find_source(event)
