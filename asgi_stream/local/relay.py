"""Between an invocation and its client: the prelude taken off, each piece passed on, one verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from asgi_stream.local.prelude import InvalidPrelude, ResponseDecoder

if TYPE_CHECKING:
    from asgi_stream.local.invocation import Invocation, Piece
    from asgi_stream.local.prelude import ResponseStart


class Client(Protocol):
    """Who gets the response."""

    async def start(self, start: ResponseStart) -> None:
        """Status and headers; called at most once, before any body."""

    async def write(self, body: bytes, piece: Piece) -> None:
        """The body bytes, at least one, that `piece` brought. While it waits nothing more is read."""


async def relay(invocation: Invocation, client: Client) -> str | None:
    """Relays a response to its end. Returns what went wrong, for the terminal; None if nothing did.

    The function is always read to its end, also when this raises what the client raises: as on AWS it runs on
    without its client.
    """
    try:
        return await _relay(invocation, client)
    finally:
        invocation.abandon()


async def _relay(invocation: Invocation, client: Client) -> str | None:
    head = await invocation.head()
    if head.mode is None:
        return str(head.error)
    decoder = ResponseDecoder(head.mode, head.content_type)
    invalid: InvalidPrelude | None = None
    if decoder.start is not None:
        await client.start(decoder.start)
    async for piece in invocation:
        if invalid is not None:
            continue
        known = decoder.start is not None
        try:
            body = decoder.feed(piece.data)
        except InvalidPrelude as error:
            invalid = error
            continue
        if decoder.start is not None and not known:
            await client.start(decoder.start)
        if body:
            await client.write(body, piece)
    if invocation.end is not None and invocation.end.error is not None:
        return str(invocation.end.error)
    try:
        decoder.close()
    except InvalidPrelude as error:
        invalid = invalid or error
    return None if invalid is None else f"invalid prelude: {invalid}"
