"""Apps that break the ASGI contract and apps that use all of it, each with what has to come of it.

Imports nothing but the standard library and asgi_stream: on one platform it runs as another user, without the virtual
environment of the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from asgi_stream import StreamingAdapter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

PAGE = b"Internal Server Error"
PAGE_HEADERS = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(PAGE))}
TEXT = {"content-type": "text/plain"}

FILE = __file__
EMPTY_FILE = str(Path(__file__).parents[1] / "__init__.py")


class Row(NamedTuple):
    """A request (``method``, ``sent``), the app that answers it, and the response.

    ``error`` is the type and a part of the message that Lambda is told behind the body. ``logged`` is the same for what
    happens after the end of the response, of which Lambda cannot be told any more. ``complete`` marks a body that is
    whole, and to which the error came late.
    """

    app: Callable[[Any, Any, Any], Awaitable[None]]
    status: int = 200
    body: bytes = b""
    error: tuple[str, str] | None = None
    logged: tuple[str, str] | None = None
    complete: bool = False
    headers: Mapping[str, str] = TEXT
    cookies: Sequence[str] = ()
    method: str = "GET"
    sent: str = ""

    @property
    def prelude(self) -> dict[str, Any]:
        prelude: dict[str, Any] = {"statusCode": self.status, "headers": dict(self.headers)}
        return {**prelude, "cookies": list(self.cookies)} if self.cookies else prelude


def page(app: Callable[[Any, Any, Any], Awaitable[None]], error: str, message: str) -> Row:
    """An app that fails before its start: a plain page for the client, the error for Lambda."""
    return Row(app, 500, PAGE, (error, message), headers=PAGE_HEADERS)


def cut(app: Callable[[Any, Any, Any], Awaitable[None]], body: bytes, error: str, message: str) -> Row:
    """An app that fails behind its start: what it sent stays."""
    return Row(app, 200, body, (error, message))


START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


def start(status: object = 200, *headers: object) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def length(value: bytes) -> dict[str, Any]:
    return {**START, "headers": [*START["headers"], (b"content-length", value)]}


def part(body: object) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def last(body: object = b"") -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": False}


def file(path: object) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": path}


class Sends:
    """Sends these messages and returns."""

    def __init__(self, *messages: Any) -> None:
        self._messages = messages

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for message in self._messages:
            await send(message)


class Raises(Sends):
    """Sends these messages and raises."""

    def __init__(self, error: Callable[[], BaseException], *messages: Any) -> None:
        super().__init__(*messages)
        self._error = error

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await super().__call__(scope, receive, send)
        raise self._error()


class Swallows(Sends):
    """Sends these messages, whatever ``send`` says to them, and returns as if all were well."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for message in self._messages:
            with contextlib.suppress(Exception):
                await send(message)


def boom() -> ValueError:
    return ValueError("boom")


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


async def recurses(scope: Any, receive: Any, send: Any) -> None:
    await recurses(scope, receive, send)


async def recurses_in_mid_stream(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(part(b"some"))
    await recurses(scope, receive, send)


async def a_task_of_it_fails(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    async with asyncio.TaskGroup() as group:
        group.create_task(Raises(boom)(scope, receive, send))
        # Cancelled by the group; else it would wait for the end of a response that never ends.
        group.create_task(_listen(receive))


async def _listen(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def raises_and_leaves_a_task_behind(scope: Any, receive: Any, send: Any) -> None:
    left_behind.append(asyncio.create_task(_listen(receive)))
    raise boom()


NOT_BYTES = "must be bytes, bytearray or memoryview"
BAD_BODY = last("text")
BAD_HEADER = start(200, (b"x y", b""))
A_NAME = "is not a legal header name"
A_VALUE = "has an illegal value"

FAILING: dict[str, Row] = {
    # Exceptions of the app
    "raises-before-the-start": page(Raises(boom), "ValueError", "boom"),
    "raises-after-the-start": cut(Raises(boom, START), b"", "ValueError", "boom"),
    "raises-in-mid-stream": cut(Raises(boom, START, part(b"some")), b"some", "ValueError", "boom"),
    "raises-before-the-start-for-head": page(Raises(boom), "ValueError", "boom")._replace(method="HEAD", body=b""),
    "sends-a-page-and-raises": Row(
        Raises(boom, {**START, "status": 500}, last(b"sorry")), 500, b"sorry", ("ValueError", "boom"), complete=True
    ),
    "raises-within-its-page": Row(
        Raises(boom, {**START, "status": 503}, part(b"sor")), 503, b"sor", ("ValueError", "boom")
    ),
    "raises-after-the-end": Row(Raises(boom, START, last(b"done")), body=b"done", logged=("ValueError", "boom")),
    "exits": page(Raises(lambda: SystemExit(1)), "SystemExit", "1"),
    "exits-in-mid-stream": cut(Raises(lambda: SystemExit(0), START, part(b"some")), b"some", "SystemExit", "0"),
    "exits-after-the-end": Row(
        Raises(lambda: SystemExit(3), START, last(b"done")), body=b"done", logged=("SystemExit", "3")
    ),
    "interrupts": cut(Raises(KeyboardInterrupt, START), b"", "KeyboardInterrupt", ""),
    "cancels-itself": page(Raises(asyncio.CancelledError), "CancelledError", ""),
    "cancels-itself-in-mid-stream": cut(
        Raises(asyncio.CancelledError, START, part(b"some")), b"some", "CancelledError", ""
    ),
    "raises-generator-exit": cut(Raises(GeneratorExit, START), b"", "GeneratorExit", ""),
    # Python makes this of a StopIteration that leaves a coroutine.
    "raises-stop-iteration": page(Raises(StopIteration), "RuntimeError", "coroutine raised StopIteration"),
    "raises-a-group": cut(
        Raises(lambda: BaseExceptionGroup("two", [boom(), KeyboardInterrupt()]), START),
        b"",
        "BaseExceptionGroup",
        "two (2 sub-exceptions)",
    ),
    "a-task-of-it-fails": cut(a_task_of_it_fails, b"", "ExceptionGroup", "1 sub-exception"),
    "raises-and-leaves-a-task-behind": page(raises_and_leaves_a_task_behind, "ValueError", "boom"),
    "recurses": page(recurses, "RecursionError", "recursion"),
    "recurses-in-mid-stream": cut(recurses_in_mid_stream, b"some", "RecursionError", "recursion"),
    "raises-what-has-no-text": cut(
        Raises(UnspeakableError, START), b"", "UnspeakableError", "its text could not be made"
    ),
    # Beyond about 4 KB of trailers the platform drops the connection.
    "raises-a-long-text": cut(Raises(lambda: ValueError("long" * 5_000), START), b"", "ValueError", "longlong"),
    "raises-lines-and-other-scripts": cut(
        Raises(lambda: ValueError("Größe\r\n0\r\n\r\n😀"), START), b"", "ValueError", "Größe\r\n0\r\n\r\n😀"
    ),
    # Too few messages
    "returns-without-answering": page(Sends(), "AppError", "response was complete: nothing has been sent"),
    "returns-after-the-start": cut(Sends(START), b"", "AppError", "headers have been sent, the body has not"),
    "returns-in-mid-stream": cut(
        Sends(START, part(b"some")), b"some", "AppError", "a part of the body has been sent, the last has not"
    ),
    # Messages out of turn
    "sends-a-body-first": page(Sends(last(b"x")), "AppError", "http.response.body is out of turn"),
    "sends-a-file-first": page(Sends(file(FILE)), "AppError", "http.response.pathsend is out of turn"),
    "starts-twice": cut(Sends(START, START), b"", "AppError", "http.response.start has been sent already"),
    "starts-twice-in-mid-stream": cut(
        Sends(START, part(b"some"), START), b"some", "AppError", "http.response.start is out of turn"
    ),
    "sends-a-body-after-the-end": Row(
        Sends(START, last(b"done"), part(b"more")),
        body=b"done",
        logged=("AppError", "the response is already complete"),
    ),
    "starts-after-the-end": Row(
        Sends(START, last(b"done"), START), body=b"done", logged=("AppError", "the response is already complete")
    ),
    "sends-a-body-after-a-page": Row(
        Sends({**START, "status": 500}, last(b"sorry"), part(b"more")),
        500,
        b"sorry",
        ("AppError", "the response is already complete"),
        complete=True,
    ),
    "swallows-what-came-after-the-end": Row(
        Swallows(START, last(b"done"), last(b"more")),
        body=b"done",
        logged=("AppError", "the response is already complete"),
    ),
    "sends-a-file-after-a-body": cut(
        Sends(START, part(b"some"), file(FILE)), b"some", "AppError", "http.response.pathsend is out of turn"
    ),
    # Messages of a wrong kind
    "sends-an-unknown-type": page(Sends({"type": "http.response.boom"}), "AppError", "'http.response.boom' is not"),
    "sends-a-websocket-message": cut(Sends(START, {"type": "websocket.send"}), b"", "AppError", "'websocket.send' is"),
    "sends-no-type": page(Sends({"status": 200}), "AppError", "must be a dict with a type"),
    "sends-no-dict": page(Sends(b"hello"), "AppError", "must be a dict with a type"),
    "sends-none": cut(Sends(START, None), b"", "AppError", "must be a dict with a type"),
    "sends-text": cut(Sends(START, BAD_BODY), b"", "AppError", NOT_BYTES),
    "sends-none-as-a-body": cut(Sends(START, part(b"some"), last(None)), b"some", "AppError", NOT_BYTES),
    "sends-no-status": page(Sends({"type": "http.response.start"}), "AppError", "must be an int, not None"),
    "sends-a-status-as-text": page(Sends(start("200")), "AppError", "must be an int, not '200'"),
    "sends-a-status-of-true": page(Sends(start(True)), "AppError", "must be an int, not True"),
    "sends-an-interim-status": page(Sends(start(103)), "AppError", "from 200 to 599, not 103"),
    "sends-a-status-too-high": page(Sends(start(600)), "AppError", "from 200 to 599, not 600"),
    "announces-trailers": page(Sends({**START, "trailers": True}), "AppError", "http.response.trailers is not offered"),
    # Headers
    "sends-a-header-name-with-a-line-end": page(Sends(start(200, (b"x\r\ny", b""))), "AppError", A_NAME),
    "sends-a-header-name-with-a-space": page(Sends(BAD_HEADER), "AppError", A_NAME),
    "sends-a-header-name-with-a-colon": page(Sends(start(200, (b"x:", b""))), "AppError", A_NAME),
    "sends-a-header-name-with-a-nul": page(Sends(start(200, (b"x\0", b""))), "AppError", A_NAME),
    "sends-a-header-name-beyond-ascii": page(Sends(start(200, (b"x\xe9", b""))), "AppError", A_NAME),
    "sends-an-empty-header-name": page(Sends(start(200, (b"", b"x"))), "AppError", A_NAME),
    "splits-a-response-by-a-header": page(Sends(start(200, (b"x", b"a\r\nset-cookie: b=c"))), "AppError", A_VALUE),
    "sends-a-header-value-with-a-cr": page(Sends(start(200, (b"x", b"a\rb"))), "AppError", A_VALUE),
    "sends-a-header-value-with-a-lf": page(Sends(start(200, (b"x", b"a\nb"))), "AppError", A_VALUE),
    # In a prelude eight of these would be the delimiter.
    "sends-a-header-value-with-nuls": page(Sends(start(200, (b"x", bytes(8)))), "AppError", A_VALUE),
    "sends-header-names-as-text": page(Sends(start(200, ("x", b"y"))), "AppError", "must be a pair of bytes"),
    "sends-header-values-as-text": page(Sends(start(200, (b"x", "y"))), "AppError", "must be a pair of bytes"),
    "sends-headers-that-are-no-pairs": page(
        Sends(start(200, (b"x", b"y", b"z"))), "AppError", "must be pairs of bytes"
    ),
    "sends-none-as-headers": page(Sends({**START, "headers": None}), "AppError", "must be pairs of bytes"),
    # Lengths
    "sends-more-than-its-content-length": cut(
        Sends(length(b"3"), last(b"four")), b"", "AppError", "longer than its content-length of 3 bytes"
    )._replace(headers={**TEXT, "content-length": "3"}),
    "sends-more-than-its-content-length-in-pieces": cut(
        Sends(length(b"3"), part(b"one"), last(b"x")), b"one", "AppError", "longer than its content-length of 3 bytes"
    )._replace(headers={**TEXT, "content-length": "3"}),
    "sends-less-than-its-content-length": cut(
        Sends(length(b"5"), last(b"four")), b"", "AppError", "ends after 4 bytes, its content-length says 5"
    )._replace(headers={**TEXT, "content-length": "5"}),
    "sends-less-than-its-content-length-in-pieces": cut(
        Sends(length(b"5"), part(b"four"), last()), b"four", "AppError", "ends after 4 bytes, its content-length says 5"
    )._replace(headers={**TEXT, "content-length": "5"}),
    "sends-two-content-lengths": page(
        Sends(start(200, (b"content-length", b"3"), (b"content-length", b"4"))), "AppError", "must be one number"
    ),
    "sends-a-content-length-below-zero": page(Sends(length(b"-1")), "AppError", "content-length must be one number"),
    "sends-a-body-on-204": Row(
        Sends({**START, "status": 204}, last(b"x")), 204, b"", ("AppError", "status 204 has no body, and 1 bytes")
    ),
    "sends-a-body-on-304": Row(
        Sends({**START, "status": 304}, part(b"x")), 304, b"", ("AppError", "status 304 has no body, and 1 bytes")
    ),
    # Errors that the app swallows: no clean end follows them
    "swallows-the-error-and-ends": cut(
        Swallows(START, BAD_BODY, last(b"all is well")), b"all is well", "AppError", NOT_BYTES
    ),
    "swallows-the-error-and-returns": cut(Swallows(START, part(b"some"), BAD_BODY), b"some", "AppError", NOT_BYTES),
    "swallows-the-error-and-starts-again": cut(
        Swallows(BAD_HEADER, START, last(b"all is well")), b"all is well", "AppError", A_NAME
    ),
    "swallows-the-error-and-sends-nothing": page(Swallows(BAD_HEADER), "AppError", A_NAME),
    "swallows-what-is-wrong-with-a-file": cut(
        Swallows(START, file("/not/there"), last(b"all is well")), b"", "FileNotFoundError", "/not/there"
    ),
    # Files
    "sends-a-file-that-is-not-there": cut(Sends(START, file("/not/there")), b"", "FileNotFoundError", "/not/there"),
    "sends-a-folder": cut(Sends(START, file("/")), b"", "IsADirectoryError", "directory"),
    "sends-a-file-by-a-relative-path-that-is-not-there": cut(
        Sends(START, file("not/there")), b"", "FileNotFoundError", "not/there"
    ),
    "sends-a-file-by-a-path-of-bytes": cut(Sends(START, file(b"/")), b"", "AppError", "must be a str, not b'/'"),
    "sends-a-file-by-no-path": cut(Sends(START, file("")), b"", "AppError", "must be a str, not ''"),
    "sends-a-file-by-a-path-with-a-nul": cut(Sends(START, file("/a\0b")), b"", "ValueError", "null byte"),
    "sends-a-file-shorter-than-its-content-length": cut(
        Sends(length(b"1"), file(EMPTY_FILE)), b"", "OSError", "1 bytes shorter than the content-length"
    )._replace(headers={**TEXT, "content-length": "1"}),
}


unfinished: list[str] = []
left_behind: list[asyncio.Task[Any]] = []


async def works_in_the_background(scope: Any, receive: Any, send: Any) -> None:
    unfinished.append("background work")
    await send(START)
    await send(last(b"done"))
    assert (await receive())["type"] == "http.request"
    assert (await receive())["type"] == "http.disconnect"
    # To another thread and back: the loop turns many times meanwhile.
    await asyncio.to_thread(unfinished.remove, "background work")


async def leaves_a_task_behind(scope: Any, receive: Any, send: Any) -> None:
    left_behind.append(asyncio.create_task(_listen(receive)))
    await send(START)
    await send(last(b"done"))


async def listens_while_it_sends(scope: Any, receive: Any, send: Any) -> None:
    """As Starlette does it at the version of the specification that the scope announces."""
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(_listen(receive))
        await send(START)
        for _ in range(3):
            await asyncio.sleep(0)
            assert not listening.done()
            await send(part(b"one "))
        await send(last(b"two"))


async def sends_from_many_tasks(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(send(part(b"piece ")))
    await send(last())


async def uses_its_buffer_again(scope: Any, receive: Any, send: Any) -> None:
    buffer = bytearray(4)
    await send(START)
    for text in (b"one ", b"two ", b"ten "):
        buffer[:] = text
        await send(part(buffer))
    buffer[:] = b"gone"
    await send(last())


async def echoes_once_it_has_the_body(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await send(START)
    await send(last(body))


async def sends_and_receives_by_a_task_of_its_own(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.create_task(echoes_once_it_has_the_body(scope, receive, send))


LEGAL: dict[str, Row] = {
    # Bodies
    "sends-one-message": Row(Sends(START, last(b"hello")), body=b"hello"),
    "sends-several-messages": Row(Sends(START, part(b"one "), part(b"two "), last(b"three")), body=b"one two three"),
    "sends-empty-messages": Row(Sends(START, part(b""), part(b"one"), part(b""), part(b""), last()), body=b"one"),
    "sends-a-body-without-the-optional-keys": Row(Sends(START, {"type": "http.response.body"})),
    "sends-no-body": Row(Sends(START, last())),
    "sends-bytearrays": Row(Sends(START, part(bytearray(b"one ")), last(bytearray(b"two"))), body=b"one two"),
    "sends-memoryviews": Row(
        Sends(START, part(memoryview(b"one ")), part(memoryview(bytearray(b"xtwo "))[1:]), last(memoryview(b""))),
        body=b"one two ",
    ),
    "sends-memoryviews-of-other-shapes": Row(
        Sends(START, part(memoryview(b"0a1b")[1::2]), last(memoryview(b"12345678").cast("I"))), body=b"ab12345678"
    ),
    "sends-what-looks-like-the-framing": Row(
        Sends(START, part(bytes(8)), part(b"\r\n0\r\n\r\n"), last(bytes(range(256)))),
        body=bytes(8) + b"\r\n0\r\n\r\n" + bytes(range(256)),
    ),
    "sends-a-large-message": Row(Sends(START, last(b"0123456789abcdef" * 65_536)), body=b"0123456789abcdef" * 65_536),
    "uses-its-buffer-again": Row(uses_its_buffer_again, body=b"one two ten "),
    # Headers
    "sends-no-headers": Row(Sends({"type": "http.response.start", "status": 200}, last(b"x")), body=b"x", headers={}),
    "sends-duplicate-headers": Row(
        Sends(start(200, (b"vary", b"accept"), (b"x", b"y"), (b"Vary", b"origin")), last()),
        headers={"vary": "accept, origin", "x": "y"},
    ),
    "sends-several-cookies": Row(
        Sends(start(200, (b"set-cookie", b"a=1; Path=/"), (b"x", b"y"), (b"Set-Cookie", b"b=2, 3")), last()),
        headers={"x": "y"},
        cookies=["a=1; Path=/", "b=2, 3"],
    ),
    "sends-hop-by-hop-headers": Row(
        Sends(
            start(
                200, (b"connection", b"close"), (b"Transfer-Encoding", b"chunked"), (b"te", b"trailers"), (b"x", b"y")
            ),
            last(b"x"),
        ),
        body=b"x",
        headers={"x": "y"},
    ),
    "sends-headers-in-capitals-and-as-lists": Row(
        Sends(start(200, [b"X-One", b"1"], [b"x-two", b" 2\t"]), last()), headers={"x-one": "1", "x-two": "2"}
    ),
    "sends-header-bytes-beyond-ascii": Row(
        Sends(start(200, (b"x", b"caf\xe9"), (b"y", "ü".encode())), last()), headers={"x": "caf\xe9", "y": "\xc3\xbc"}
    ),
    "sends-an-empty-header": Row(Sends(start(200, (b"x", b"")), last()), headers={"x": ""}),
    # Methods, statuses and lengths
    "answers-head": Row(Sends(length(b"5"), last(b"hello")), headers={**TEXT, "content-length": "5"}, method="HEAD"),
    "answers-head-in-pieces-of-another-length": Row(
        Sends(length(b"5"), part(b"hel"), last()), headers={**TEXT, "content-length": "5"}, method="HEAD"
    ),
    "answers-204": Row(Sends(start(204), last()), 204, headers={}),
    "answers-304": Row(Sends(start(304, (b"etag", b'"x"')), last()), 304, headers={"etag": '"x"'}),
    "redirects": Row(Sends(start(307, (b"location", b"/x")), last()), 307, headers={"location": "/x"}),
    "answers-by-a-status-of-an-enum": Row(Sends(start(HTTPStatus.CREATED), last(b"x")), 201, b"x", headers={}),
    "keeps-to-its-content-length": Row(
        Sends(length(b"8"), part(b"one "), part(b""), part(b"tw"), last(b"o ")),
        body=b"one two ",
        headers={**TEXT, "content-length": "8"},
    ),
    "says-and-sends-nothing": Row(Sends(length(b"0"), last()), headers={**TEXT, "content-length": "0"}),
    "answers-404": Row(Sends({**START, "status": 404}, last(b"no")), 404, b"no"),
    "answers-500-and-returns": Row(Sends({**START, "status": 500}, last(b"sorry")), 500, b"sorry"),
    "answers-503-in-pieces-and-returns": Row(Sends({**START, "status": 503}, part(b"so"), last(b"rry")), 503, b"sorry"),
    "answers-500-without-a-body": Row(Sends({**START, "status": 500}, last()), 500),
    # Files
    "sends-a-file": Row(Sends(START, file(FILE)), body=Path(FILE).read_bytes()),
    "sends-a-file-by-a-relative-path": Row(Sends(START, file(os.path.relpath(FILE))), body=Path(FILE).read_bytes()),
    "sends-a-part-of-a-file-by-its-content-length": Row(
        Sends(length(b"9"), file(FILE)), body=Path(FILE).read_bytes()[:9], headers={**TEXT, "content-length": "9"}
    ),
    "sends-an-empty-file": Row(Sends(START, file(EMPTY_FILE))),
    "sends-a-page-from-a-file": Row(Sends({**START, "status": 500}, file(FILE)), 500, Path(FILE).read_bytes()),
    "answers-head-by-a-file": Row(
        Sends(length(b"7"), file("/not/there")), headers={**TEXT, "content-length": "7"}, method="HEAD"
    ),
    # Tasks, and the request's body
    "works-in-the-background": Row(works_in_the_background, body=b"done"),
    "leaves-a-task-behind": Row(leaves_a_task_behind, body=b"done"),
    "listens-while-it-sends": Row(listens_while_it_sends, body=b"one one one two"),
    "sends-from-many-tasks": Row(sends_from_many_tasks, body=b"piece " * 20),
    "echoes-once-it-has-the-body": Row(echoes_once_it_has_the_body, body=b"said", method="POST", sent="said"),
    "sends-and-receives-by-a-task-of-its-own": Row(
        sends_and_receives_by_a_task_of_its_own, body=b"said", method="PUT", sent="said"
    ),
}

ROWS = {**FAILING, **LEGAL}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The app of the row that the path names; ``/facts`` says what the process is and what is still at work in it."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    name = scope["path"].strip("/")
    if name == "facts":
        # In memory an invocation may follow another without a turn of the loop between them.
        for _ in range(3):
            await asyncio.sleep(0)
        waiting = [task.get_name() for task in left_behind if not task.done()]
        facts = json.dumps({"pid": os.getpid(), "at work": unfinished + waiting})
        await Sends(START, last(facts.encode()))(scope, receive, send)
    else:
        await ROWS[name].app(scope, receive, send)


handler = StreamingAdapter(app, pathsend=True)
