"""The ASGI response as a table: every message in every state, every wrong value, by its sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_stream.asgi.response import TRANSITIONS, Body, PathSend, ResponseMachine, ResponseState, Start
from asgi_stream.errors import AppError
from tests.support.values import fields

START: dict[str, Any] = {"type": "http.response.start", "status": 200}
PART: dict[str, Any] = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST: dict[str, Any] = {"type": "http.response.body", "body": b"x"}
MESSAGES: dict[str, dict[str, Any]] = {
    "http.response.start": START,
    "http.response.body": PART,
    "last http.response.body": LAST,
    "http.response.pathsend": {"type": "http.response.pathsend", "path": "/a/file"},
}
WAY_TO: dict[ResponseState, list[dict[str, Any]]] = {
    ResponseState.NOTHING: [],
    ResponseState.BARE_HEAD: [START],
    ResponseState.HEAD: [START, PART],
    ResponseState.COMPLETE: [START, LAST],
}


def machine_after(*messages: dict[str, Any], method: str = "GET") -> ResponseMachine:
    machine = ResponseMachine(method)
    for message in messages:
        machine.accept(message)
    return machine


@pytest.mark.parametrize("state", ResponseState)
@pytest.mark.parametrize("kind", MESSAGES)
def test_every_message_in_every_state(state: ResponseState, kind: str) -> None:
    machine = machine_after(*WAY_TO[state])
    assert machine.state is state
    expected = TRANSITIONS.get((state, kind))
    if expected is None:
        with pytest.raises(AppError, match="is out of turn: "):
            machine.accept(MESSAGES[kind])
        assert machine.state is state
    else:
        machine.accept(MESSAGES[kind])
        assert machine.state is expected


def test_a_response() -> None:
    machine = ResponseMachine("GET")
    headers = [[b"Content-Type", b" text/plain "], (b"X-\xc3".replace(b"\xc3", b"A"), b"\xff\t1")]
    assert fields(machine.accept({"type": "http.response.start", "status": 418, "headers": iter(headers)})) == fields(
        Start(418, [(b"content-type", b"text/plain"), (b"x-a", b"\xff\t1")])
    )
    data = bytearray(b"ab")
    assert fields(machine.accept({"type": "http.response.body", "body": data, "more_body": True})) == fields(
        Body(data, False)
    )
    view = memoryview(b"cd")
    assert fields(machine.accept({"type": "http.response.body", "body": view, "more_body": True})) == fields(
        Body(view, False)
    )
    assert fields(machine.accept({"type": "http.response.body"})) == fields(Body(b"", True))


def test_a_view_of_anything_goes_out_as_its_bytes() -> None:
    numbers = memoryview(b"\x01\x00\x02\x00").cast("H")
    assert fields(machine_after(START).accept({"type": "http.response.body", "body": numbers})) == fields(
        Body(b"\x01\x00\x02\x00", True)
    )
    backwards = memoryview(b"abc")[::-1]
    assert fields(machine_after(START).accept({"type": "http.response.body", "body": backwards})) == fields(
        Body(b"cba", True)
    )


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({"type": "http.response.start"}, "status of http.response.start must be an int, not None"),
        ({"type": "http.response.start", "status": "200"}, "must be an int, not '200'"),
        ({"type": "http.response.start", "status": True}, "must be an int, not True"),
        ({"type": "http.response.start", "status": 199}, "must be from 200 to 599, not 199"),
        ({"type": "http.response.start", "status": 600}, "must be from 200 to 599, not 600"),
        ({**START, "headers": 7}, "must be pairs of bytes, not int"),
        ({**START, "headers": [(b"a",)]}, "must be pairs of bytes"),
        ({**START, "headers": [("a", b"b")]}, "must be a pair of bytes: 'a' comes with bytes"),
        ({**START, "headers": [(b"a", "b")]}, "must be a pair of bytes: b'a' comes with str"),
        ({**START, "headers": [(b"", b"b")]}, "b'' is not a legal header name"),
        ({**START, "headers": [(b"a b", b"b")]}, "is not a legal header name"),
        ({**START, "headers": [(b"a:", b"b")]}, "is not a legal header name"),
        ({**START, "headers": [(b"a\r\nb", b"b")]}, "is not a legal header name"),
        ({**START, "headers": [(b"a", b"b\r\nc: d")]}, "the header a has an illegal value"),
        ({**START, "headers": [(b"a", b"b\n")]}, "the header a has an illegal value"),
        ({**START, "headers": [(b"a", b"\x00")]}, "the header a has an illegal value"),
        ({**START, "headers": [(b"content-length", b"many")]}, "content-length must be one number of bytes"),
        ({**START, "headers": [(b"content-length", b"1"), (b"content-length", b"2")]}, "must be one number"),
        ({**START, "trailers": True}, "http.response.trailers is not offered"),
        ({"type": "http.response.push"}, "'http.response.push' is not a message"),
        ({"type": None}, "None is not a message"),
        ({}, "must be a dict with a type"),
        ([], "must be a dict with a type"),
        (None, "must be a dict with a type"),
    ],
)
def test_what_cannot_start_a_response(message: Any, sentence: str) -> None:
    machine = ResponseMachine("GET")
    with pytest.raises(AppError, match=sentence):
        machine.accept(message)
    machine.accept(START)


@pytest.mark.parametrize("body", ["text", None, 7, [b"x"]])
def test_what_is_no_body(body: object) -> None:
    machine = machine_after(START)
    with pytest.raises(AppError, match="must be bytes, bytearray or memoryview"):
        machine.accept({"type": "http.response.body", "body": body})
    machine.accept(LAST)


def with_length(length: int, **changes: Any) -> dict[str, Any]:
    return {**START, "headers": [(b"Content-Length", b"%d" % length)], **changes}


def test_a_body_longer_than_its_content_length() -> None:
    machine = machine_after(with_length(1), PART)
    with pytest.raises(AppError, match="longer than its content-length of 1 bytes"):
        machine.accept(PART)


def test_a_body_shorter_than_its_content_length() -> None:
    machine = machine_after(with_length(3), PART)
    with pytest.raises(AppError, match="ends after 2 bytes, its content-length says 3"):
        machine.accept(LAST)


def test_a_body_as_long_as_its_content_length() -> None:
    assert machine_after(with_length(2), PART, LAST).state is ResponseState.COMPLETE


def test_head_keeps_the_content_length_and_sends_no_body() -> None:
    machine = machine_after(with_length(3), method="HEAD")
    assert fields(machine.accept(PART)) == fields(Body(b"", False))
    assert fields(machine.accept(LAST)) == fields(Body(b"", True))


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body(status: int) -> None:
    machine = machine_after({**START, "status": status})
    with pytest.raises(AppError, match=f"status {status} has no body, and 1 bytes were sent"):
        machine.accept(PART)
    assert fields(machine.accept({"type": "http.response.body"})) == fields(Body(b"", True))


def test_a_path() -> None:
    message = {"type": "http.response.pathsend", "path": "/a/file"}
    assert fields(machine_after(START).accept(message)) == fields(PathSend("/a/file", None, False))
    assert fields(machine_after(with_length(3)).accept(message)) == fields(PathSend("/a/file", 3, False))
    assert fields(machine_after(START, method="HEAD").accept(message)) == fields(PathSend("/a/file", None, True))


def test_a_relative_path() -> None:
    """Starlette's FileResponse sends the path that it was given."""
    message = {"type": "http.response.pathsend", "path": "a/file"}
    assert fields(machine_after(START).accept(message)) == fields(PathSend("a/file", None, False))


@pytest.mark.parametrize("path", [None, b"/a", ""])
def test_what_is_no_path(path: object) -> None:
    machine = machine_after(START)
    with pytest.raises(AppError, match=r"the path of http.response.pathsend must be a str, not"):
        machine.accept({"type": "http.response.pathsend", "path": path})
    machine.accept(LAST)


@pytest.mark.parametrize("sent", [(), (START,), (START, PART), (START, LAST)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_path_that_was_not_asked_for(sent: Any, method: str) -> None:
    machine = ResponseMachine(method, pathsend=False)
    for message in sent:
        machine.accept(message)
    state = machine.state
    with pytest.raises(AppError, match=r"http.response.pathsend is not offered in the scope: set pathsend=True"):
        machine.accept({"type": "http.response.pathsend", "path": "/a/file"})
    assert machine.state is state


values = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.binary(max_size=5))
messages = st.dictionaries(
    st.sampled_from(["type", "status", "headers", "body", "more_body"]),
    st.one_of(
        values,
        st.sampled_from(["http.response.start", "http.response.body", 200]),
        st.lists(st.tuples(values, values), max_size=3),
    ),
)


@given(st.lists(messages, max_size=6))
def test_any_messages_are_taken_or_refused_with_the_one_error(sent: list[dict[str, Any]]) -> None:
    machine = ResponseMachine("GET")
    for message in sent:
        before = machine.state
        try:
            machine.accept(message)
        except AppError:
            assert machine.state is before
