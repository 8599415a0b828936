"""The example with a page whose slow parts wait for a gate each: a FIFO in the folder `GATES`."""

import asyncio
import os
from pathlib import Path

from fastapi import Request

from example_app import rendering
from example_app.main import handler
from example_app.rendering import Part, Rows

__all__ = ["handler"]


def part(name: str) -> Part:
    async def load(_: Request) -> Rows:
        await asyncio.to_thread((Path(os.environ["GATES"]) / name).read_bytes)
        if name == "broken":
            raise ValueError("a part that cannot be made")
        return [("row of", f"<{name}>")]

    return Part(name, f"Title of {name}", 0, load)


rendering.PARTS = (part("first"), part("second"), part("broken"))
