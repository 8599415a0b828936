"""Each reply that the platform is known to give, and replies that no platform should; on real sockets.

The rows of what Lambda answers, by default and on Managed Instances; the promise is checked after each.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.loop import MOST_FAILURES
from asgi_stream.runtime.requests import next_invocation
from tests.faults.promise import exited, kept, serve, two_events, went_on
from tests.faults.server import OK, Fault, reply
from tests.support.memory import MemoryStream, connects_to

TOO_LARGE = reply(413, b"ResponseTooLarge")
TRUNCATED = reply(400, b'{"errorType":"TruncatedHTTPRequest"}')
FORBIDDEN = reply(403, b'{"errorType":"InvalidStateTransition"}')
FAILED = reply(500, b"oh")
LARGEST_HEAD = 65_536


class Row(NamedTuple):
    """``exits`` is None where the runtime goes on by default, else the number of requests after which it exits.

    On Managed Instances it always goes on. ``log`` is what the log says.
    """

    faults: dict[int, Fault]
    exits: int | None
    log: str
    big: bool = False


ROWS = {
    "truncated body, 400": Row({2: Fault(say=TRUNCATED)}, None, "refused the response: status 400"),
    "truncated body, no reply": Row({2: Fault(say=b"", end="close")}, 2, "closed the connection"),
    "truncated body, reset": Row({2: Fault(say=b"", end="reset")}, 2, "no reply from the Runtime API"),
    "too large, after the body": Row({2: Fault(say=TOO_LARGE)}, None, "refused the response: status 413"),
    "too large, early, the rest is read": Row(
        {2: Fault(read=500, say=TOO_LARGE, drain=True)}, None, "refused the response: status 413", big=True
    ),
    "too large, early, the rest is not read": Row(
        {2: Fault(read=500, say=TOO_LARGE, end="wait")},
        None,
        "refused the rest of this response (status 413)",
        big=True,
    ),
    "too large, early, hangs up": Row(
        {2: Fault(read=500, say=TOO_LARGE, end="close")}, None, "refused the response: status 413", big=True
    ),
    "bad mode, 400 and 403 for ever": Row(
        {number: Fault(say=TRUNCATED if number == 2 else FORBIDDEN) for number in (2, 3)},
        3,
        "no next invocation: status 403",
    ),
    "wrong request id, 400": Row(
        {2: Fault(say=reply(400, b"InvalidRequestID"))}, None, "status 400, b'InvalidRequestID'"
    ),
    "second response, 403": Row({2: Fault(say=FORBIDDEN)}, None, "refused the response: status 403"),
    "second response on Managed Instances, 400": Row({2: Fault(say=TRUNCATED)}, None, "status 400"),
    "late or mismatched, 410": Row({2: Fault(say=reply(410, b"Gone"))}, None, "status 410, b'Gone'"),
    "5xx": Row({2: Fault(say=FAILED)}, 2, "status 500, b'oh'"),
    "5xx early": Row({2: Fault(read=500, say=FAILED, end="wait")}, 2, "status 500", big=True),
    "poll refused, 403": Row({1: Fault(say=FORBIDDEN)}, 1, "no next invocation: status 403"),
    "later poll refused, 403": Row({3: Fault(say=FORBIDDEN)}, 3, "no next invocation: status 403"),
    "poll fails, 5xx": Row({1: Fault(say=FAILED)}, 1, "no next invocation: status 500"),
    "poll without an id": Row({1: Fault(say=reply(200, b"{}"))}, 1, "without a usable Lambda-Runtime-Aws-Request-Id"),
    "poll answered by an interim reply and a close": Row(
        {1: Fault(say=b"HTTP/1.1 100 Continue\r\n\r\n", end="close")}, 1, "no next invocation: no reply"
    ),
    "poll answered before it was read": Row(
        {1: Fault(read=5, say=reply(408, b"", "Connection: close"), end="close")}, 1, "status 408"
    ),
    "garbage in place of an event": Row({1: Fault(say=b"\x00\xffgarbage\r\n\r\n", end="close")}, 1, "not an HTTP/1.1"),
    "garbage in place of a reply": Row({2: Fault(say=b"garbage\r\n\r\n", end="wait")}, 2, "not an HTTP/1.1"),
    "a head that is too long": Row(
        {1: Fault(say=reply(200, b"", f"X: {'x' * LARGEST_HEAD}"), end="wait")}, 1, "is longer than 65536 bytes"
    ),
    "a chunk of a wrong size": Row(
        {2: Fault(say=b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n", end="wait")},
        2,
        "a chunk is longer than its size says",
    ),
    # None of these is a fault
    "a byte at a time": Row({number: Fault(piece=1) for number in range(1, 6)}, None, "status 403"),
    "accepted before the body has ended": Row({2: Fault(read=500, say=OK, drain=True)}, None, "status 403", big=True),
    "an interim reply in mid-stream": Row(
        {2: Fault(read=500, say=b"HTTP/1.1 100 Continue\r\n\r\n", drain=True, late=OK)}, None, "status 403", big=True
    ),
    "a part of a reply in mid-stream": Row(
        {2: Fault(read=500, say=OK[:20], drain=True, late=OK[20:])}, None, "status 403", big=True
    ),
    "bytes behind a reply": Row({2: Fault(tail=b"tail")}, None, "status 403"),
    "bytes behind an event": Row({1: Fault(tail=b"HTTP/1.1 200 OK\r\n")}, None, "status 403"),
    "a trailing chunk and trailers": Row(
        {
            2: Fault(
                say=b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"2\r\n{}\r\n3;x=y\r\n   \r\n0\r\nX-Checksum: 1\r\n\r\n"
            )
        },
        None,
        "status 403",
    ),
    "says that it closes, and closes": Row(
        {2: Fault(say=reply(202, b"{}", "Connection: close"), end="close")}, None, "status 403"
    ),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("managed", [False, True], ids=["default", "managed instances"])
def test_a_reply(name: str, managed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    row = ROWS[name]
    server = serve(two_events(first="big-" if row.big else ""), row.faults, managed=managed)
    kept(server)
    if managed or row.exits is None:
        went_on(server)
    else:
        exited(server, row.exits)
    assert row.log in capsys.readouterr().err


@pytest.mark.parametrize("managed", [False, True], ids=["default", "managed instances"])
def test_refused(managed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """The port is gone when the runtime needs another connection: it exits, on Managed Instances after some tries."""
    say = reply(200, two_events()[0], "Lambda-Runtime-Aws-Request-Id: id-1", "Connection: close")
    server = serve([], {1: Fault(say=say, end="gone")}, managed=managed)
    exited(server, 1)
    log = capsys.readouterr().err
    assert "cannot be reached: [Errno 111]" in log
    assert log.count("trying again") == (8 if managed else 0)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_reply_that_is_lost_is_no_failed_poll(end: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On Managed Instances the slot polls at once; only the polls behind the last event are tried again."""
    serve(two_events(), {2: Fault(say=b"", end=end)}, managed=True)
    assert capsys.readouterr().err.count("trying again") == MOST_FAILURES


@pytest.mark.parametrize("ids", [["same", "same"]])
@pytest.mark.parametrize("managed", [False, True], ids=["default", "managed instances"])
def test_the_same_request_id_twice(ids: list[str], managed: bool) -> None:
    """As Lambda does when it tries an asynchronous event again: two invocations, two answers."""
    server = serve(two_events(), ids=ids, managed=managed)
    kept(server)
    assert [answer.target.split("/")[-2] for answer in server.answers] == ids


@pytest.mark.parametrize(("size", "passes"), [(LARGEST_HEAD, True), (LARGEST_HEAD + 1, False)])
def test_the_longest_head_of_an_event(size: int, passes: bool, capsys: pytest.CaptureFixture[str]) -> None:
    event = two_events()[0]
    say = reply(200, event, "Lambda-Runtime-Aws-Request-Id: id-1", "X: ")
    padding = size - say.index(b"\r\n\r\n")
    say = say.replace(b"X: ", b"X: " + b"x" * padding)
    server = serve([], {1: Fault(say=say, end="keep" if passes else "wait")})
    exited(server, 3 if passes else 1)
    log = capsys.readouterr().err
    assert ("is longer than 65536 bytes" in log) is not passes
    assert "Traceback" not in log


@pytest.mark.anyio
async def test_a_reply_to_a_poll_that_could_not_be_written() -> None:
    """The reply was there before the reset: it says more than the failed write."""
    stream = MemoryStream()
    stream.say(reply(408))
    stream.break_writes(BrokenPipeError("gone"))
    assert (await Connection("host:1", connects_to(stream)).request(next_invocation())).status == 408
    assert stream.closed
