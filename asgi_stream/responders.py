"""From the ASGI cycle to a sink, worded the way an event's source wants it: streamed, or buffered into one answer."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

from asgi_stream.errors import AnswerTooLarge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from io import BufferedReader

    from asgi_stream.config import Config
    from asgi_stream.sinks import Buffer, Prelude, Sink
    from asgi_stream.sources import Source, StreamingSource

    Headers = Sequence[tuple[bytes, bytes]]

__all__ = ["BufferedResponder", "StreamingResponder"]

# One chunk of a file, in bytes: what is in memory of it at a time.
FILE_CHUNK = 256 * 1024


class _File:
    """A file that threads read, one after another."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: BufferedReader | None = None
        self._lock = threading.Lock()
        self._closed = False

    def read(self, size: int) -> bytes:
        """Returns what there is, ``size`` bytes at most. Raises OSError."""
        try:
            with self._lock:
                if self._closed:
                    return b""
                if self._file is None:
                    self._file = open(self._path, "rb")  # noqa: SIM115 - closed below
                return self._file.read(size)
        finally:
            if self._closed:
                self.close()

    def close(self) -> None:
        """Closes the file and waits for nothing: a thread that is reading, perhaps for ever, closes it itself."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                if self._file is not None:
                    self._file.close()
            finally:
                self._lock.release()


class _Responder:
    """What both have in common: headers that stay here, files in pieces.

    ``error_status`` is the response's status where the setting ``error_status_codes`` names it, else 0: the response
    is then left open for the error.
    """

    __slots__ = ("_config", "_sink", "error_status")

    def __init__(self, config: Config, sink: Sink) -> None:
        self._config = config
        self._sink = sink
        self.error_status = 0

    def _kept(self, headers: Headers) -> Headers:
        excluded = self._config.exclude_headers
        return [pair for pair in headers if pair[0] not in excluded] if excluded else headers

    def put(self, data: Buffer) -> Awaitable[None] | None:
        raise NotImplementedError

    async def write(self, data: Buffer) -> None:
        if (sending := self.put(data)) is not None:
            await sending

    def cut_short(self) -> None:
        self._sink.cut_short()

    async def send_file(self, path: str, length: int | None) -> None:
        """Sends a file as it is read, off the event loop; ``length`` bytes of it, where the headers promise that many.

        Raises OSError for a file that cannot be read or is shorter than promised.
        """
        loop = asyncio.get_running_loop()
        file = _File(path)
        try:
            await loop.run_in_executor(None, file.read, 0)  # which opens it
            left = length
            while left is None or left > 0:
                size = FILE_CHUNK if left is None else min(FILE_CHUNK, left)
                data = await loop.run_in_executor(None, file.read, size)
                if not data:
                    break
                left = None if left is None else left - len(data)
                await self.write(data)
        finally:
            file.close()
        if left:
            raise OSError(f"{path} is {left} bytes shorter than the content-length of its response")


class StreamingResponder(_Responder):
    """Each piece goes to the sink at once."""

    __slots__ = ("_on_start", "_source", "end", "put")

    def __init__(
        self,
        config: Config,
        source: StreamingSource,
        sink: Sink,
        on_start: Callable[[Prelude], object] | None = None,
    ) -> None:
        self._config = config
        self._sink = sink
        self.error_status = 0
        self._source = source
        # The sink's own, with nothing in between: this is the path of every message.
        self.put = sink.put  # type: ignore[method-assign]
        self.end = sink.end
        self._on_start: tuple[Callable[[Prelude], object], ...] = () if on_start is None else (on_start,)

    def call_at_start(self, function: Callable[[Prelude], object]) -> None:
        """Calls ``function`` with the prelude, before it is sent."""
        self._on_start += (function,)

    def start(self, status: int, headers: Headers) -> Awaitable[None]:
        prelude = self._source.to_prelude(status, self._kept(headers))
        for call in self._on_start:
            call(prelude)
        if status in self._config.error_status_codes:
            self.error_status = status
            self.end = self.write  # type: ignore[assignment]
        return self._sink.start(prelude)


class BufferedResponder(_Responder):
    """Everything is kept until the end, and becomes one answer: for sources and modes that cannot stream."""

    __slots__ = ("_body", "_event", "_headers", "_source", "status")

    def __init__(self, config: Config, source: Source, event: Mapping[str, Any], sink: Sink) -> None:
        super().__init__(config, sink)
        self._source = source
        self._event = event
        self.status = 0
        self._headers: Headers = ()
        self._body = bytearray()

    @property
    def size(self) -> int:
        """The body's length in bytes."""
        return len(self._body)

    async def start(self, status: int, headers: Headers) -> None:
        self.status, self._headers = status, self._kept(headers)
        self.error_status = status if status in self._config.error_status_codes else 0

    def put(self, data: Buffer) -> None:
        limit = self._source.limit
        if len(self._body) + len(data) > limit:
            # Said before the memory is gone; the exact check of the whole answer is the source's own.
            raise AnswerTooLarge(
                f"the body is longer than the {limit} bytes that {self._source.name} takes in one answer"
            )
        self._body += data

    async def end(self, data: Buffer) -> None:
        self.put(data)
        if self.error_status:
            return
        fields = {name: value.decode("latin-1") for name, value in self._headers}
        is_text = self._config.is_text(fields.get(b"content-type", ""), fields.get(b"content-encoding", ""))
        body = bytes(self._body)
        answer = self._source.to_answer(self._event, self.status, self._headers, body, is_text and _is_utf8(body))
        # Half of a surrogate pair, which an app may have escaped in its JSON, has no UTF-8 and stays an escape.
        text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
        await self._sink.reply(text.encode("utf-8", "backslashreplace"))

    async def replace(self, status: int, headers: Headers, body: bytes) -> None:
        """Forgets what was kept and ends with another answer: nobody has seen anything yet."""
        await self.start(status, headers)
        self._body.clear()
        await self.end(body)


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
