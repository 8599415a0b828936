"""What a test and the app in it share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@dataclass
class Stage:
    """``file`` is what /file serves; /stream sends its second piece when ``go`` is set."""

    file: Path
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def pieces(self) -> AsyncIterator[bytes]:
        yield b"one"
        await self.go.wait()
        yield b"two"
