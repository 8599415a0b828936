"""Lifespan: once per process, as the app says."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from asgi_stream.asgi.lifespan import Lifespan
from asgi_stream.errors import LifespanError
from tests.support.hostile import RAISED, make_class, make_error

pytestmark = pytest.mark.anyio

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class App:
    """An app that answers as told and notes what it was asked."""

    def __init__(self, startup: str = "complete", shutdown: str = "complete", message: Any = None) -> None:
        self.seen: list[Any] = []
        self._answers = {"lifespan.startup": startup, "lifespan.shutdown": shutdown}
        self._message = message

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["type"])
        variable.set("set at startup")
        while True:
            event = await receive()
            self.seen.append(event["type"])
            answer = self._answers[event["type"]]
            if answer == "http":
                await send({"type": "http.response.start", "status": 200})
            if answer == "raise":
                raise ValueError("not today")
            if answer == "exit":
                raise SystemExit(3)
            if answer == "return":
                return
            scope["state"]["began"] = True
            message = {"type": f"{event['type']}.{answer}"}
            await send(message if self._message is None else {**message, "message": self._message})
            if event["type"] == "lifespan.shutdown":
                return


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_a_whole_life(mode: str) -> None:
    app = App()
    lifespan = Lifespan(app, mode)
    await lifespan.startup()
    assert lifespan.state == {"began": True}
    assert lifespan.variables[variable] == "set at startup"
    assert variable.get() == "unset"
    await lifespan.shutdown()
    await lifespan.shutdown()
    assert app.seen == ["lifespan", "lifespan.startup", "lifespan.shutdown"]


async def test_off() -> None:
    app = App()
    lifespan = Lifespan(app, "off")
    await lifespan.startup()
    await lifespan.shutdown()
    assert app.seen == []


@pytest.mark.parametrize("startup", ["raise", "return", "http"])
async def test_an_app_without_lifespan(startup: str) -> None:
    lifespan = Lifespan(App(startup), "auto")
    await lifespan.startup()
    await lifespan.shutdown()


async def test_an_app_that_knows_no_lifespan_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"

    await Lifespan(app, "auto").startup()
    assert not caplog.records


@pytest.mark.parametrize("startup", ["raise", "return", "http"])
async def test_an_app_without_the_lifespan_that_it_must_have(startup: str) -> None:
    lifespan = Lifespan(App(startup), "on")
    with pytest.raises(LifespanError, match="the app has no lifespan, and lifespan is on"):
        await lifespan.startup()


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_a_startup_that_exits(mode: str) -> None:
    with pytest.raises(LifespanError, match=r"the app raised SystemExit\(3\) in its lifespan"):
        await Lifespan(App("exit"), mode).startup()


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_a_startup_that_fails_says_why(mode: str) -> None:
    lifespan = Lifespan(App("failed", message="no database"), mode)
    with pytest.raises(LifespanError, match="the app's startup failed: no database"):
        await lifespan.startup()


async def test_a_startup_that_fails_without_a_reason() -> None:
    with pytest.raises(LifespanError, match="it gave no reason"):
        await Lifespan(App("failed"), "auto").startup()


async def test_a_startup_that_fails_and_raises_too() -> None:
    """Starlette sends ``startup.failed`` and lets the exception through."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise ValueError("no database")

    with pytest.raises(LifespanError, match="no database"):
        await Lifespan(app, "auto").startup()
    await asyncio.sleep(0)


async def test_a_shutdown_that_fails() -> None:
    lifespan = Lifespan(App(shutdown="failed", message="still busy"), "auto")
    await lifespan.startup()
    with pytest.raises(LifespanError, match="the app's shutdown failed: still busy"):
        await lifespan.shutdown()


@pytest.mark.parametrize("shutdown", ["raise", "exit"])
async def test_a_shutdown_that_raises(shutdown: str) -> None:
    lifespan = Lifespan(App(shutdown=shutdown), "auto")
    await lifespan.startup()
    with pytest.raises(LifespanError, match="the app raised at shutdown"):
        await lifespan.shutdown()


async def test_an_app_whose_lifespan_ends_early() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    lifespan = Lifespan(app, "on")
    await lifespan.startup()
    await lifespan.shutdown()


class Text(str):
    __slots__ = ()

    def _raise(self, *_: object) -> Any:
        raise SystemExit

    __str__ = __repr__ = __format__ = __hash__ = __eq__ = __bool__ = __len__ = _raise


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_answers_of_odd_types(mode: str) -> None:
    """They are read when they are sent, as what they are."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": Text("lifespan.startup.complete"), "message": Text("ignored")})
        await receive()
        await send({"type": Text("lifespan.shutdown.failed"), "message": Text("still busy")})

    lifespan = Lifespan(app, mode)
    await lifespan.startup()
    with pytest.raises(LifespanError, match="the app's shutdown failed: still busy"):
        await lifespan.shutdown()


@pytest.mark.parametrize("message", [7, object(), Text("no database"), {"a": 1}], ids=["int", "object", "text", "dict"])
async def test_a_reason_of_an_odd_type(message: object) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": message})

    with pytest.raises(LifespanError, match="the app's startup failed: "):
        await Lifespan(app, "auto").startup()


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize("base", [Exception, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
async def test_errors_that_cannot_be_told(mode: str, base: type[BaseException]) -> None:
    error = make_error(base, dict.fromkeys(("__str__", "__repr__", "__class__", "__bool__"), ("raises", SystemExit)))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise error

    if mode == "auto" and base not in (SystemExit, KeyboardInterrupt):
        await Lifespan(app, mode).startup()  # it is warned of
    else:
        with pytest.raises(LifespanError):
            await Lifespan(app, mode).startup()

    async def fails_at_shutdown(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise error

    lifespan = Lifespan(fails_at_shutdown, mode)
    await lifespan.startup()
    with pytest.raises(LifespanError):
        await lifespan.shutdown()


@pytest.mark.parametrize("raised", RAISED)
async def test_a_reason_whose_text_cannot_be_made(raised: type[BaseException]) -> None:
    """The message of the app is of any type."""
    reason = make_class(object, {"__str__": ("raises", raised), "__bool__": ("raises", raised)})()
    with pytest.raises(LifespanError, match="startup failed: <Hostile: its text could not be made>"):
        await Lifespan(App("failed", message=reason), "on").startup()
    lifespan = Lifespan(App("complete", "failed", message=reason), "on")
    await lifespan.startup()
    with pytest.raises(LifespanError, match="shutdown failed: <Hostile: its text could not be made>"):
        await lifespan.shutdown()
