"""What each use of the example answers, asked by one invocation after another: the same on every platform."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from example_app import bot
from tests.support.events import function_url_event

# One invocation: an event, and the stream that the function answers with.
Invoke = Callable[[bytes], Awaitable[bytes]]

NUMBERS = "".join(f"byte {number * 16:>10}\n" for number in range(20 * 1024 * 1024 // 16)).encode()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Site:
    """The example, wherever it runs."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke

    async def get(self, target: str, **headers: str) -> Answer:
        """Asks for a path, with its query."""
        return await self._ask("GET", target, headers, None)

    async def post(self, target: str, content: Any) -> Answer:
        """Posts JSON."""
        return await self._ask("POST", target, {"content-type": "application/json"}, json.dumps(content))

    async def events(self, target: str) -> list[dict[str, Any]]:
        """Listens to a channel until its stream ends by itself; returns the data of its events."""
        answer = await self.get(target)
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert answer.text.startswith("retry: ")
        return [json.loads(data) for data in re.findall(r"^data: (.*)$", answer.text, re.MULTILINE)]

    async def _ask(self, method: str, target: str, headers: dict[str, str], body: str | None) -> Answer:
        url = urlsplit(target)
        event = function_url_event(method, url.path, url.query)
        event["headers"] |= headers
        if body is not None:
            event["body"] = body
        prelude, delimiter, content = (await self._invoke(json.dumps(event).encode())).partition(bytes(8))
        assert delimiter, prelude[:2000]
        told = json.loads(prelude)
        return Answer(told["statusCode"], told["headers"], content)


async def start_page(site: Site) -> None:
    answer = await site.get("/?delay=0")
    assert answer.status == 200
    assert re.findall(r"<h1.*?>(\w+)</h1>", answer.text) == ["Serverless", "Is", "Way", "More", "Mature"]
    assert answer.text.rstrip().endswith("</html>")
    assert json.loads((await site.get("/hello")).body) == {"message": "Hello from asgi-stream"}


async def chat(site: Site) -> None:
    assert "</html>" in (await site.get("/chat")).text
    room = "/chat/acceptance"
    said = [{"name": "guest", "text": text} for text in ("hello", "@bot what is a stream?")]
    for message in said:
        assert (await site.post(f"{room}/messages", message)).status == 201
    heard = await site.events(f"{room}/events")
    assert heard[:2] == said
    *tokens, end = heard[2:]
    assert (end["name"], end["end"]) == ("bot", "done")
    assert len(tokens) >= 3
    assert set("".join(item["token"] for item in tokens).split()) <= set(bot.TEXT.split())


async def files(site: Site, *, whole: bool) -> None:
    """`whole` downloads all 20 MiB, which is more than a buffered answer may have."""
    assert "numbers.txt" in (await site.get("/files")).text
    part = await site.get("/files/numbers.txt", range="bytes=1048576-1048607")
    assert part.status == 206
    assert part.headers["content-range"] == f"bytes 1048576-1048607/{len(NUMBERS)}"
    assert part.body == b"byte    1048576\nbyte    1048592\n"
    assert (await site.get("/files/numbers.txt", **{"if-none-match": part.headers["etag"]})).status == 304
    if whole:
        answer = await site.get("/files/numbers.txt")
        assert answer.status == 200
        assert hashlib.sha256(answer.body).hexdigest() == hashlib.sha256(NUMBERS).hexdigest()


async def rendering(site: Site) -> None:
    page = (await site.get("/rendering?delay=0")).text
    slots = re.findall(r'<slot name="(\w+)"', page)
    assert len(slots) == 3
    assert sorted(re.findall(r'<div slot="(\w+)"', page)) == sorted(slots)
    assert "could not be made" not in page
    assert page.rstrip().endswith("</html>")


async def live(site: Site) -> None:
    assert "</html>" in (await site.get("/live")).text
    now = time.time()
    batch = {"device": "sensor", "readings": [{"at": now, "value": 20.5}, {"at": now, "value": 20.75}]}
    assert (await site.post("/live/readings", batch)).status == 202
    assert await site.events("/live/events") == [{"device": "sensor", "readings": [[now, 20.5], [now, 20.75]]}]


async def all_uses(site: Site, *, whole_file: bool) -> None:
    """The start page and the four uses, one after another."""
    await start_page(site)
    await chat(site)
    await files(site, whole=whole_file)
    await rendering(site)
    await live(site)
