"""One file, as FastAPI sends it; `FILE` names it. The process's id is in a header."""

from __future__ import annotations

import os

from fastapi import FastAPI
from fastapi.responses import FileResponse

from asgi_stream import StreamingAdapter

app = FastAPI()


@app.api_route("/", methods=["GET", "HEAD"])
async def file() -> FileResponse:
    return FileResponse(os.environ["FILE"], headers={"x-pid": str(os.getpid())})


handler = StreamingAdapter(app)
