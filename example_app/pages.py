"""HTML pages from Jinja templates, sent in pieces: what stands before a `{{ flush }}` goes out when it is reached."""

import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi.responses import StreamingResponse

if TYPE_CHECKING:
    import jinja2

FLUSH = "\f"


@functools.cache
def _templates() -> "jinja2.Environment":
    # Imported by the first page: a function that is asked for JSON starts without it.
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        enable_async=True,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


async def render(name: str, **values: Any) -> AsyncIterator[str]:
    """The pieces of a template. `values` may be async iterators: a `{% for %}` waits for them."""
    pieces: list[str] = []
    async for piece in _templates().get_template(name).generate_async(flush=FLUSH, **values):
        if piece == FLUSH:
            yield "".join(pieces)
            pieces.clear()
        else:
            pieces.append(piece)
    yield "".join(pieces)


def page(name: str, **values: Any) -> StreamingResponse:
    return StreamingResponse(render(name, **values), media_type="text/html", headers={"cache-control": "no-store"})
