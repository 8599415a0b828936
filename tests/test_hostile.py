"""Apps and handlers made of hostile objects: each invocation ends in one way, with the error's name; the next works."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import contextvars
import json
import logging
import time
import types
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_stream import Prelude, StreamingAdapter, pipeline, streaming_handler
from asgi_stream.recognise import as_handler
from asgi_stream.runtime import bootstrap, logs
from asgi_stream.runtime.connection import Connection
from asgi_stream.runtime.deadline import BlockWatch
from asgi_stream.runtime.loop import Runtime
from asgi_stream.sources import function_url
from asgi_stream.testing import LambdaRefused, LambdaTransport, SyncLambdaTransport, exchange
from tests.support.events import function_url_event
from tests.support.hostile import (
    RAISED,
    UNTRACED,
    at_an_illegal_position,
    class_members,
    make_class,
    make_error,
    members,
)
from tests.support.memory import connects_to
from tests.support.wire import FakeRuntimeApi, Received, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    App = Callable[[Any, Any, Any], Awaitable[None]]

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True, scope="module")
def _without_the_watch() -> Iterator[None]:
    """Each runtime would leave a thread that sleeps until the deadline."""
    with mock.patch.object(BlockWatch, "add"):
        yield


START: dict[str, Any] = {"type": "http.response.start", "status": 200}
PAGE = b"Internal Server Error"


def part(body: Any) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


class Outcome(NamedTuple):
    """What the client has of a response, and the error that Lambda has."""

    content: bytes
    error: str | None = None
    message: str = ""


# The ways in which a handler is run. Each sends one event to `/bad` and one to `/good`, checks that both have ended,
# once, and that the second was served; it returns what came of the first.


def _outcome(answer: Received) -> Outcome:
    assert answer.complete
    content = answer.body.partition(bytes(8))[2] if bytes(8) in answer.body else answer.body
    if answer.kind == "error":
        content, error = b"", json.loads(answer.body)
    elif answer.trailers:
        error = json.loads(base64.b64decode(answer.trailers["lambda-runtime-function-error-body"]))
    else:
        return Outcome(content)
    return Outcome(content, error["errorType"], error["errorMessage"])


EVENTS = (function_url_event(path="/bad"), function_url_event(path="/good"))


def _fields() -> dict[str, str]:
    """Lambda sends a deadline with each event."""
    return {"Lambda-Runtime-Deadline-Ms": str(int((time.time() + 3600) * 1000))}


async def default_mode(handler: Any) -> Outcome:
    api = FakeRuntimeApi(*EVENTS, headers=_fields())
    bad, good = (await serve(as_handler(handler), api=api)).answers
    assert _outcome(good) == Outcome(b"good")
    return _outcome(bad)


class Slot(FakeRuntimeApi):
    """One slot; ``over`` is set when it has served all its events and polls again."""

    def __init__(self, *events: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(*events, headers=headers)
        self.over = asyncio.Event()

    def say(self, *pieces: bytes) -> None:
        super().say(*pieces)
        if pieces == (b"",):
            self.over.set()


async def managed_instances(handler: Any) -> Outcome:
    """Beside a stream of another slot, which goes on."""
    handler = as_handler(handler)
    begun, goes_on = asyncio.Event(), asyncio.Event()

    class Both:
        startup, shutdown, wants_shutdown = handler.startup, handler.shutdown, False

        async def invoke(self, event: Any, context: Any, sink: Any) -> None:
            if event["rawPath"] != "/healthy":
                await begun.wait()
                return await handler.invoke(event, context, sink)  # type: ignore[no-any-return]
            await sink.start(Prelude(200, {}))
            await sink.write(b"one ")
            begun.set()
            await goes_on.wait()
            return await sink.end(b"two")  # type: ignore[no-any-return]

    healthy, other = Slot(function_url_event(path="/healthy")), Slot(*EVENTS, headers=_fields())
    connections = [Connection("host:1", connects_to(api)) for api in (healthy, other)]
    ends = [asyncio.ensure_future(api.over.wait()) for api in (other, healthy)]
    serving = asyncio.ensure_future(Runtime(Both(), *connections, managed_instances=True).serve())
    for over in ends:
        await asyncio.wait((serving, over), return_when=asyncio.FIRST_COMPLETED)
        assert over.done()
        goes_on.set()
    serving.cancel()
    await asyncio.wait((serving,))
    assert [_outcome(answer) for answer in healthy.answers] == [Outcome(b"one two")]
    bad, good = other.answers
    assert _outcome(good) == Outcome(b"good")
    return _outcome(bad)


def _of_the_client(response: httpx.Response) -> Outcome:
    seen = exchange(response)
    assert seen.ended
    if seen.error is None:
        return Outcome(response.content)
    content = response.content if seen.reported_by == "trailers" else b""
    return Outcome(content, seen.error["errorType"], seen.error["errorMessage"])


async def transport(handler: Any) -> Outcome:
    user = httpx.AsyncClient(
        transport=LambdaTransport(handler, raise_app_exceptions=False), base_url="https://function.example"
    )
    async with user:
        bad = await user.get("/bad")
        assert _of_the_client(await user.get("/good")) == Outcome(b"good")
    return _of_the_client(bad)


async def sync_transport(handler: Any) -> Outcome:
    def use() -> Outcome:
        transport = SyncLambdaTransport(handler, raise_app_exceptions=False)
        with httpx.Client(transport=transport, base_url="https://function.example") as user:
            bad = user.get("/bad")
            assert _of_the_client(user.get("/good")) == Outcome(b"good")
        return _of_the_client(bad)

    return await asyncio.to_thread(use)


async def called_by_a_function(handler: Any) -> Outcome:
    """In default mode, by a function that calls the adapter in its thread."""

    def function(event: Any, context: Any) -> Any:
        return handler(event, context)

    return await default_mode(function)


async def with_a_record(handler: Any) -> Outcome:
    """In default mode, by an adapter that watches what its app sends."""
    return await default_mode(adapter(handler.app, access_log="json", event_stream_keep_alive=60))


RUNS: dict[str, Callable[[Any], Awaitable[Outcome]]] = {
    "default": default_mode,
    "Managed Instances": managed_instances,
    "transport": transport,
    "sync transport": sync_transport,
}


@pytest.fixture(params=RUNS.values(), ids=list(RUNS))
def run(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(
    params=[*RUNS.values(), called_by_a_function, with_a_record],
    ids=[*RUNS, "called by a function", "with a record"],
)
def run_adapter(request: pytest.FixtureRequest) -> Any:
    return request.param


def adapter(bad: App, starts: App | None = None, **options: Any) -> StreamingAdapter:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if starts is not None and scope["type"] == "lifespan":
            await starts(scope, receive, send)
        elif scope["path"] == "/good":
            await send(START)
            await send({"type": "http.response.body", "body": b"good"})
        else:
            await bad(scope, receive, send)

    return StreamingAdapter(app, **{"lifespan": "off", "pathsend": True, **options})


# What an app raises


def _raising(attribute: str) -> Callable[[], BaseException]:
    return lambda: make_error(Exception, {attribute: ("raises", SystemExit)})


def _cycle() -> BaseException:
    error = make_error(Exception, {})
    error.__cause__ = ValueError("before")
    error.__cause__.__context__ = error
    return error


def _deep(link: str) -> BaseException:
    kind = make_class(Exception, {})
    error: BaseException = ValueError("first")
    for _ in range(10_000):
        following = kind("next")
        setattr(following, link, error)
        error = following
    return error


def _nested() -> BaseException:
    kind = make_class(ExceptionGroup, {})
    error: BaseException = ValueError("first")
    for _ in range(10_000):
        error = kind("group", [error])
    return error


def _of_odd_code() -> BaseException:
    def fail() -> None:
        raise make_error(Exception, {})

    fail.__code__ = fail.__code__.replace(co_filename="odd\0file")
    try:
        fail()
    except Exception as error:
        return error
    raise AssertionError


ERRORS: dict[str, Callable[[], BaseException]] = {
    **{
        f"{name} raises {raised.__name__}": lambda name=name, raised=raised: make_error(  # type: ignore[misc]
            Exception, {name: ("raises", raised)}
        )
        for name in ("__str__", "__repr__")
        for raised in RAISED
    },
    **{
        f"{name} raises": _raising(name)
        for name in (
            "__class__",
            "__dict__",
            "__getattribute__",
            "__bool__",
            "__len__",
            "__eq__",
            "__hash__",
            "__traceback__",
            "__cause__",
            "__context__",
            "__suppress_context__",
            "__notes__",
            "__module__",
            "args",
            "with_traceback",
        )
    },
    "an illegal position": lambda: at_an_illegal_position(make_error(Exception, {})),
    "no line number": lambda: at_an_illegal_position(make_error(Exception, {}), -1),
    "is false": lambda: make_error(Exception, {"__bool__": ("returns", False)}),
    "says it was cancelled": lambda: make_error(Exception, {"__class__": ("returns", asyncio.CancelledError)}),
    "has no name": lambda: make_error(Exception, {}, {"__name__": ("raises", SystemExit)}),
    "has another name": lambda: make_error(Exception, {}, {"__name__": ("returns", 7)}),
    "a class that cannot be asked": lambda: make_error(Exception, {}, {"__getattribute__": ("raises", SystemExit)}),
    "a subclass of SystemExit": lambda: make_error(SystemExit, {"code": ("raises", SystemExit)}),
    "a subclass of KeyboardInterrupt": lambda: make_error(KeyboardInterrupt, {"__str__": ("raises", SystemExit)}),
    "a group": lambda: make_error(ExceptionGroup, {"exceptions": ("raises", SystemExit)}),
    "a group that cannot be told": lambda: make_error(ExceptionGroup, {"__str__": ("raises", KeyboardInterrupt)}),
    "a syntax error": lambda: make_error(SyntaxError, {"filename": ("raises", SystemExit)}),
    "a syntax error without sense": lambda: make_error(
        SyntaxError, {"filename": ("returns", 7), "lineno": ("returns", "x"), "text": ("returns", object())}
    ),
    "a missing attribute": lambda: make_error(
        AttributeError,
        {"obj": ("returns", make_error(Exception, {"__dir__": ("raises", SystemExit)})), "name": ("returns", "x")},
    ),
    "a cycle": _cycle,
    "10,000 causes": lambda: _deep("__cause__"),
    "10,000 contexts": lambda: _deep("__context__"),
    "10,000 groups": _nested,
    "20 MB of text": lambda: make_class(Exception, {})("x" * 20_000_000),
    "odd code": _of_odd_code,
}


@UNTRACED
@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_before_the_response(run_adapter: Any, name: str) -> None:
    async def bad(scope: Any, receive: Any, send: Any) -> None:
        error = ERRORS[name]()
        raise error

    assert (await run_adapter(adapter(bad)))[:2] == (PAGE, "Hostile")


@UNTRACED
@pytest.mark.parametrize("run", [default_mode, managed_instances])
@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_in_mid_stream(run: Any, name: str) -> None:
    async def bad(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(part(b"some"))
        error = ERRORS[name]()
        raise error

    assert (await run(adapter(bad)))[:2] == (b"some", "Hostile")


@UNTRACED
@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_after_the_end(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def bad(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"whole"})
        error = ERRORS[name]()
        raise error

    assert await default_mode(adapter(bad)) == Outcome(b"whole")
    log = capsys.readouterr().err
    assert "Failed after the response had ended; Lambda counts no error\n" in log
    assert "Hostile" in log


@UNTRACED
@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_of_an_event_source(name: str) -> None:
    """Of the user's own, when the app sends its start."""

    def to_prelude(status: int, headers: Any) -> Prelude:
        if status == 201:
            error = ERRORS[name]()
            raise error
        return Prelude(status, {})

    async def bad(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "status": 201})

    source = types.SimpleNamespace(**{**vars(function_url), "name": "own", "to_prelude": to_prelude})
    assert (await default_mode(adapter(bad, event_sources=[source])))[:2] == (PAGE, "Hostile")


@pytest.mark.parametrize("name", ["__str__ raises SystemExit", "a subclass of SystemExit", "an illegal position"])
async def test_an_error_that_a_transport_raises_to_the_test(name: str) -> None:
    """As itself, also from the event loop of another thread, which goes on."""
    error = ERRORS[name]()

    async def bad(scope: Any, receive: Any, send: Any) -> None:
        raise error

    def use() -> None:
        transport = SyncLambdaTransport(adapter(bad))
        with httpx.Client(transport=transport, base_url="https://function.example") as user:
            with pytest.raises(BaseException) as info:  # noqa: PT011
                user.get("/bad")
            assert info.value is error
            assert user.get("/good").content == b"good"

    await asyncio.to_thread(use)


# What an app sends


class Broken:
    """An object of which nothing can be had."""

    def _raise(self, *_: Any, **__: Any) -> Any:
        raise SystemExit("broken")

    __str__ = __repr__ = __bool__ = __len__ = __iter__ = __eq__ = __hash__ = __index__ = __getattr__ = _raise


class ShortBytes(bytes):
    def __len__(self) -> int:
        return 1


class LongBytes(bytes):
    def __len__(self) -> int:
        return 7_000_000


class BrokenBytes(bytes):
    __str__ = __repr__ = __bool__ = __len__ = __iter__ = __eq__ = __hash__ = __getitem__ = Broken._raise
    translate = strip = lower = decode = isdigit = __bytes__ = __buffer__ = __add__ = Broken._raise


class BrokenBytearray(bytearray):
    __str__ = __repr__ = __bool__ = __len__ = __iter__ = __eq__ = __getitem__ = __bytes__ = Broken._raise


class BrokenText(str):
    __slots__ = ()
    __str__ = __repr__ = __bool__ = __len__ = __iter__ = __eq__ = __hash__ = __getitem__ = __format__ = Broken._raise
    startswith = strip = lower = encode = Broken._raise


class BrokenKey(BrokenText):
    """One that a dict takes."""

    __slots__ = ()
    __hash__ = str.__hash__
    __eq__ = str.__eq__


class BrokenNumber(int):
    __str__ = __repr__ = __bool__ = __eq__ = __hash__ = __le__ = __ge__ = __lt__ = __gt__ = __index__ = Broken._raise
    __int__ = __format__ = Broken._raise


class BrokenDict(dict[str, Any]):
    get = __getitem__ = __len__ = __iter__ = __contains__ = keys = items = Broken._raise


class Liar:
    """An object that says it is bytes."""

    __class__ = bytes  # type: ignore[assignment]


def released() -> memoryview:
    view = memoryview(b"released")
    view.release()
    return view


LAST: dict[str, Any] = {"type": "http.response.body", "body": b"last"}


def headers(*pairs: Any) -> dict[str, Any]:
    return {**START, "headers": pairs}


# In each row: what is sent, and the error, or a text that is sent for all that.
SENT: dict[str, tuple[Callable[[], list[Any]], str, bytes]] = {
    "a short length": (lambda: [START, part(ShortBytes(b"whole ")), LAST], "", b"whole last"),
    "a long length": (lambda: [START, part(LongBytes(b"whole ")), LAST], "", b"whole last"),
    "a length that raises": (lambda: [START, part(BrokenBytes(b"whole ")), LAST], "", b"whole last"),
    "a last body": (lambda: [START, {**LAST, "body": BrokenBytes(b"whole")}], "", b"whole"),
    "a bytearray": (lambda: [START, part(BrokenBytearray(b"whole ")), LAST], "", b"whole last"),
    "a body of its promised length": (
        lambda: [headers((b"content-length", BrokenBytes(b"10"))), part(ShortBytes(b"whole ")), LAST],
        "",
        b"whole last",
    ),
    "headers": (lambda: [headers((BrokenBytes(b"X-A"), BrokenBytes(b" b "))), LAST], "", b"last"),
    "a status": (lambda: [{**START, "status": BrokenNumber(200)}, LAST], "", b"last"),
    "types": (
        lambda: [{**START, "type": BrokenText(START["type"])}, {**LAST, "type": BrokenText(LAST["type"])}],
        "",
        b"last",
    ),
    "a view that was released": (lambda: [START, part(released()), LAST], "cannot be read", b""),
    "an object that says it is bytes": (lambda: [START, part(Liar()), LAST], "must be bytes, bytearray", b""),
    "nothing of a body": (lambda: [START, part(Broken()), LAST], "must be bytes, bytearray", b""),
    "nothing of a message": (lambda: [START, Broken(), LAST], "must be a dict with a type", b""),
    "a dict that raises": (lambda: [START, BrokenDict(part(b"x")), LAST], "cannot be read", b""),
    "a dict whose start raises": (lambda: [BrokenDict(START), LAST], "cannot be read", PAGE),
    "a type that is none": (lambda: [START, {"type": Broken()}, LAST], "cannot be read", b""),
    "an end that cannot be told": (lambda: [START, {**LAST, "more_body": Broken()}, LAST], "cannot be read", b""),
    "no headers": (lambda: [{**START, "headers": Broken()}, LAST], "cannot be read", PAGE),
    "no header": (lambda: [headers(Broken()), LAST], "cannot be read", PAGE),
    "no name": (lambda: [headers((Broken(), b"x")), LAST], "must be a pair of bytes", PAGE),
    "no value": (lambda: [headers((b"x", Broken())), LAST], "must be a pair of bytes", PAGE),
    "no status": (lambda: [{**START, "status": Broken()}, LAST], "must be an int", PAGE),
    "a status of 5,000 digits": (lambda: [{**START, "status": 10**5000}, LAST], "from 200 to 599", PAGE),
    "a length of 5,000 digits": (
        lambda: [headers((b"content-length", b"9" * 5000)), LAST],
        "one number of bytes",
        PAGE,
    ),
    "a length of 4,301 zeros": (lambda: [headers((b"content-length", b"0" * 4301 + b"4")), LAST], "", b"last"),
    "digits that are not ASCII": (lambda: [headers((b"content-length", b"\xb2")), LAST], "one number of bytes", PAGE),
    "trailers": (lambda: [{**START, "trailers": Broken()}, LAST], "cannot be read", PAGE),
    "no path": (
        lambda: [START, {"type": "http.response.pathsend", "path": Broken()}, LAST],
        "must be a str",
        b"",
    ),
}


async def check_messages(run: Any, name: str, swallows: bool) -> None:
    messages, told, content = SENT[name]

    async def bad(scope: Any, receive: Any, send: Any) -> None:
        for message in messages():
            try:
                await send(message)
            except BaseException:
                if not swallows:
                    raise

    outcome = await run(adapter(bad))
    if not told:
        assert outcome == Outcome(content)
        return
    assert outcome.error == "AppError"
    assert told in outcome.message
    # What was swallowed is not forgotten, though the rest of the response was sent.
    assert outcome.content == (b"last" if swallows and not content else content)


@pytest.mark.parametrize("name", SENT)
async def test_messages(run_adapter: Any, name: str) -> None:
    await check_messages(run_adapter, name, False)


@pytest.mark.parametrize("name", SENT)
async def test_messages_whose_refusal_is_swallowed(name: str) -> None:
    await check_messages(default_mode, name, True)


# What a handler returns and writes


class BrokenReader:
    """A file whose pieces have no length."""

    def __init__(self, *pieces: Any) -> None:
        self._pieces = list(pieces)

    def read(self, size: int) -> Any:
        return self._pieces.pop(0) if self._pieces else b""


class Awaits:
    def __init__(self, steps: Any) -> None:
        self._steps = steps

    def __await__(self) -> Any:
        return self._steps() if callable(self._steps) else self._steps


def _yields(value: Any) -> Callable[[], Iterator[Any]]:
    def steps() -> Iterator[Any]:
        yield value

    return steps


def _fails() -> Any:
    raise make_error(SystemExit, {"__str__": ("raises", KeyboardInterrupt)})


def _nested_list() -> Any:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


RETURNED: dict[str, tuple[Callable[[], Any], Outcome | str]] = {
    "bytes with a length": (lambda: ShortBytes(b"whole"), Outcome(b"whole")),
    "bytes that raise": (lambda: BrokenBytes(b"whole"), Outcome(b"whole")),
    "JSON": (lambda: [BrokenText("whole"), BrokenNumber(7)], Outcome(b'["whole",7]')),
    "an object that says it is bytes": (Liar, "TypeError"),
    "nothing": (Broken, "TypeError"),
    "a dict that raises": (lambda: BrokenDict(a=1), "SystemExit"),
    "a number of 5,000 digits": (lambda: 10**5000, "TypeError"),
    "a number of a billion digits": (lambda: Decimal("1E+999999999"), "TypeError"),
    "a list in a list in a list": (_nested_list, "TypeError"),
    "an object without a class": (lambda: make_class(object, {"__class__": ("raises", SystemExit)})(), "SystemExit"),
    "what is awaited, and raises": (lambda: Awaits(_fails), "Hostile"),
    "what is awaited, and is no iterator": (lambda: Awaits(7), "TypeError"),
    "what is awaited, and yields nonsense": (lambda: Awaits(_yields(object())), "RuntimeError"),
}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("name", RETURNED)
async def test_results(run: Any, name: str, is_async: bool) -> None:
    make, expected = RETURNED[name]

    def function(event: Any, context: Any) -> Any:
        return make() if event["rawPath"] == "/bad" else b"good"

    async def async_function(event: Any, context: Any) -> Any:
        result = function(event, context)
        return await result if isinstance(result, Awaits) else result

    outcome = await run(async_function if is_async else function)
    assert outcome == expected if isinstance(expected, Outcome) else outcome.error == expected


@pytest.mark.parametrize("name", RETURNED)
async def test_results_of_on_event(name: str) -> None:
    make, expected = RETURNED[name]
    handler = StreamingAdapter(adapter, lifespan="off", on_event=lambda event, context: make())  # type: ignore[arg-type]
    answers = (await serve(handler, {"no": "request"}, {"no": "request"})).answers
    error = expected if isinstance(expected, str) else "TypeError" if name.startswith("bytes") else None
    error = "RecursionError" if name == "a list in a list in a list" else error
    assert [_outcome(answer).error for answer in answers] == [error, error]


async def _writes(response: Any) -> None:
    response.http(
        BrokenNumber(201),
        {BrokenKey("x-a"): BrokenText("b")},
        [BrokenText("c=d")],
        {BrokenKey("x-e"): [BrokenText("f")]},
    )
    for data in (BrokenBytes(b"a "), BrokenText("b "), BrokenBytearray(b"c "), ShortBytes(b"whole")):
        await response.write(data)


async def _writes_raw(response: Any) -> None:
    response.content_type = BrokenText("text/plain")
    await response.write(LongBytes(b"a b c "))
    await response.end(ShortBytes(b"whole"))


WRITTEN: dict[str, tuple[Callable[[Any], Any], Outcome | str]] = {
    "what it is": (_writes, Outcome(b"a b c whole")),
    "a raw stream": (_writes_raw, Outcome(b"a b c whole")),
    "pieces of a file": (
        lambda response: pipeline(
            BrokenReader(BrokenBytes(b"a b "), BrokenBytes(b"c "), ShortBytes(b"whole")), response
        ),
        Outcome(b"a b c whole"),
    ),
    "a source that is one": (lambda response: pipeline(BrokenBytes(b"a b c whole"), response), Outcome(b"a b c whole")),
    "nothing": (lambda response: response.write(Broken()), "TypeError"),
    "an object that says it is bytes": (lambda response: response.write(Liar()), "TypeError"),
    "no status": (lambda response: response.http(Broken()), "ValueError"),
    "no header": (lambda response: response.http(headers={"a": Broken()}), "TypeError"),
    "a header of two lines": (lambda response: response.http(headers={"a": BrokenText("b\r\nc: d")}), "ValueError"),
    "headers that raise": (lambda response: response.http(headers=BrokenDict(a="b")), "SystemExit"),
}


@pytest.mark.parametrize("name", WRITTEN)
async def test_writes(run: Any, name: str) -> None:
    write, expected = WRITTEN[name]

    @streaming_handler
    async def handler(event: Any, response: Any, context: Any) -> None:
        if event["rawPath"] == "/bad":
            await write(response)
        else:
            await response.write(b"good")

    outcome = await run(handler)
    assert outcome == expected if isinstance(expected, Outcome) else outcome.error == expected


async def test_pieces_of_a_generator(run: Any) -> None:
    @streaming_handler
    async def handler(event: Any, context: Any) -> AsyncIterator[Any]:
        if event["rawPath"] == "/bad":
            yield BrokenBytes(b"a ")
            yield BrokenText("b")
        else:
            yield b"good"

    assert await run(handler) == Outcome(b"a b")


ANSWERS: list[Any] = [
    {"statusCode": "many"},
    {"statusCode": 200, "headers": 7},
    {"statusCode": 200, "headers": {"a": 7}},
    {"statusCode": 200, "headers": {"a": "\u20ac"}},
    {"statusCode": 200, "body": {"a": 1}},
    {"statusCode": 200, "isBase64Encoded": True, "body": "\u20ac"},
    {"statusCode": 200, "multiValueHeaders": {"a": 7}},
    {"statusCode": 200, "cookies": 7},
    {"status": "200", "headers": {"a": 7}},
]


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
async def test_an_answer_that_no_client_can_have_is_refused(answer: Any) -> None:
    """The transport raises it to the test, which would wait for ever."""

    def function(event: Any, context: Any) -> Any:
        return answer if event["rawPath"] == "/bad" else b"good"

    transport = LambdaTransport(function, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="https://function.example") as user:
        with pytest.raises(LambdaRefused, match="a client of the function gets status 502"):
            await user.get("/bad")
        assert (await user.get("/good")).content == b"good"


# Where an answer is buffered


@pytest.mark.parametrize("name", [name for name in ERRORS if "10,000" not in name])  # which pytest would print
async def test_an_error_where_the_answer_is_buffered(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Under our runtime, and under AWS's own, which calls the adapter."""

    async def bad(scope: Any, receive: Any, send: Any) -> None:
        error = ERRORS[name]()
        raise error

    handler = adapter(bad, invoke_mode="buffered")
    bad_answer, good = (await serve(handler, *EVENTS)).answers
    assert json.loads(bad_answer.body)["body"] == PAGE.decode()
    assert base64.b64decode(json.loads(good.body)["body"]) == b"good"

    def calls() -> list[Any]:
        try:
            return [handler(event, None) for event in EVENTS]
        finally:
            handler.close()

    called, called_again = await asyncio.to_thread(calls)
    assert (called["statusCode"], called["body"]) == (500, PAGE.decode())
    assert base64.b64decode(called_again["body"]) == b"good"
    assert {record.levelname for record in caplog.records} == {"ERROR"}
    assert caplog.text.count("The app failed; its client gets a page of status 500") >= 2


@pytest.mark.parametrize("name", SENT)
async def test_messages_where_the_answer_is_buffered(name: str) -> None:
    messages, told, content = SENT[name]

    async def bad(scope: Any, receive: Any, send: Any) -> None:
        for message in messages():
            await send(message)

    answer, good = (await serve(adapter(bad, invoke_mode="buffered"), *EVENTS)).answers
    parsed = json.loads(answer.body)
    body = base64.b64decode(parsed["body"]) if parsed["isBase64Encoded"] else parsed["body"].encode()
    assert body == (PAGE if told else content)
    assert base64.b64decode(json.loads(good.body)["body"]) == b"good"


# At the deadline


class Compiled:
    """A coroutine that Cython has compiled, as far as asyncio can see: ``frame`` and ``awaited`` are what it shows."""

    def __init__(self, frame: Callable[[], Any], awaited: Callable[[Any], Any]) -> None:
        self._inner = asyncio.Event().wait()
        self._frame = frame
        self._awaited = awaited

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self._inner.send(None)

    def send(self, value: Any) -> Any:
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        return self._inner.throw(*error)

    def close(self) -> None:
        self._inner.close()

    @property
    def cr_frame(self) -> Any:
        return self._frame()

    @property
    def cr_await(self) -> Any:
        return self._awaited(self)


def _raise(error: type[BaseException]) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail


def _inner(compiled: Any) -> Any:
    return compiled._inner


def _compiled_frame() -> types.FrameType:
    """As Python 3.11 shows that of asyncpg: no position, no line."""

    def query() -> Iterator[None]:
        yield

    code = query.__code__.replace(co_linetable=b"", co_filename="protocol.pyx", co_firstlineno=139)
    return types.FunctionType(code, {})().gi_frame  # type: ignore[no-any-return]


UNREADABLE = 'File "<a frame that cannot be read: {}>", line 0, in Compiled'
WAITS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], list[str]]] = {
    "frames without positions": (_compiled_frame, _inner, ['"protocol.pyx", line 139, in query', "in wait"]),
    "frames that raise": (_raise(RuntimeError), _inner, [UNREADABLE.format("RuntimeError"), "in wait"]),
    "frames that exit": (_raise(SystemExit), _inner, [UNREADABLE.format("SystemExit"), "in wait"]),
    "frames that are none": (lambda: 7, _inner, [UNREADABLE.format("int"), "in wait"]),
    "frames that are broken": (Broken, _inner, [UNREADABLE.format("Broken"), "in wait"]),
    "nothing that it awaits": (_compiled_frame, _raise(KeyboardInterrupt), [UNREADABLE.format("KeyboardInterrupt")]),
    "a cycle": (_compiled_frame, lambda compiled: compiled, ["in query"]),
    "no end": (_compiled_frame, lambda compiled: Compiled(_compiled_frame, compiled._awaited), ["in query"]),
    "a mock": (
        lambda: None,
        lambda compiled: mock.MagicMock(),
        [UNREADABLE.replace("Compiled", "MagicMock").format("MagicMock")],
    ),
}


@UNTRACED
@pytest.mark.parametrize("run", [default_mode, managed_instances])
@pytest.mark.parametrize("name", WAITS)
@pytest.mark.filterwarnings("ignore:coroutine 'Event.wait' was never awaited")
async def test_where_an_app_waits_at_its_deadline(
    run: Any, name: str, time_runs_out: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, awaited, told = WAITS[name]
    logged: list[str] = []
    monkeypatch.setattr(logs._own, "_output", types.SimpleNamespace(write=lambda text, *_: logged.append(text)))

    async def bad(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(part(b"some"))
        asyncio.get_running_loop().call_soon(time_runs_out)
        await Compiled(frame, awaited)

    outcome = await run(adapter(bad))
    assert outcome[:2] == (b"some", "DeadlineExceeded")
    (record,) = [text for text in logged if "it was waiting here" in text]
    places = [record.index(place) for place in (", in bad\n", *told)]
    assert places == sorted(places)


@pytest.mark.parametrize("run", [default_mode, managed_instances])
@pytest.mark.parametrize("raised", [ValueError, SystemExit])
async def test_a_task_of_a_class_of_the_apps_own_at_its_deadline(
    run: Any, raised: type[BaseException], time_runs_out: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(logs._own, "_output", types.SimpleNamespace(write=lambda text, *_: logged.append(text)))

    class Odd(asyncio.Task[Any]):
        __bool__ = get_coro = _raise(raised)

        def cancel(self, msg: Any = None) -> bool:
            super().cancel()
            raise raised

    async def bad(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(part(b"some"))
        asyncio.get_running_loop().call_soon(time_runs_out)
        await asyncio.Event().wait()

    handler = adapter(bad)

    async def function(event: Any, context: Any) -> Any:
        return await Odd(handler(event, context), loop=asyncio.get_running_loop())

    outcome = await run(function)
    assert outcome[:2] == (b"some", "DeadlineExceeded")
    (record,) = [text for text in logged if "it was waiting here" in text]
    assert UNREADABLE.replace("Compiled", "Odd").format(raised.__name__) in record


# What a handler is


def _of_a_handler(name: str, how: str, what: object) -> Any:
    def read(self: object) -> Any:
        if how == "raises":
            raise what  # type: ignore[misc]
        return what

    return type("Handler", (_Handler,), {name: property(read)})()


class _Handler:
    """What the runtime drives, made by hand."""

    wants_shutdown = False

    async def startup(self) -> Any:
        return contextvars.copy_context()

    async def invoke(self, event: Any, context: Any, sink: Any) -> None:
        await sink.reply(b"good")

    async def shutdown(self) -> None: ...


@pytest.mark.parametrize("name", ["deadline_margin", "share_writes", "workers", "wants_shutdown"])
@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("raises", SystemExit),
        ("raises", RuntimeError),
        ("returns", "many"),
        ("returns", -1),
        ("returns", float("nan")),
        ("returns", float("inf")),
        ("returns", "broken"),
        ("returns", "of a broken class"),
    ],
)
def test_attributes_of_a_handler(name: str, how: str, what: object) -> None:
    if what == "broken":
        what = Broken()
    elif what == "of a broken class":
        what = make_class(int, {}, dict.fromkeys(("__eq__", "__hash__"), ("raises", SystemExit)))(1)
    handler = _of_a_handler(name, how, what)
    api = FakeRuntimeApi(*EVENTS, headers=_fields())

    async def run() -> int:
        unused = Connection("host:1", connects_to())
        return await Runtime(handler, Connection("host:1", connects_to(api)), extension=unused).run()

    assert asyncio.run(run()) == 1  # for the poll after the last event
    assert [answer.body for answer in api.answers] == [b"good", b"good"]
    assert bootstrap._workers(handler, 4) == 1


class Startups:
    @staticmethod
    async def exits(self: object) -> Any:
        raise make_error(SystemExit, {"__str__": ("raises", KeyboardInterrupt)})

    @staticmethod
    def raises(self: object) -> Any:
        raise make_error(Exception, {"__class__": ("raises", KeyboardInterrupt)})

    @staticmethod
    async def returns_nothing(self: object) -> Any:
        return None

    @staticmethod
    async def returns_what_is_broken(self: object) -> Any:
        return Broken()

    @staticmethod
    def is_no_coroutine(self: object) -> Any:
        return 7


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("exits", "Hostile"),
        ("raises", "Hostile"),
        ("returns_nothing", "TypeError"),
        ("returns_what_is_broken", "TypeError"),
        ("is_no_coroutine", "TypeError"),
    ],
)
def test_startups_that_fail_are_init_errors(name: str, error: str) -> None:
    handler = type("Handler", (_Handler,), {"startup": vars(Startups)[name].__func__})()
    api = FakeRuntimeApi(*EVENTS)

    async def run() -> int:
        return await Runtime(handler, Connection("host:1", connects_to(api))).run()

    assert asyncio.run(run()) == 1
    (report,) = api.received
    assert report.target == "/2018-06-01/runtime/init/error"
    assert json.loads(report.body)["errorType"] == error


async def test_a_task_factory_of_the_apps_own(run_adapter: Any) -> None:
    """The runtime's own tasks are not made by it. It fails in an invocation, and would in the next."""

    async def bad(scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(_raise(SystemExit))
        try:
            await send(START)
            await send({"type": "http.response.body", "body": b"whole"})
        finally:
            if run_adapter in (transport, sync_transport):  # the client's own tasks
                loop.set_task_factory(None)

    try:
        outcome = await run_adapter(adapter(bad))
    finally:
        asyncio.get_running_loop().set_task_factory(None)
    assert outcome == Outcome(b"whole")


# Anything, anywhere

PLACES = ("raised", "raised in mid-stream", "sent", "body", "name", "value", "status", "type", "more_body", "headers",
          "path", "startup", "returned", "written", "logged", "added to a log", "awaited")  # fmt: skip
BASES: dict[str, type] = {
    "raised": Exception, "raised in mid-stream": SystemExit, "sent": dict, "body": bytes, "name": bytes, "value": bytes,
    "status": int, "type": str, "path": str, "startup": str, "headers": list, "returned": dict, "written": str,
}  # fmt: skip
ARGUMENTS: dict[type, tuple[Any, ...]] = {
    dict: ({"type": "http.response.body", "body": b"x", "more_body": True},),
    bytes: (b"x-a",),
    int: (200,),
    str: ("http.response.start",),
    list: ([(b"x-a", b"b")],),
}


def _thing(place: str, members: Any, of_the_class: Any) -> Any:
    base = BASES.get(place, object)
    if issubclass(base, BaseException):
        return make_error(base, members, of_the_class)
    return type.__call__(make_class(base, members, of_the_class), *ARGUMENTS.get(base, ()))


def _app(place: str, thing: Any) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = dict(START)
        body = part(b"some")
        if place == "raised":
            raise thing
        if place == "logged":
            logging.getLogger("app").error("%s %d", thing, thing)
            logging.getLogger("app").error(thing, exc_info=(type(thing), thing, thing))
        if place == "added to a log":
            logging.getLogger("app").error("said", extra={"thing": thing})
        if place == "awaited":
            await thing
        if place == "name":
            start["headers"] = [(thing, b"x")]
        if place == "value":
            start["headers"] = [(b"x-a", thing), (b"content-type", thing)]
        if place in ("status", "type", "headers"):
            start[place] = thing
        if place in ("body", "more_body"):
            body[place] = thing
        if place == "path":
            body = {"type": "http.response.pathsend", "path": thing}
        await send(start)
        await send(thing if place == "sent" else body)
        if place == "raised in mid-stream":
            raise thing
        await send({"type": "http.response.body"})

    return app


def _handler(place: str, thing: Any) -> Any:
    if place == "returned":
        return lambda event, context: thing if event["rawPath"] == "/bad" else b"good"
    if place == "written":

        @streaming_handler
        async def handler(event: Any, response: Any, context: Any) -> None:
            await response.write(thing if event["rawPath"] == "/bad" else b"good")

        return handler
    if place == "startup":
        return adapter(_app(place, thing), _starts(thing), lifespan="auto")
    return adapter(_app(place, thing))


def _starts(thing: Any) -> App:
    """A lifespan whose messages are made of ``thing``."""

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in ({"type": thing}, {"type": "lifespan.startup.complete", "message": thing}):
            with contextlib.suppress(Exception):
                await send(message)
        await receive()
        await send({"type": "lifespan.shutdown.complete", "message": thing})

    return lifespan


@contextlib.contextmanager
def as_on_lambda() -> Iterator[None]:
    """The app's records go through the handler that Lambda's root logger has, and not through pytest's."""
    out = logs.LambdaHandler(types.SimpleNamespace(write=lambda *_: None), logs.JsonFormatter())
    logger = logging.getLogger("app")
    with (
        mock.patch.object(logger, "handlers", [out]),
        mock.patch.object(logger, "propagate", False),
        mock.patch.object(logging, "raiseExceptions", False),
    ):
        yield


@pytest.mark.parametrize("way", RUNS)
@given(st.sampled_from(PLACES), members, class_members)
def test_anything_anywhere(way: str, place: str, members: Any, of_the_class: Any) -> None:
    """Each invocation has one outcome, what is raised has its name, and the next is served."""
    thing = _thing(place, members, of_the_class)
    with as_on_lambda():
        outcome: Outcome = asyncio.run(RUNS[way](_handler(place, thing)))  # type: ignore[arg-type]
    if place.startswith("raised"):
        assert outcome[:2] == (PAGE if place == "raised" else b"some", "Hostile")
    elif place in ("body", "name", "value", "status", "type", "headers", "sent", "more_body"):
        assert outcome.error in (None, "AppError")
        assert outcome.content in (b"some", b"x-a", b"", b"x", b"bytes", PAGE)
    elif place == "path":
        assert outcome[:2] == (b"", "FileNotFoundError")
    elif place in ("startup", "logged", "added to a log"):
        assert outcome == Outcome(b"some")
