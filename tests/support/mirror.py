"""An app that answers with the headers and cookies it was sent: what arrives at the client went both ways."""

from __future__ import annotations

from typing import Any

from asgi_stream import StreamingAdapter

# RFC 9110, 5.5: every byte that HTTP allows in a field value; spaces and tabs are not allowed at its ends.
ALLOWED = bytes((0x09, *range(0x20, 0x7F), *range(0x80, 0x100)))

# Each of these bytes at both ends of a value.
VALUES = [(b"x-%02x" % byte, bytes((byte, 0x61, byte)).strip(b" \t")) for byte in ALLOWED]
COOKIES = [value for _, value in VALUES if b";" not in value]


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    fields = [(name, value) for name, value in scope["headers"] if name.startswith(b"x-") and len(name) == 4]
    cookies = [value for name, value in scope["headers"] if name == b"cookie"]
    fields += [(b"set-cookie", cookie) for header in cookies for cookie in header.split(b"; ")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"mirrored"})


handler = StreamingAdapter(app)
