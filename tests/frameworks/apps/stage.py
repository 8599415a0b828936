"""What a test and the app in it share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@dataclass
class Stage:
    """``file`` is what /file serves; /stream sends its second piece when ``go`` is set.

    /events, for GET and POST, and /export never end by themselves: after their first piece they call ``has_begun``,
    then they wait for ever, or send on if ``floods``. ``endings`` is what they ended by.
    """

    file: Path
    go: asyncio.Event = field(default_factory=asyncio.Event)
    has_begun: Callable[[], object] = lambda: None
    floods: bool = False
    endings: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def endless(self) -> AsyncIterator[str]:
        try:
            yield "one"
            self.has_begun()
            while self.floods:
                await asyncio.sleep(0)
                yield "more"
            await asyncio.Event().wait()
        except BaseException as error:
            self.endings.put_nowait(type(error).__name__)
            raise

    async def pieces(self) -> AsyncIterator[bytes]:
        yield b"one"
        await self.go.wait()
        yield b"two"
