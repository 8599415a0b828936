"""A response ends in exactly one way: every call in every state."""

from __future__ import annotations

import pytest

from asgi_stream.sinks import CALLS, Prelude, Sink, SinkState, SinkStateError

pytestmark = pytest.mark.anyio

CALL = {
    "start": lambda sink: sink.start(Prelude(200, {})),
    "open": lambda sink: sink.open("text/plain"),
    "write": lambda sink: sink.write(b"x"),
    "reply": lambda sink: sink.reply(b"{}"),
    "end": lambda sink: sink.end(),
    "abort": lambda sink: sink.abort(ValueError()),
}


class Recorder(Sink):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    async def _start(self, prelude: bytes) -> None:
        self.calls.append("start")

    async def _open(self, content_type: str) -> None:
        self.calls.append("open")

    async def _reply(self, payload: bytes, content_type: str) -> None:
        self.calls.append("reply")

    async def _write(self, data: object) -> None:
        self.calls.append("write")

    async def _end(self, data: object) -> None:
        self.calls.append("end")

    async def _abort(self, error: BaseException) -> None:
        self.calls.append("abort")


@pytest.mark.parametrize("state", SinkState)
@pytest.mark.parametrize("call", CALL)
async def test_every_call_in_every_state(state: SinkState, call: str) -> None:
    sink = Recorder()
    sink.state = state
    expected = CALLS.get((state, call))
    if expected is None:
        with pytest.raises(SinkStateError, match=f"{call}.. on a response that is {state.value}"):
            await CALL[call](sink)
        assert sink.state is state
        assert sink.calls == []
    else:
        await CALL[call](sink)
        assert sink.state is expected
        assert sink.calls == [call]
    assert sink.done is (sink.state in (SinkState.ENDED, SinkState.ABORTED))


async def test_an_empty_piece_is_no_chunk() -> None:
    sink = Recorder()
    await sink.start(Prelude(200, {}))
    await sink.write(b"")
    assert sink.calls == ["start"]
