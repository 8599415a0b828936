"""`python -m asgi_stream` is `asgi-stream`."""

from __future__ import annotations

import sys

from asgi_stream.cli import main

sys.exit(main())
