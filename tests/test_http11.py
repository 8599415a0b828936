"""The HTTP/1.1 client core: every case whole, byte by byte and with trailing bytes; any fragmentation, same replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_stream.runtime.http11 import (
    CHUNK,
    MAX_HEAD,
    ProtocolError,
    Reply,
    ReplyParser,
    chunk,
    header_lines,
    last_chunk,
    request_line,
)
from tests.support.values import fields

REPLIES: dict[str, tuple[bytes, Reply]] = {
    "length": (
        b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n',
        Reply(202, {"content-type": "application/json", "content-length": "16"}, b'{"status":"OK"}\n', True),
    ),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Reply(200, {"content-length": "0"}, b"", True)),
    "no body by status": (b"HTTP/1.1 204 No Content\r\n\r\n", Reply(204, {}, b"", True)),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        Reply(200, {"transfer-encoding": "chunked"}, b"abc0123456789", True),
    ),
    "chunked with trailers": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n1 \r\nx\r\n000\r\nA: b\r\nC: d\r\n\r\n",
        Reply(200, {"transfer-encoding": "Chunked"}, b"x", True),
    ),
    "after 100 and 103": (
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!"
        ),
        Reply(200, {"content-length": "1"}, b"!", True),
    ),
    "closing": (
        b"HTTP/1.1 413 Too Large\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n",
        Reply(413, {"connection": "Close", "content-length": "0"}, b"", False),
    ),
    "HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Reply(200, {"content-length": "2"}, b"ok", False),
    ),
    "no reason, white space, joined headers": (
        b"HTTP/1.1 200\r\nX:  \t a b \t\r\nx:c\r\nContent-Length:0\r\n\r\n",
        Reply(200, {"x": "a b, c", "content-length": "0"}, b"", True),
    ),
    "Latin-1": (
        b"HTTP/1.1 200 \xfc\r\nX: \xfc\r\nContent-Length: 0\r\n\r\n",
        Reply(200, {"x": "\xfc", "content-length": "0"}, b"", True),
    ),
}
FOLLOWING = b"HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\n."


def replies_of(pieces: list[bytes]) -> list[object]:
    parser = ReplyParser()
    replies: list[Reply] = []
    for piece in pieces:
        parser.receive_data(piece)
        while not replies or replies[-1].keep_alive:
            reply = parser.next_reply()
            if reply is None:
                break
            replies.append(reply)
    return [fields(reply) for reply in replies]


@pytest.mark.parametrize("case", REPLIES)
class TestReplies:
    def test_whole(self, case: str) -> None:
        data, expected = REPLIES[case]
        assert replies_of([data]) == [fields(expected)]

    def test_byte_by_byte(self, case: str) -> None:
        data, expected = REPLIES[case]
        assert replies_of([data[i : i + 1] for i in range(len(data))]) == [fields(expected)]

    def test_nothing_before_the_last_byte(self, case: str) -> None:
        data, _ = REPLIES[case]
        parser = ReplyParser()
        for i in range(len(data) - 1):
            parser.receive_data(data[i : i + 1])
            assert parser.next_reply() is None

    def test_with_trailing_bytes(self, case: str) -> None:
        data, expected = REPLIES[case]
        replies = replies_of([data + FOLLOWING + FOLLOWING[:20]])
        follows = [Reply(201, {"content-length": "1"}, b".", True)] if expected.keep_alive else []
        assert replies == [fields(reply) for reply in (expected, *follows)]

    def test_closed_at_every_byte(self, case: str) -> None:
        data, _ = REPLIES[case]
        for i in range(len(data)):
            parser = ReplyParser()
            parser.receive_data(data[:i])
            parser.receive_data(b"")
            with pytest.raises(ProtocolError, match="closed"):
                parser.next_reply()


@given(st.data())
def test_any_fragmentation_gives_the_same_replies(data: st.DataObject) -> None:
    cases = [case for case in REPLIES.values() if case[1].keep_alive]
    chosen = data.draw(st.lists(st.sampled_from(cases), min_size=1, max_size=4))
    stream = b"".join(wire for wire, _ in chosen)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]
    assert replies_of(pieces) == [fields(reply) for _, reply in chosen]


LINES = st.sampled_from(
    [
        b"Content-Type: application/json", b"content-type:text/plain", b"X: a b", b"X:  a", b"X: a ", b"X:", b"X: ",
        b"X: a: b", b"X: \xfc", b"X: a\tb", b"X: a\x00", b"X: a\nY: b", b"no colon", b"nocolon", b"Content-Type",
        b" folded", b"Connection: close",
        b"Connection: keep-alive", b"Content-Length: 3", b"Content-Length: 2", b"Content-Length: 03",
        b"Content-Length: +3", b"Content-Length: 999", b"Transfer-Encoding: chunked",
        b"Lambda-Runtime-Trace-Id: Root=1",
    ]
)  # fmt: skip


@given(
    st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 202 Accepted", b"HTTP/1.1 200 Fine", b"HTTP/1.0 200 OK"]),
    st.lists(LINES, max_size=4),
    st.sampled_from([b"", b"abc", b"abcd", b"3\r\nabc\r\n0\r\n\r\n"]),
)
def test_a_reply_in_one_piece_is_the_reply_in_many(first: bytes, lines: list[bytes], body: bytes) -> None:
    """The short way of a reply that comes whole must not be told from the long one."""
    data = b"\r\n".join([first, b"Content-Length: 3", *lines]) + b"\r\n\r\n" + body

    def outcome(pieces: list[bytes]) -> object:
        try:
            return replies_of(pieces)
        except ProtocolError:
            return ProtocolError

    in_many = outcome([data[i : i + 1] for i in range(len(data))])
    assert outcome([data]) == in_many
    assert outcome([data]) == in_many  # now that the names are known


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_replies_or_the_one_error(data: bytes, after_a_head: bool) -> None:
    parser = ReplyParser()
    parser.receive_data((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" if after_a_head else b"") + data)
    parser.receive_data(b"")
    try:
        while parser.next_reply() is not None:
            pass
    except ProtocolError:
        pass


def test_a_body_may_end_with_the_connection() -> None:
    parser = ReplyParser()
    parser.receive_data(b"HTTP/1.1 500 Oh\r\nConnection: close\r\n\r\npart")
    assert parser.next_reply() is None
    parser.receive_data(b" two")
    assert parser.next_reply() is None
    parser.receive_data(b"")
    assert fields(parser.next_reply()) == fields(Reply(500, {"connection": "close"}, b"part two", False))
    with pytest.raises(ProtocolError, match="close the connection"):
        parser.next_reply()


@pytest.mark.parametrize(
    "data",
    [
        b"SPDY/9 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 99 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nName : x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno trailer\r\n\r\n",
    ],
)
def test_what_is_not_http(data: bytes) -> None:
    parser = ReplyParser()
    parser.receive_data(data)
    with pytest.raises(ProtocolError):
        parser.next_reply()


@pytest.mark.parametrize("size", [1, 100_000])
def test_the_longest_head(size: int) -> None:
    start, end = b"HTTP/1.1 204 ", b"\r\n\r\n"
    longest = start + b"x" * (MAX_HEAD - len(start)) + end
    replies = replies_of([longest[i : i + size] for i in range(0, len(longest), size)])
    assert replies == [fields(Reply(204, {}, b"", True))]
    too_long = start + b"x" * (MAX_HEAD - len(start) + 1) + end
    with pytest.raises(ProtocolError, match="longer than"):
        replies_of([too_long[i : i + size] for i in range(0, len(too_long), size)])


def test_an_idle_parser_has_seen_nothing_of_the_next_reply() -> None:
    def idle_after(*pieces: bytes, take: bool = True) -> bool:
        parser = ReplyParser()
        for piece in pieces:
            parser.receive_data(piece)
        if take:
            parser.next_reply()
        return parser.idle

    assert idle_after(take=False)
    assert not idle_after(FOLLOWING, take=False)
    assert idle_after(FOLLOWING)
    assert not idle_after(FOLLOWING + b"H")
    assert not idle_after(FOLLOWING, b"")


def test_the_lines_of_a_request() -> None:
    assert request_line("GET", "/x") == b"GET /x HTTP/1.1\r\n"
    assert header_lines([("Host", "h:1"), ("A", "b\tc"), ("C", "\xfc\x85")]) == (
        b"Host: h:1\r\nA: b\tc\r\nC: \xfc\x85\r\n"
    )


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/\x00", "/\xfc"])
def test_a_target_cannot_break_out_of_its_line(target: str) -> None:
    with pytest.raises(ProtocolError, match="target"):
        request_line("GET", target)


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\n", "\x00", "\x7f", "€"])
def test_a_header_cannot_break_out_of_its_line(value: str) -> None:
    with pytest.raises(ProtocolError, match="header A"):
        header_lines([("A", value)])


def test_chunks() -> None:
    for data in (b"x" * 255, bytearray(16), memoryview(bytes(10))):
        size, same, end = chunk(data)
        assert same is data
        assert (size, end) == (b"%x\r\n" % len(data), b"\r\n")
        assert b"".join(chunk(data)) == CHUNK % (len(data), data)
    assert last_chunk() == b"0\r\n\r\n"
    assert last_chunk([("A", "b"), ("C", "d")]) == b"0\r\nA: b\r\nC: d\r\n\r\n"
