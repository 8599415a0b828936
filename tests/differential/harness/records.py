"""What a client has seen of one response, as values that fit into JSON."""

from __future__ import annotations

import dataclasses
import importlib
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Decoder", "Recording", "Response"]


@dataclasses.dataclass(kw_only=True)
class Response:
    """One response.

    - ``label``: the request in a few words, by which the responses of two servers are paired.
    - ``headers``: pairs in the order in which they came, names in lower case, text in Latin-1.
    - ``body``: as it came, still compressed.
    - ``pieces``: the HTTP chunks of the body, None where the response was not chunked or chunks cannot be told apart.
    - ``arrived``, ``withheld``: the marks that were read while the app waited, and those that were not.
    - ``ended``: ``"complete"``, ``"cut"`` where the connection ended before the response, ``"never"`` where none did.
    - ``raised``: the name of the exception that left the app, ``""`` if it returned, None where that is not visible.
    - ``raw``: the whole response as it came over the wire, or as a transport without a wire has it.
    """

    label: str
    method: str = "GET"
    status: int = 0
    headers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    body: bytes = b""
    pieces: list[bytes] | None = None
    arrived: list[str] = dataclasses.field(default_factory=list)
    withheld: list[str] = dataclasses.field(default_factory=list)
    ended: str = "complete"
    raised: str | None = None
    raw: bytes = b""

    def values(self, name: str) -> list[str]:
        """The values of a header, in order."""
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str | None:
        """The value of a header, of the first one where there are several; None without one."""
        return next(iter(self.values(name)), None)

    @property
    def content(self) -> bytes:
        """The body, no longer compressed."""
        return Decoder(self.header("content-encoding")).feed(self.body)

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    def to_json(self) -> dict[str, Any]:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["body"], fields["raw"] = self.body.decode("latin-1"), self.raw.decode("latin-1")
        if self.pieces is not None:
            fields["pieces"] = [piece.decode("latin-1") for piece in self.pieces]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Response:
        fields = dict(fields)
        fields["body"], fields["raw"] = fields["body"].encode("latin-1"), fields["raw"].encode("latin-1")
        fields["headers"] = [(name, value) for name, value in fields["headers"]]
        if fields["pieces"] is not None:
            fields["pieces"] = [piece.encode("latin-1") for piece in fields["pieces"]]
        return cls(**fields)


@dataclasses.dataclass
class Recording:
    """What one run of a package's requests gave: its responses, and what a client of another maker made of them."""

    responses: list[Response] = dataclasses.field(default_factory=list)
    notes: list[tuple[str, Any]] = dataclasses.field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"responses": [response.to_json() for response in self.responses], "notes": self.notes}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Recording:
        return cls(
            [Response.from_json(each) for each in fields["responses"]], [tuple(note) for note in fields["notes"]]
        )


class Decoder:
    """Undoes a content-encoding piece by piece. What it does not know stays as it is."""

    def __init__(self, encoding: str | None) -> None:
        self._feed = self._choose(encoding)

    def feed(self, data: bytes) -> bytes:
        """Returns as much of the content as the bytes so far give."""
        return self._feed(data)

    @staticmethod
    def _choose(encoding: str | None) -> Callable[[bytes], bytes]:
        if encoding in ("gzip", "deflate"):
            return zlib.decompressobj(47).decompress  # either format
        # Not by name: only the virtual environment of this suite has them.
        feed: Callable[[bytes], bytes] = bytes
        if encoding == "br":
            feed = importlib.import_module("brotli").Decompressor().process
        elif encoding == "zstd":
            feed = importlib.import_module("zstandard").ZstdDecompressor().decompressobj().decompress
        return feed
