"""A reader of server-sent events, as far as the example sends them."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


class Event(NamedTuple):
    id: int
    data: dict[str, Any]


def parse(lines: list[str]) -> Event:
    fields = dict(line.split(": ", 1) for line in lines)
    return Event(int(fields["id"]), json.loads(fields["data"]))


def events(response: httpx.Response) -> Iterator[Event]:
    lines: list[str] = []
    for line in response.iter_lines():
        if line:
            lines.append(line)
            continue
        if lines[0].startswith("id: "):
            yield parse(lines)
        lines = []


@contextlib.contextmanager
def listening(client: httpx.Client, path: str, **headers: str) -> Iterator[Iterator[Event]]:
    """One stream, without any reconnecting."""
    with client.stream(
        "GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()}
    ) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield events(response)
