"""The two interfaces that everything meets at: what the runtime drives, and where a response goes.

A handler is a subclass of :class:`Handler`.

A sink takes one response and lets it end in exactly one way: ``start`` (or ``open``, for a stream that is no HTTP
response), any number of ``write``, then ``end``; or a whole one by ``reply``; or ``abort`` at any moment before the
end. The allowed calls are the table :data:`CALLS`; everything else raises :class:`SinkStateError`, whatever a subclass
does with the bytes. A new place for responses is a new subclass, and nothing else changes.
"""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Awaitable, Coroutine, Mapping, Sequence

    from asgi_stream.config import Config

    Buffer: TypeAlias = bytes | bytearray | memoryview

    class Watcher(Protocol):
        """Who writes a response, and wants to know when the time for it runs out."""

        left_open: bool  # `leave_open` has been called

        @property
        def may_be_left_open(self) -> bool:
            """True once little time is left, for a response that succeeds wherever its app stops."""
            ...

        async def leave_open(self) -> None:
            """Ends such a response, also while its app goes on. Raises what ending it raises."""
            ...

        def expire(self) -> None:
            """Little time is left: the app gets the disconnect of its client."""
            ...

        def fail(self, error: BaseException) -> None:
            """No time is left: the response can no longer end well."""
            ...

        def abandon(self) -> None:
            """The invocation ends without its handler, which does not end when it is cancelled."""
            ...


__all__ = ["CALLS", "Handler", "Prelude", "Sink", "SinkState", "SinkStateError"]


DELIMITER = bytes(8)
_to_json = json.JSONEncoder(separators=(",", ":")).encode


class Prelude(NamedTuple):
    """What precedes the body of an HTTP response on Lambda's stream.

    ``status`` is the status code; ``headers`` maps lower-case names to values, duplicates already joined;
    ``cookies`` holds one ``set-cookie`` value each. ``multi_value_headers``, a list of values for each name, is for API
    Gateway REST APIs, where it wins over ``headers``. (AWS: "HTTP integration response" metadata.)
    """

    status: int
    headers: Mapping[str, str]
    cookies: Sequence[str] = ()
    multi_value_headers: Mapping[str, Sequence[str]] | None = None

    def encode(self) -> bytes:
        """Returns the bytes that open the stream: a JSON object, then the delimiter of 8 NUL bytes."""
        return _to_json(self.to_dict()).encode("ascii") + DELIMITER

    def to_dict(self) -> dict[str, object]:
        """Returns the JSON object: ``statusCode`` and ``headers``, ``cookies`` and ``multiValueHeaders`` if any."""
        fields: dict[str, object] = {"statusCode": self.status, "headers": dict(self.headers)}
        if self.cookies:
            fields["cookies"] = list(self.cookies)
        if self.multi_value_headers is not None:
            fields["multiValueHeaders"] = {name: list(values) for name, values in self.multi_value_headers.items()}
        return fields


class SinkState(enum.StrEnum):
    """How far a response is."""

    READY = "ready"
    STREAMING = "streaming"
    ENDED = "ended"
    ABORTED = "aborted"


CALLS: dict[tuple[SinkState, str], SinkState] = {
    (SinkState.READY, "start"): SinkState.STREAMING,
    (SinkState.READY, "open"): SinkState.STREAMING,
    (SinkState.READY, "reply"): SinkState.ENDED,
    (SinkState.READY, "abort"): SinkState.ABORTED,
    (SinkState.STREAMING, "write"): SinkState.STREAMING,
    (SinkState.STREAMING, "end"): SinkState.ENDED,
    (SinkState.STREAMING, "abort"): SinkState.ABORTED,
}


class SinkStateError(RuntimeError):
    """Raised when a sink is called out of turn: a fault of the caller in this package, not of an app."""


class Sink:
    """One response on its way out. Subclasses say what happens in ``_start``, ``_write`` and so on.

    What a call gives back must be awaited at once.
    """

    __slots__ = ("state", "task", "watcher")

    # False where only whole answers can be given, by `reply`.
    can_stream = True

    def __init__(self) -> None:
        self.state = SinkState.READY
        self.watcher: Watcher | None = None
        # The asyncio.Task that writes the response, where it is not the invocation's own.
        self.task: Any = None

    @property
    def done(self) -> bool:
        """True once the response has ended in its one way."""
        return self.state is SinkState.ENDED or self.state is SinkState.ABORTED

    def start(self, prelude: Prelude) -> Awaitable[None]:
        """Sends status, headers and cookies on their way. Raises StreamClosed if the peer is gone."""
        data = Prelude.encode(prelude)  # of a user's own event source: if this raises, nothing has begun
        self._advance("start")
        return self._start(data)

    async def open(self, content_type: str) -> None:
        """Begins a raw stream: no status, no headers but this one. Raises StreamClosed if the peer is gone."""
        self._advance("open")
        await self._open(content_type)

    async def write(self, data: Buffer) -> None:
        """Hands over one piece of the body, of single bytes; returns once it is on its way. Raises StreamClosed."""
        if (sending := self.put(data)) is not None:
            await sending

    def put(self, data: Buffer) -> Awaitable[None] | None:
        """What :meth:`write` does, and no coroutine where there is nothing to wait for: the path of every message.

        Returns None once the piece is on its way, else what must be awaited at once.
        """
        # Not through _advance: this is the one call that happens many times, and it changes no state.
        if self.state is not SinkState.STREAMING:
            self._advance("write")
        return self._write(data) if data else None

    def end(self, data: Buffer = b"") -> Awaitable[None]:
        """Ends the response well, after a last piece of the body if there is one. Raises StreamClosed."""
        self._advance("end")
        return self._end(data)

    async def reply(self, payload: bytes, content_type: str = "application/json") -> None:
        """Gives a whole, buffered answer: a JSON text unless said otherwise. Raises StreamClosed."""
        self._advance("reply")
        await self._reply(payload, content_type)

    async def abort(self, error: BaseException) -> None:
        """Ends the response in an error that reaches Lambda. Raises StreamClosed."""
        self._advance("abort")
        await self._abort(error)

    def cut_short(self) -> None:
        """From now on the response is whole after any message: one that is cancelled is not missing."""

    def note(self, error: BaseException) -> None:
        """Is told of an error in whose place the next answer is a page. For sinks that show it to somebody."""

    def _advance(self, call: str) -> None:
        try:
            self.state = CALLS[self.state, call]
        except KeyError:
            raise SinkStateError(f"{call}() on a response that is {self.state.value}") from None

    def _start(self, prelude: bytes) -> Awaitable[None]:
        raise NotImplementedError

    async def _open(self, content_type: str) -> None:
        raise NotImplementedError

    async def _write(self, data: Buffer) -> None:
        raise NotImplementedError

    def _end(self, data: Buffer) -> Awaitable[None]:
        raise NotImplementedError

    async def _reply(self, payload: bytes, content_type: str) -> None:
        raise NotImplementedError

    async def _abort(self, error: BaseException) -> None:
        raise NotImplementedError


class Handler:
    """What the runtime drives, on the one event loop of the process. Every kind of handler is a subclass.

    All that the runtime reads is declared here, with its default. The attributes are settings (docs/settings.md).
    """

    deadline_margin: float | None = None
    disconnect_after: float | None = None
    share_writes: bool = False
    workers: int = 1

    def configure(self, config: Config) -> None:
        """Takes the attributes from the settings."""
        self.deadline_margin = config.deadline_margin
        self.disconnect_after = config.disconnect_after
        self.share_writes = config.share_writes
        self.workers = config.workers

    @property
    def wants_shutdown(self) -> bool:
        """True, once startup has returned, if :meth:`shutdown` has anything to do."""
        return False

    def adopt(self, adapters: Sequence[Any]) -> None:
        """Receives, before startup, the adapters that were made while the function's module was imported."""

    def startup(self) -> Coroutine[Any, Any, contextvars.Context]:
        """Runs once, before the first invocation; returns the context variables that invocations see."""
        raise NotImplementedError

    def invoke(self, event: Any, context: Any, sink: Sink) -> Coroutine[Any, Any, None]:
        """Answers one event through ``sink``. What it raises ends the response in an error."""
        raise NotImplementedError

    def shutdown(self) -> Coroutine[Any, Any, None]:
        """Runs once, at the end of the execution environment."""
        raise NotImplementedError
