"""The prelude: split off at any fragmentation; read, or refused with the one documented error."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_stream.local import prelude
from asgi_stream.local.prelude import (
    DELIMITER,
    INTEGRATION_RESPONSE,
    InvalidPrelude,
    ResponseDecoder,
    ResponseStart,
    parse_prelude,
)

STREAM = b'{"statusCode":201,"headers":{"X-A":"1"},"cookies":["a=1"]}' + DELIMITER + b"\x00body" + DELIMITER + b"more"
START = ResponseStart(201, [(b"x-a", b"1"), (b"set-cookie", b"a=1")])
BODY = b"\x00body" + DELIMITER + b"more"


def decode(pieces: list[bytes]) -> tuple[ResponseStart | None, bytes]:
    decoder = ResponseDecoder("streaming", INTEGRATION_RESPONSE)
    body = b"".join([decoder.feed(piece) for piece in pieces])
    decoder.close()
    return decoder.start, body


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_every_cut_gives_the_same(cut: int) -> None:
    assert decode([STREAM[:cut], STREAM[cut:]]) == (START, BODY)


def test_byte_by_byte_gives_the_same() -> None:
    assert decode([bytes([byte]) for byte in STREAM]) == (START, BODY)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_fragmentation_gives_the_same(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in itertools.pairwise(edges)]
    assert decode(pieces) == (START, BODY)


@given(st.binary(max_size=64))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    decoder = ResponseDecoder("streaming", INTEGRATION_RESPONSE)
    try:
        decoder.feed(data)
        decoder.close()
    except InvalidPrelude:
        return
    assert decoder.start is not None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["statusCode", "headers", "cookies"]) | st.text(), x)))  # fmt: skip # noqa: E501
def test_whatever_json_comes_is_read_or_refused(value: object) -> None:
    try:
        start = parse_prelude(json.dumps(value).encode())
    except InvalidPrelude:
        return
    assert 200 <= start.status <= 599


def test_the_delimiter_is_found_up_to_the_limit_at_any_fragmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prelude, "MAX_PRELUDE", 20)
    fits = b"{}".ljust(20) + DELIMITER + b"x"
    assert decode([fits])[1] == b"x"
    assert decode([bytes([byte]) for byte in fits])[1] == b"x"
    too_long = b"{}".ljust(21) + DELIMITER + b"x"
    for pieces in ([too_long], [bytes([byte]) for byte in too_long]):
        with pytest.raises(InvalidPrelude, match="within the first 20 bytes"):
            decode(pieces)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "1",
        "null",
        "[" * 100_000,
        '{"statusCode": "200"}',
        '{"statusCode": true}',
        '{"statusCode": null}',
        '{"statusCode": 200.0}',
        '{"statusCode": 199}',
        '{"statusCode": 600}',
        '{"headers": []}',
        '{"headers": {"a": 1}}',
        '{"headers": {"": "1"}}',
        '{"headers": {"a b": "1"}}',
        '{"headers": {"a": "1\\r\\nb: 2"}}',
        '{"headers": {"a": "\\u2603"}}',
        '{"cookies": {}}',
        '{"cookies": [1]}',
        '{"cookies": ["a\\n"]}',
    ],
)
def test_illegal_preludes(text: str) -> None:
    with pytest.raises(InvalidPrelude):
        parse_prelude(text.encode())


def test_no_delimiter() -> None:
    with pytest.raises(InvalidPrelude, match="ended after 9 bytes"):
        decode([b"{}" + DELIMITER[:-1]])


def test_what_becomes_of_the_headers() -> None:
    text = b'{"headers":{"Content-Length":"5","Connection":"close","Proxy-A":"x","X":" \xc3\xa4 "}}'
    assert parse_prelude(text) == ResponseStart(200, [(b"x-amzn-remapped-content-length", b"5"), (b"x", b"\xe4")])


@pytest.mark.parametrize(
    ("mode", "content_type", "expected"),
    [
        ("streaming", None, b"application/octet-stream"),
        ("streaming", "text/plain", b"text/plain"),
        ("buffered", None, b"application/json"),
        ("buffered", INTEGRATION_RESPONSE, INTEGRATION_RESPONSE.encode()),
    ],
)
def test_without_a_prelude_all_is_verbatim(mode: str, content_type: str | None, expected: bytes) -> None:
    decoder = ResponseDecoder(mode, content_type)
    assert decoder.start == ResponseStart(200, [(b"content-type", expected)])
    assert decoder.feed(STREAM) == STREAM
    decoder.close()
