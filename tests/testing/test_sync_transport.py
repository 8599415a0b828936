"""``SyncLambdaTransport``: the same from a thread without an event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import httpx
import httpx2
import pytest

from asgi_stream import LifespanError
from asgi_stream.testing import LambdaRefused, SyncLambdaTransport, exchange
from tests.testing.apps import URL, WithLifespan, answers, body, echo, start


def client(app: Any, **options: Any) -> httpx.Client:
    return httpx.Client(transport=SyncLambdaTransport(app, **options), base_url=URL)


class Steps:
    """Sends a piece, then waits for the test before the next. Nothing in it can keep the process alive."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.ended = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        self._loop = asyncio.get_running_loop()
        self._go = asyncio.Semaphore(0)
        await start(send)
        for piece in self.pieces:
            await body(send, piece, more=True)
            await self._go.acquire()
        await body(send)
        self.ended.set()

    def go(self) -> None:
        self._loop.call_soon_threadsafe(self._go.release)


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_each_piece_is_read_before_the_app_sends_the_next(library: Any) -> None:
    app = Steps(b"one", b"two")
    with (
        library.Client(transport=SyncLambdaTransport(app), base_url=URL) as user,
        user.stream("GET", "/") as response,
    ):
        assert isinstance(response, library.Response)
        pieces = response.iter_raw()
        for expected in (b"one", b"two"):
            assert next(pieces) == expected
            assert not app.ended.is_set()
            app.go()
        assert list(pieces) == []
        assert [chunk.size for chunk in exchange(response).chunks] == [3, 3]


def test_an_app_does_not_notice_that_its_client_has_left() -> None:
    app = Steps(b"one", b"two", b"three")
    with client(app) as user:
        with user.stream("GET", "/") as response:
            assert next(response.iter_raw()) == b"one"
        assert not app.ended.is_set()
        for _ in range(3):
            app.go()
        exchange(response).wait()
        assert app.ended.is_set()
        assert len(exchange(response).chunks) == 3
        exchange(response).wait()


def test_requests_and_responses() -> None:
    with client(echo) as user:
        seen = user.post("/a%20b?x=1", data={"field": "value"}).json()
    assert (seen["method"], seen["path"], seen["query"], seen["body"]) == ("POST", "/a b", "x=1", "field=value")


def test_what_an_app_raises_is_raised_to_the_test() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        raise ValueError("boom")

    with client(app) as user, pytest.raises(ValueError, match="boom"):
        user.get("/")
    with client(app, raise_app_exceptions=False) as user:
        response = user.get("/")
    assert response.status_code == 500
    assert exchange(response).error_type == "Function.ValueError"


def test_what_lambda_refuses() -> None:
    with client(echo) as user, pytest.raises(LambdaRefused, match="6 MB"):
        user.post("/", content=bytes(6_000_000))


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name == "asgi-stream-testing"}


def test_lifespan_and_thread_begin_and_end_with_the_client() -> None:
    app = WithLifespan(answers())
    assert not threads()
    with client(app) as user:
        assert app.diary == ["startup"]
        user.get("/")
        user.get("/")
        assert threads()
    assert app.diary == ["startup", "request", "request", "shutdown"]
    assert not threads()


def test_without_a_context_manager() -> None:
    app = WithLifespan(answers())
    user = client(app)
    assert not threads()
    user.get("/")
    user.close()
    user.close()
    assert app.diary == ["startup", "request", "shutdown"]
    assert not threads()


def test_a_transport_may_outlive_its_clients() -> None:
    app = WithLifespan(answers())
    with SyncLambdaTransport(app) as transport:
        for _ in range(2):
            with httpx.Client(transport=transport, base_url=URL) as user:
                user.get("/")
    assert app.diary == ["startup", "request", "request", "shutdown"]
    assert not threads()


def test_an_app_that_cannot_start() -> None:
    with pytest.raises(LifespanError, match="no database"), client(WithLifespan(answers(), failure="no database")):
        pass
    assert not threads()


def test_a_closed_transport_says_so() -> None:
    transport = SyncLambdaTransport(answers())
    with transport:
        pass
    with pytest.raises(RuntimeError, match="this transport is closed"):
        transport.handle_request(httpx.Request("GET", URL))
    transport.close()
    assert not threads()


def test_waiting_on_the_event_loop_of_the_app_is_refused() -> None:
    refused: list[str] = []

    class App(Steps):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, send)
            with pytest.raises(RuntimeError, match="await finished"):
                exchange(responses[0]).wait()
            refused.append("refused")

    app = App(b"x")
    responses: list[httpx.Response] = []
    with client(app) as user, user.stream("GET", "/") as response:
        responses.append(response)
        assert next(response.iter_raw()) == b"x"
        app.go()
        exchange(response).wait()
    assert refused == ["refused"]


def test_a_client_that_is_never_closed_keeps_no_process_alive() -> None:
    code = """
import httpx
from asgi_stream.testing import SyncLambdaTransport
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"hello"})
client = httpx.Client(transport=SyncLambdaTransport(app), base_url="https://testserver")
print(client.get("/").text)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stdout) == (0, "hello\n"), process.stderr
