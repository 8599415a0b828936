"""The chat over the local Lambda, in part on both stores; what needs a clock or a gate, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.testing import LambdaTransport, exchange
from example_app import bot, events
from example_app.main import app
from example_app.store import SQLiteStore, get_store
from tests.example.sse import listening, parse
from tests.support.events import function_url_event
from tests.support.wire import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.dev import Dev


def say(site: Dev, room: str, text: str, name: str = "guest") -> int:
    response = site.client.post(f"/chat/{room}/messages", json={"name": name, "text": text})
    assert response.status_code == 201, response.text
    number: int = response.json()["id"]
    return number


def test_a_listener_reads_each_message_before_the_next_is_posted(any_site: Dev) -> None:
    with listening(any_site.client, "/chat/turns/events") as heard:
        for text in ("one", "two", "three"):
            number = say(any_site, "turns", text)
            assert next(heard) == (number, {"name": "guest", "text": text})


def test_two_listeners_in_two_environments_hear_a_third(site: Dev) -> None:
    with listening(site.client, "/chat/three/events") as one, listening(site.client, "/chat/three/events") as two:
        number = say(site, "three", "hello")
        assert next(one) == next(two) == (number, {"name": "guest", "text": "hello"})


def test_rooms_are_separate(site: Dev) -> None:
    say(site, "left", "in the left room")
    number = say(site, "right", "in the right room")
    with listening(site.client, "/chat/right/events") as heard:
        assert next(heard).id == number


def test_who_comes_back_has_missed_nothing_and_gets_nothing_twice(any_site: Dev) -> None:
    with listening(any_site.client, "/chat/back/events") as heard:
        first = say(any_site, "back", "heard")
        assert next(heard).id == first
    missed = [say(any_site, "back", f"missed {number}") for number in range(3)]
    with listening(any_site.client, "/chat/back/events", last_event_id=str(first)) as heard:
        assert [next(heard).id for _ in missed] == missed
        assert next_after(any_site, heard) == "and on"
    with listening(any_site.client, f"/chat/back/events?after={missed[1]}", last_event_id=str(first)) as heard:
        assert next(heard).id == missed[2]


def next_after(site: Dev, heard: Iterator[tuple[int, dict[str, str]]]) -> str:
    say(site, "back", "and on")
    return next(heard)[1]["text"]


def test_a_newcomer_gets_what_was_said_before(site: Dev) -> None:
    numbers = [say(site, "late", text) for text in ("one", "two")]
    with listening(site.client, "/chat/late/events") as heard:
        assert [next(heard).id for _ in numbers] == numbers


def test_the_bot_answers_everyone_token_by_token(any_site: Dev) -> None:
    with listening(any_site.client, "/chat/bot/events") as one, listening(any_site.client, "/chat/bot/events") as two:
        number = say(any_site, "bot", "@bot what is a stream?")
        assert next(one).data["text"] == next(two).data["text"] == "@bot what is a stream?"
        answers = []
        for heard in (one, two):
            answer = [next(heard)]
            while "token" in answer[-1].data:
                answer.append(next(heard))
            answers.append(answer)
    assert answers[0] == answers[1]
    *tokens, end = answers[0]
    assert end.data == {"name": "bot", "answers": number, "end": "done"}
    assert len(tokens) >= 3
    assert {event.data["answers"] for event in tokens} == {number}
    text = "".join(event.data["token"] for event in tokens)
    assert set(text.split()) <= set(bot.TEXT.split())


@pytest.mark.parametrize(
    "message", [{"name": "", "text": "x"}, {"name": "x" * 41, "text": "x"}, {"name": "x", "text": ""}, {"name": "x"}]
)
def test_a_message_that_is_none(site: Dev, message: dict[str, str]) -> None:
    assert site.client.post("/chat/refused/messages", json=message).status_code == 422


def test_half_a_surrogate_pair(site: Dev) -> None:
    content, headers = rb'{"name": "x", "text": "\ud800"}', {"content-type": "application/json"}
    assert site.client.post("/chat/refused/messages", content=content, headers=headers).status_code == 422


@pytest.mark.parametrize("path", ["/chat/No%20Room/events", "/chat/a/events?after=x", "/chat/a/events?after=-1"])
def test_a_stream_that_is_none(site: Dev, path: str) -> None:
    assert site.client.get(path).status_code == 422


class TestInThisProcess:
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SQLiteStore]:
        with contextlib.closing(SQLiteStore(tmp_path / "store")) as store:
            app.dependency_overrides[get_store] = lambda: store
            yield store
            app.dependency_overrides.clear()

    @pytest.fixture
    async def client(self, store: SQLiteStore) -> AsyncIterator[httpx.AsyncClient]:
        transport = LambdaTransport(app, wait_for_app=False)
        async with httpx.AsyncClient(transport=transport, base_url="https://testserver") as client:
            yield client

    async def test_a_token_is_heard_before_the_next_exists(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go_on = asyncio.Event()

        async def tokens(prompt: str) -> AsyncIterator[str]:
            assert prompt == "@Bot go"
            yield "one"
            await go_on.wait()
            yield "two"

        monkeypatch.setattr(bot, "tokens", tokens)
        async with client.stream("GET", "/chat/a/events") as response:
            heard = self.events(response)
            posted = await client.post("/chat/a/messages", json={"name": "x", "text": "@Bot go"})
            assert posted.status_code == 201
            assert (await anext(heard))["text"] == "@Bot go"
            assert (await anext(heard))["token"] == "one"
            go_on.set()
            assert (await anext(heard))["token"] == "two"
            assert (await anext(heard))["end"] == "done"

    async def test_an_answer_that_fails_says_so(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def tokens(prompt: str) -> AsyncIterator[str]:
            yield "one"
            raise ValueError(prompt)

        monkeypatch.setattr(bot, "tokens", tokens)
        async with client.stream("GET", "/chat/a/events") as response:
            heard = self.events(response)
            posted = await client.post("/chat/a/messages", json={"name": "x", "text": "@bot"})
            assert posted.status_code == 201
            found = [await anext(heard) for _ in range(3)]
        assert [sorted(data) for data in found] == [
            ["name", "text"],
            ["answers", "name", "token"],
            ["answers", "end", "name"],
        ]
        assert found[2]["end"] == "failed"

    async def test_a_stream_ends_by_itself_and_says_when_to_come_back(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events, "STREAM_SECONDS", 0)
        monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0)
        async with client.stream("GET", "/chat/a/events") as response:
            pieces = response.aiter_text()
            assert [await anext(pieces) for _ in range(2)] == ["retry: 300\n\n", ": still here\n\n"]
            assert await anext(pieces, "the end") == "the end"
        assert exchange(response).error_type is None

    async def test_a_silent_stream_shows_that_it_lives(
        self, client: httpx.AsyncClient, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0)
        async with client.stream("GET", "/chat/a/events") as response:
            pieces = response.aiter_text()
            assert [await anext(pieces) for _ in range(3)] == ["retry: 300\n\n", ": still here\n\n", ": still here\n\n"]
            await store.append("chat/a", {"name": "x", "text": "hello"})
            while (piece := await anext(pieces)) == ": still here\n\n":
                pass
        assert parse(piece.splitlines()[:2]).data["text"] == "hello"

    async def test_what_is_older_than_the_history_is_left_out(
        self, client: httpx.AsyncClient, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as past:
            now = time.time()
            past.setattr(time, "time", lambda: now - 3700)
            await store.append("chat/a", {"name": "x", "text": "long ago"})
        monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0)
        async with client.stream("GET", "/chat/a/events") as response:
            pieces = response.aiter_text()
            # The history has been read, and was empty.
            assert [await anext(pieces) for _ in range(2)] == ["retry: 300\n\n", ": still here\n\n"]
            await store.append("chat/a", {"name": "x", "text": "just now"})
            while (piece := await anext(pieces)) == ": still here\n\n":
                pass
        assert parse(piece.splitlines()[:2]).data["text"] == "just now"

    async def test_the_deadline_ends_a_stream_well(self, store: SQLiteStore) -> None:
        # Told after 0.2 s, with minutes to end in.
        due = str(int((time.time() + 900) * 1000))
        told_soon = StreamingAdapter(app, deadline_margin=899.8)
        api = await serve(told_soon, function_url_event(path="/chat/a/events"), Lambda_Runtime_Deadline_Ms=due)
        assert api.answers[0].complete
        assert (api.answers[0].content, api.answers[0].trailers) == (b"retry: 300\n\n", {})

    @staticmethod
    async def events(response: httpx.Response) -> AsyncIterator[dict[str, str]]:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield parse(["id: 0", line]).data
