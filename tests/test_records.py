"""Records are named tuples in all but how they are made."""

from __future__ import annotations

import pickle

import pytest

from asgi_stream import Prelude
from asgi_stream.runtime.http11 import Reply
from asgi_stream.runtime.requests import Invocation

REPLY = Reply(200, {"a": "b"}, b"c", True)


def test_fields_by_name_and_by_place() -> None:
    status, headers, body, keep_alive = REPLY
    assert (status, headers, body, keep_alive) == (REPLY.status, REPLY.headers, REPLY.body, REPLY.keep_alive)
    assert Reply._fields == ("status", "headers", "body", "keep_alive")
    assert Invocation("id", b"{}", tenant_id="t").tenant_id == "t"


def test_equal_where_the_fields_are() -> None:
    assert Reply(status=200, headers={"a": "b"}, body=b"c", keep_alive=True) == REPLY
    assert Reply(201, {"a": "b"}, b"c", True) != REPLY
    assert hash(Prelude(200, ())) == hash(Prelude(200, ()))  # type: ignore[arg-type]


def test_shown_by_their_fields() -> None:
    assert repr(REPLY) == "Reply(status=200, headers={'a': 'b'}, body=b'c', keep_alive=True)"


def test_another_with_some_fields_changed() -> None:
    assert REPLY._replace(status=204, body=b"") == Reply(204, {"a": "b"}, b"", True)
    with pytest.raises(TypeError, match="colour"):
        REPLY._replace(colour="red")


def test_matched() -> None:
    match REPLY:
        case Reply(200, {"a": "b"}):  # type: ignore[misc]  # mypy looks for a literal __match_args__
            pass
        case _:
            pytest.fail("no match")


def test_frozen() -> None:
    with pytest.raises(AttributeError):
        REPLY.status = 201
    with pytest.raises(AttributeError):
        REPLY.colour = "red"  # type: ignore[attr-defined]


def test_pickled() -> None:
    assert pickle.loads(pickle.dumps(Prelude(200, {"a": "b"}, ("c=d",)))) == Prelude(200, {"a": "b"}, ("c=d",))
