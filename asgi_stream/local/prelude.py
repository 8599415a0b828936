"""The response of a Function URL in RESPONSE_STREAM mode: the prelude off a stream of bytes, and what it means.

Source: the Lambda developer guide, "Response streaming": a JSON prelude, eight NUL bytes, the body. No I/O.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from asgi_stream.local.function_url import OWS, is_hop_by_hop

Headers = list[tuple[bytes, bytes]]

INTEGRATION_RESPONSE = "application/vnd.awslambda.http-integration-response"
DELIMITER = b"\x00" * 8
# Lambda documents no limit on a Function URL's prelude; this one only keeps memory bounded.
MAX_PRELUDE = 1024 * 1024

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class InvalidPrelude(ValueError):
    """A streamed HTTP response does not start with a prelude that Lambda would accept; says what is wrong."""


@dataclass(frozen=True, slots=True)
class ResponseStart:
    """Status and headers for the client; names lower-case, one `set-cookie` for each cookie."""

    status: int
    headers: Headers


class ResponseDecoder:
    """Turns what a function posts to `/response` into what the Function URL's client gets.

    `mode` is "streaming" or "buffered", `content_type` the Content-Type of the post. Feed it the body in any
    fragments; `start` is None until status and headers are known. Only a streamed integration response has a
    prelude: everything else is delivered verbatim, with status 200, also a buffered envelope, as on a URL in
    RESPONSE_STREAM mode.
    """

    def __init__(self, mode: str, content_type: str | None) -> None:
        self.start: ResponseStart | None = None
        self._buffer = bytearray()
        media_type = (content_type or "").partition(";")[0].strip(OWS).lower()
        if mode != "streaming":
            self.start = _verbatim(content_type or "application/json")
        elif media_type != INTEGRATION_RESPONSE:
            self.start = _verbatim(content_type or "application/octet-stream")

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes; returns the body bytes among them. Raises InvalidPrelude."""
        if self.start is not None:
            return data
        # The delimiter may straddle two fragments: look again at the last 7 bytes already held.
        searched = max(0, len(self._buffer) - len(DELIMITER) + 1)
        self._buffer += data
        position = self._buffer.find(DELIMITER, searched, MAX_PRELUDE + len(DELIMITER))
        if position < 0:
            if len(self._buffer) >= MAX_PRELUDE + len(DELIMITER):
                raise InvalidPrelude(f"no delimiter of 8 NUL bytes within the first {MAX_PRELUDE} bytes")
            return b""
        body = bytes(self._buffer[position + len(DELIMITER) :])
        prelude = bytes(self._buffer[:position])
        self._buffer.clear()
        self.start = parse_prelude(prelude)
        return body

    def close(self) -> None:
        """The stream has ended. Raises InvalidPrelude if no delimiter came."""
        if self.start is None:
            raise InvalidPrelude(
                f"the stream ended after {len(self._buffer)} bytes without the delimiter of 8 NUL bytes"
            )


def _verbatim(content_type: str) -> ResponseStart:
    return ResponseStart(200, [(b"content-type", content_type.encode("latin-1"))])


def parse_prelude(data: bytes) -> ResponseStart:
    """Reads the JSON before the delimiter. An absent `statusCode` is 200. Raises InvalidPrelude."""
    try:
        prelude = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidPrelude(f"the prelude is not JSON: {error}") from None
    if not isinstance(prelude, dict):
        raise InvalidPrelude("the prelude is not a JSON object")
    status = prelude.get("statusCode", 200)
    if type(status) is not int or not 200 <= status <= 599:
        raise InvalidPrelude(f"statusCode {status!r} is not an integer from 200 to 599")
    headers = prelude.get("headers", {})
    if not isinstance(headers, dict):
        raise InvalidPrelude("headers is not a JSON object")
    cookies = prelude.get("cookies", [])
    if not isinstance(cookies, list):
        raise InvalidPrelude("cookies is not a JSON list")
    fields = [_field(name, value) for name, value in headers.items()]
    fields = [field for field in fields if not is_hop_by_hop(field[0].decode("ascii"))]
    fields += [_field("set-cookie", cookie) for cookie in cookies]
    return ResponseStart(status, fields)


def _field(name: str, value: object) -> tuple[bytes, bytes]:
    if not TOKEN.fullmatch(name):
        raise InvalidPrelude(f"{name!r} is not a header name")
    if not isinstance(value, str) or not FIELD_VALUE.fullmatch(value):
        raise InvalidPrelude(f"the value {value!r} of header {name!r} is not a string of header characters")
    lower = name.lower()
    if lower == "content-length":
        # A streamed response is chunked; AWS keeps the app's claim under this name.
        lower = "x-amzn-remapped-content-length"
    return lower.encode("ascii"), value.strip(OWS).encode("latin-1")
