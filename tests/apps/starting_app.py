"""Copied into a function's folder as ``main.py``: answers with where and how it was started."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import asgi_stream


async def app(scope: Any, receive: Any, send: Any) -> None:
    facts = {
        "path": sys.path,
        "python": sys.executable,
        "prefix": sys.prefix,
        "arguments": sys.argv[1:],
        "folder": os.getcwd(),
        "main": __file__,
        "package": os.path.dirname(asgi_stream.__file__),
        "environ": dict(os.environ),
    }
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": json.dumps(facts).encode()})


handler = asgi_stream.StreamingAdapter(app, lifespan="off")
