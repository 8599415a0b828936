"""Plain handlers, and what the name in _HANDLER may stand for."""

from __future__ import annotations

import asyncio
import copy
import decimal
import functools
import inspect
import json
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from mangum import Mangum

from asgi_stream import ConfigurationError, LambdaContext, StreamingAdapter, StreamingHandler, streaming_handler
from asgi_stream.handlers.plain import PlainHandler
from asgi_stream.handlers.threads import Threads
from asgi_stream.recognise import as_handler
from asgi_stream.sinks import Handler, Sink
from tests.support.events import function_url_event
from tests.support.wire import serve
from tests.test_invariants import fresh_interpreter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.anyio


async def answers(function: Callable[..., Any], *events: object) -> list[Any]:
    api = await serve(as_handler(function), *events)
    return [json.loads(answer.body) for answer in api.answers]


def echo(event: Any, context: LambdaContext) -> Any:
    return {"event": event, "id": context.aws_request_id}


async def async_echo(event: Any, context: LambdaContext) -> Any:
    await asyncio.sleep(0)
    return {"event": event, "id": context.aws_request_id}


class Function:
    def __call__(self, event: Any, context: LambdaContext) -> Any:
        return {"event": event, "id": context.aws_request_id}


class AsyncCallable:
    async def __call__(self, event: Any, context: LambdaContext) -> Any:
        return {"event": event, "id": context.aws_request_id}


@functools.wraps(async_echo)
def hidden(event: Any, context: LambdaContext, *more: Any) -> Any:
    """As a decorator of another library leaves it: a plain function that returns a coroutine."""
    return async_echo(event, context)


@pytest.mark.parametrize(
    "function",
    [echo, async_echo, Function(), AsyncCallable(), hidden, functools.partial(echo), Function().__call__],
)
async def test_what_is_returned_is_the_answer(function: Any) -> None:
    assert isinstance(as_handler(function), PlainHandler)
    assert await answers(function, {"a": "ü"}, None, [1]) == [
        {"event": {"a": "ü"}, "id": "id-1"},
        {"event": None, "id": "id-2"},
        {"event": [1], "id": "id-3"},
    ]


async def test_the_wire() -> None:
    api = await serve(as_handler(echo), {})
    assert api.answers[0].kind == "response"
    assert api.answers[0].headers["content-type"] == "application/json"
    assert "lambda-runtime-function-response-mode" not in api.answers[0].headers


async def test_bytes_are_sent_as_they_are() -> None:
    api = await serve(as_handler(lambda event, context: b"\x00\xff"), {})
    assert api.answers[0].body == b"\x00\xff"
    assert api.answers[0].headers["content-type"] == "application/unknown"


async def test_json_takes_as_few_bytes_as_it_can() -> None:
    """Of the 6 MB that an answer may have. Half of a surrogate pair has no UTF-8, and stays an escape."""
    api = await serve(as_handler(lambda event, context: {"a": ["ü☃", "\ud800"]}), {})
    assert api.answers[0].body == '{"a":["ü☃","'.encode() + b'\\ud800"]}'
    assert json.loads(api.answers[0].body) == {"a": ["ü☃", "\ud800"]}


async def test_decimals_as_dynamodb_has_them() -> None:
    values = [decimal.Decimal(1), decimal.Decimal(12345678901234567890), decimal.Decimal("0.5")]
    assert await answers(lambda event, context: values, {}) == [[1, 12345678901234567890, 0.5]]


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), float("nan"), decimal.Decimal("NaN"), decimal.Decimal("Infinity"), {(1, 2): 3}]
)
async def test_what_is_no_json_is_an_error_that_says_so(value: object) -> None:
    api = await serve(as_handler(lambda event, context: value if event == 1 else "good"), 1, 2)
    assert [answer.kind for answer in api.answers] == ["error", "response"]
    assert "the handler returned what cannot be said in JSON" in json.loads(api.answers[0].body)["errorMessage"]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), StopIteration()])
@pytest.mark.parametrize("is_async", [True, False])
async def test_what_is_raised_is_an_error_and_the_next_invocation_works(error: BaseException, is_async: bool) -> None:
    def plain(event: Any, context: Any) -> str:
        if event == 1:
            raise error
        return "good"

    async def coroutine(event: Any, context: Any) -> str:
        return plain(event, context)

    api = await serve(as_handler(coroutine if is_async else plain), 1, 2)
    assert [answer.kind for answer in api.answers] == ["error", "response"]
    # PEP 479: no StopIteration leaves a coroutine.
    name = "RuntimeError" if isinstance(error, StopIteration) else type(error).__name__
    assert json.loads(api.answers[0].body)["errorType"] == name
    assert api.answers[1].body == b'"good"'


async def test_a_plain_function_runs_beside_the_loop_and_may_run_a_loop_of_its_own() -> None:
    threads = []

    def handler(event: Any, context: Any) -> str:
        threads.append(threading.get_ident())
        return asyncio.run(asyncio.sleep(0, "slept"))

    assert await answers(handler, 1, 2) == ["slept", "slept"]
    assert threading.get_ident() not in threads


async def test_a_plain_function_finds_an_event_loop_as_in_a_main_thread() -> None:
    def handler(event: Any, context: Any) -> str:
        return asyncio.get_event_loop().run_until_complete(asyncio.sleep(0, "slept"))

    assert await answers(handler, 1, 2) == ["slept", "slept"]


def test_a_thread_that_starts_while_the_environment_ends_leaves_no_loop_open() -> None:
    threads = Threads(2, "test", with_loops=True)
    threads._set_loop()
    threads.close()
    threads._set_loop()
    threads.close()
    assert [loop.is_closed() for loop in threads._loops] == [True]
    asyncio.set_event_loop(None)


async def test_a_function_of_another_adapter() -> None:
    app = FastAPI()

    @app.get("/")
    async def root() -> dict[str, str]:
        return {"hello": "world"}

    (answer,) = await answers(Mangum(app, lifespan="off"), function_url_event())
    assert (answer["statusCode"], answer["body"]) == (200, '{"hello":"world"}')


# What a name may stand for


async def asgi_app(scope: Any, receive: Any, send: Any) -> None: ...


class AsgiInstance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


@streaming_handler
async def streaming(event: Any, response: Any, context: Any) -> None: ...


async def generator(event: Any, context: Any) -> AsyncIterator[str]:
    yield ""


def blocking_generator(event: Any, context: Any) -> Iterator[str]:
    yield ""


@pytest.mark.parametrize("app", [asgi_app, AsgiInstance(), FastAPI(), functools.partial(asgi_app)])
def test_an_asgi_app_is_wrapped(app: Any) -> None:
    handler = as_handler(app)
    assert isinstance(handler, StreamingAdapter)
    assert handler.app is app


class GeneratorObject:
    async def __call__(self, event: Any, context: Any) -> AsyncIterator[str]:
        yield ""


@pytest.mark.parametrize("function", [generator, blocking_generator, GeneratorObject()])
def test_a_generator_streams(function: Any) -> None:
    assert isinstance(as_handler(function), StreamingHandler)


@pytest.mark.parametrize("handler", [streaming, StreamingAdapter(asgi_app)])
def test_a_handler_is_left_alone(handler: Any) -> None:
    assert as_handler(handler) is handler


class BareHandler:
    """What the runtime drives, without the base class."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    async def startup(self) -> Any:
        self.done.append("startup")

    async def invoke(self, event: Any, context: Any, sink: Any) -> None:
        self.done.append(event)

    async def shutdown(self) -> None:
        self.done.append("shutdown")


class OwnHandler(BareHandler):
    workers = 4
    share_writes = "on"
    wants_shutdown = True

    def adopt(self, adapters: Any) -> None:
        self.done.append(adapters)


async def test_an_object_with_the_methods_of_a_handler_is_driven() -> None:
    own = OwnHandler()
    handler = as_handler(own)
    assert (handler.workers, handler.share_writes, handler.deadline_margin) == (4, False, None)
    handler.adopt(["adapters"])
    await handler.startup()
    await handler.invoke("event", None, Sink())
    await handler.shutdown()
    assert own.done == [["adapters"], "startup", "event", "shutdown"]
    assert handler.wants_shutdown


def test_an_object_with_the_methods_alone_has_the_defaults() -> None:
    handler = as_handler(BareHandler())
    handler.adopt([])
    assert not handler.wants_shutdown
    for name in Handler.__annotations__:
        assert getattr(handler, name) == getattr(Handler, name)


async def test_the_copy_of_such_an_object_has_its_own_state() -> None:
    class Counting(BareHandler):
        starts = 0

        async def startup(self) -> None:
            self.starts += 1

    own = Counting()
    handler = as_handler(own)
    await copy.copy(handler).startup()
    assert own.starts == 0
    await handler.startup()
    assert own.starts == 1


@pytest.mark.parametrize("name", Handler.__annotations__)
def test_attributes_that_are_set_to_anything_have_their_defaults(name: str) -> None:
    adapter = StreamingAdapter(asgi_app)
    setattr(adapter, name, "many")
    handler = as_handler(adapter)
    assert getattr(handler, name) == getattr(Handler, name)
    assert as_handler(handler) is handler


@pytest.mark.parametrize("function", [print, max])
def test_what_is_written_in_c_is_called(function: Any) -> None:
    assert isinstance(as_handler(function), PlainHandler)


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


async def undecorated(event: Any, response: Any, context: Any) -> None: ...


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, r"it is int; a handler is StreamingAdapter\(app\)"),
        (None, "it is NoneType"),
        (AsgiInstance, "it is a class"),
        (StreamingAdapter, "it is a class"),
        (wsgi, "it is a WSGI app"),
        (undecorated, r"it takes \(event, response, context\).*decorated with @streaming_handler"),
        (lambda: None, r"it takes \(\)"),
        (lambda one: None, r"it takes \(one\)"),
        (lambda a, b, c, d: None, r"it takes \(a, b, c, d\)"),
    ],
)
def test_what_is_no_handler_is_named_with_the_remedy(value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        as_handler(value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda event, context: None, r"cannot be called as a streaming handler, with \(event, response, context\)"),
        (AsgiInstance, "decorates a function, not <class"),
        (5, "decorates a function, not 5"),
    ],
)
def test_what_the_decorator_does_not_take(function: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        streaming_handler(function)


@pytest.mark.parametrize(("content_type", "error"), [("text/plain\n", ValueError), (5, TypeError), (None, TypeError)])
def test_a_content_type_is_checked_before_the_first_invocation(content_type: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="content-type"):
        streaming_handler(content_type=content_type)(streaming.__wrapped__)  # type: ignore[attr-defined]


def test_a_generator_with_a_response_argument_is_named() -> None:
    async def both(event: Any, response: Any, context: Any) -> AsyncIterator[str]:
        yield ""

    with pytest.raises(ConfigurationError, match=r"both cannot be called .* with \(event, context\)"):
        streaming_handler(both)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "code", "kind"),
    [
        (as_handler, "async def made(scope: Scope, receive: Receive, send: Send) -> None: ...", StreamingAdapter),
        (as_handler, "def made(event: Event, context: Context) -> Answer: ...", PlainHandler),
        (as_handler, "async def made(event: Event, context: Context) -> Pieces: yield", StreamingHandler),
        (streaming_handler, "async def made(event: Event, response: Response, context: C): ...", StreamingHandler),
    ],
)
def test_annotations_may_name_what_type_checkers_alone_import(
    make: Callable[[Any], Any], code: str, kind: type
) -> None:
    """Up to Python 3.13 it takes the import from __future__, which the code then has from this module."""
    module: dict[str, Any] = {}
    exec(compile(code, "main.py", "exec", dont_inherit=sys.version_info >= (3, 14)), module)
    assert isinstance(make(module["made"]), kind)


def test_under_another_runtime_a_streaming_handler_says_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match="AWS_LAMBDA_EXEC_WRAPPER"):
        streaming({}, None)
    assert inspect.iscoroutinefunction(streaming.__wrapped__)  # type: ignore[attr-defined]
    assert streaming.__name__ == "streaming"  # type: ignore[attr-defined]


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASGI_STREAM_DEADLINE_MARGIN", "2.5")
    assert as_handler(echo).deadline_margin == 2.5
    monkeypatch.setenv("ASGI_STREAM_DEADLINE_MARGN", "2.5")
    with pytest.raises(ConfigurationError, match="ASGI_STREAM_DEADLINE_MARGN is not a setting"):
        as_handler(echo)


def test_a_plain_function_pays_for_nothing_of_streams() -> None:
    modules = fresh_interpreter("from asgi_stream.recognise import as_handler; as_handler(lambda event, context: None)")
    assert {name for name in modules if name.startswith("asgi_stream.handlers.")} == {
        "asgi_stream.handlers.base",
        "asgi_stream.handlers.plain",
        "asgi_stream.handlers.signatures",
    }
