"""A server's side of one HTTP/1.1 connection: h11 for the protocol, asyncio streams for the bytes.

A framework would hide what the Runtime API needs to see: where chunks begin and end, and the trailers behind
the body.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import h11

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Mapping

_READ_SIZE = 64 * 1024


class Truncated(Exception):
    """The peer's request ended, or became nonsense, before its end."""


class HttpConnection:
    """Requests one after the other on a kept-alive connection. Not for concurrent use."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER)
        self.trailers: dict[str, str] = {}

    async def next_request(self) -> h11.Request | None:
        """Waits for a request's head. Returns None when the peer is done. Raises Truncated."""
        if self._h11.our_state in (h11.MUST_CLOSE, h11.ERROR):
            return None
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        event = await self._event()
        return event if isinstance(event, h11.Request) else None

    async def body(self) -> AsyncIterator[h11.Data]:
        """Yields the body as it comes; `trailers` (lower-case names) is set afterwards. Raises Truncated."""
        if self._h11.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        while True:
            event = await self._event()
            if isinstance(event, h11.EndOfMessage):
                self.trailers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
                return
            if not isinstance(event, h11.Data):
                raise Truncated("the connection was closed within a body")
            yield event

    async def read_body(self) -> bytes:
        """Returns the whole body. Raises Truncated."""
        return b"".join([bytes(event.data) async for event in self.body()])

    async def reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Sends a whole response. Raises ConnectionError."""
        fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
        fields.append((b"Content-Length", str(len(body)).encode("ascii")))
        await self._send(h11.Response(status_code=status, headers=fields), h11.Data(data=body), h11.EndOfMessage())

    async def reply_json(self, status: int, value: Mapping[str, str]) -> None:
        """Sends a whole JSON response. Raises ConnectionError."""
        await self.reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    async def close(self) -> None:
        """Closes the connection; never raises an I/O error."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        try:
            while (event := self._h11.next_event()) is h11.NEED_DATA:
                self._h11.receive_data(await self._reader.read(_READ_SIZE))
        except (h11.RemoteProtocolError, ConnectionError) as error:
            raise Truncated(str(error)) from None
        return event  # type: ignore[return-value]

    async def _send(self, *events: h11.Event) -> None:
        # One write: two small ones would wait for each other's acknowledgement wherever Nagle's algorithm is
        # on.
        try:
            data = b"".join(self._h11.send(event) or b"" for event in events)
        except h11.LocalProtocolError as error:
            # The peer has broken the connection's state; there is no one left to answer.
            raise ConnectionError(str(error)) from None
        self._writer.write(data)
        await self._writer.drain()
