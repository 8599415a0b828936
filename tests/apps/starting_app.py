"""Copied into a function's folder as ``main.py``: answers with where and how it was started."""

from __future__ import annotations

import json
import os
import site
import sys
from typing import Any

import asgi_stream

SITE_PACKAGES = [folder for folder in site.getsitepackages() if os.path.isdir(folder)]


async def app(scope: Any, receive: Any, send: Any) -> None:
    facts = {
        "path": sys.path,
        "python": sys.executable,
        "prefix": sys.prefix,
        "site-packages": SITE_PACKAGES,
        "version": sys.version_info[:2],
        "arguments": sys.argv[1:],
        "folder": os.getcwd(),
        "main": __file__,
        "package": os.path.dirname(asgi_stream.__file__),
        "environ": dict(os.environ),
    }
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": json.dumps(facts).encode()})


handler = asgi_stream.StreamingAdapter(app, lifespan="off")
