"""The soak, short: `benchmarks/soak.py` with its own checks, and what they say of functions that are not flat.

The long one is run by hand; its figures stand in docs/soak.md.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import soak
from benchmarks.runtime_api import Answer, EnvironmentEnded, RuntimeApi
from benchmarks.soak import NotFlat, Sample, WrongAnswer, check_flat

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the soak reads /proc, which is Linux's"),
]


async def test_a_short_soak() -> None:
    samples = await soak.soak(2_000)
    assert [sample.invocations for sample in samples] == list(range(200, 2_001, 200))
    assert samples[0].tasks < 10


async def test_a_short_soak_on_managed_instances() -> None:
    samples = await soak.soak(2_000, slots=8)
    assert len(samples) == 10
    assert 8 < samples[0].tasks < 20


def test_every_way_and_shape_takes_its_turn_before_the_first_sample() -> None:
    assert len(soak.WAYS) == 10
    names = [soak.choose(number)[0] for number in range(200)]
    assert set(names) == {*soak.SHAPES, *soak.WAYS}
    assert sum(name in soak.WAYS for name in names) == 10


SAMPLE = Sample(
    invocations=200, rss=24_000, heap=3_000_000, blocks=70_000, descriptors=8, os_threads=3, threads=3, tasks=6
)


def test_what_is_flat() -> None:
    check_flat([SAMPLE, SAMPLE._replace(rss=60_000), SAMPLE._replace(rss=24_500, heap=3_100_000, blocks=70_900)])


@pytest.mark.parametrize(
    "grown",
    [
        {"rss": 24_000 + 2_049},
        {"heap": 3_150_001},
        {"blocks": 71_001},
        {"descriptors": 9},
        {"descriptors": 7},
        {"os_threads": 4},
        {"threads": 4},
        {"tasks": 7},
    ],
)
def test_what_is_not_flat(grown: Mapping[str, int]) -> None:
    with pytest.raises(NotFlat, match=next(iter(grown))):
        check_flat([SAMPLE, SAMPLE._replace(**grown)])


def test_all_that_has_grown_is_told() -> None:
    with pytest.raises(NotFlat, match=r"descriptors.*tasks.*rss: grown by 6000, from 24000"):
        check_flat([SAMPLE, SAMPLE._replace(descriptors=9, tasks=7, rss=30_000)])


@pytest.mark.parametrize("name", [*soak.SHAPES, *soak.WAYS])
@pytest.mark.parametrize(
    "wrong",
    [
        Answer("error", {}, json.dumps({"errorType": "E", "errorMessage": "m"}).encode(), {}),
        Answer("response", {"lambda-runtime-function-response-mode": "streaming"}, b"{}" + bytes(8), {}),
        Answer("response", {}, b"{}", {}),
    ],
    ids=["an error", "an empty stream", "an empty answer"],
)
def test_a_wrong_answer_is_noticed(name: str, wrong: Answer) -> None:
    with pytest.raises((AssertionError, LookupError, ValueError)):
        {**soak.SHAPES, **soak.WAYS}[name].check(wrong, "t=1")


class Client:
    """A runtime, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, api: RuntimeApi) -> Client:
        host, _, port = api.address.partition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    def send(self, request: str) -> None:
        self._writer.write(request.replace("\n", "\r\n").encode())

    async def reply(self) -> tuple[str, bytes]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        return head, await self._reader.readexactly(length)

    async def next(self) -> str:
        self.send("GET /2018-06-01/runtime/invocation/next HTTP/1.1\nHost: h\n\n")
        head, _ = await self.reply()
        return head.partition("Lambda-Runtime-Aws-Request-Id: ")[2].partition("\r\n")[0]

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


RESPONSE = "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\nHost: h\nLambda-Runtime-Invocation-Id: {once}\n"


class TestTheRuntimeApi:
    async def test_a_stream_in_pieces_with_trailers(self) -> None:
        async with RuntimeApi() as api:
            client = await Client.connect(api)
            invocation = api.invoke(b"{}")
            request = RESPONSE.format(id=await client.next(), once="once-1")
            request += "Transfer-Encoding: chunked\nTrailer: A\n\n3\nabc\n2\nde\n0\nA: 1\nB: 2\n\n"
            for character in request:
                client.send(character)
                await asyncio.sleep(0)
            assert (await client.reply())[0].startswith("HTTP/1.1 202")
            answer = await invocation.answer()
            assert invocation.chunks == [b"abc", b"de"]
            assert (answer.kind, answer.body, answer.trailers) == ("response", b"abcde", {"a": "1", "b": "2"})
            await client.close()
        assert api.faults == []

    async def test_a_second_end_is_a_fault(self) -> None:
        async with RuntimeApi() as api:
            client = await Client.connect(api)
            invocation = api.invoke(b"{}")
            request = RESPONSE.format(id=await client.next(), once="once-1") + "Content-Length: 1\n\n1"
            client.send(request)
            await client.reply()
            assert (await invocation.answer()).body == b"1"
            client.send(request)
            assert (await client.reply())[0].startswith("HTTP/1.1 400")
            await client.close()
        (fault,) = api.faults
        assert "/response: b'1'" in fault

    @pytest.mark.parametrize(
        ("once", "rest", "fault"),
        [
            ("once-2", "Content-Length: 0\n\n", "was not echoed"),
            ("once-1", "Content-Length: 2\n\n1", "broke off"),
            ("once-1", "Transfer-Encoding: chunked\n\n1\n1", "broke off"),
            ("once-1", "Transfer-Encoding: chunked\n\n1\n1234\n0\n\n", "longer than it says"),
        ],
    )
    async def test_faults(self, once: str, rest: str, fault: str) -> None:
        async with RuntimeApi() as api:
            client = await Client.connect(api)
            api.invoke(b"{}")
            client.send(RESPONSE.format(id=await client.next(), once=once) + rest)
            await client.close()
            while not api.faults:  # noqa: ASYNC110 - a list, which tells nobody
                await asyncio.sleep(0)
        assert fault in api.faults[0]

    async def test_a_process_that_ends_ends_every_invocation(self) -> None:
        async with RuntimeApi() as api:
            invocation = api.invoke(b"{}")
            api.fail("gone")
            with pytest.raises(EnvironmentEnded, match="gone"):
                await invocation.answer()
            with pytest.raises(EnvironmentEnded, match="gone"):
                await api.polled()
            with pytest.raises(EnvironmentEnded, match="gone"):
                api.invoke(b"{}")


@pytest.mark.parametrize(
    ("leak", "grown"),
    [
        ("kept.extend(object() for _ in range(3))", "blocks"),
        ("kept.append(os.open('/dev/null', os.O_RDONLY))", "descriptors"),
        ("kept.append(asyncio.create_task(asyncio.Event().wait()))", "tasks"),
        ("Thread(target=Event().wait, daemon=True).start()", "threads"),
        # As os.environ["_X_AMZN_TRACE_ID"] = … does with each invocation's value: glibc keeps them all.
        ("os.environ.update({f'LEAK{n}': scope['query_string'].decode().zfill(80) for n in range(8)})", "heap"),
    ],
)
async def test_a_function_that_leaks(leak: str, grown: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaking.py").write_text(
        "import asyncio, os\n"
        "from threading import Event, Thread\n"
        "from asgi_stream import StreamingAdapter\n"
        "from benchmarks import soak_app\n"
        "kept = []\n"
        "async def app(scope, receive, send):\n"
        f"    if scope['type'] == 'http':\n        {leak}\n"
        "    await soak_app.app(scope, receive, send)\n"
        "handler = StreamingAdapter(app, invoke_mode=soak_app.INVOKE_MODE, on_event=soak_app.on_event)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(soak, "HANDLER", "leaking.handler")
    with pytest.raises(NotFlat, match=grown):
        await soak.soak(600, samples=3)


async def test_a_function_that_answers_with_another_invocations_token(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mixing.py").write_text(
        "from asgi_stream import StreamingAdapter\n"
        "from benchmarks import soak_app\n"
        "seen = []\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        seen.append(scope['query_string'])\n"
        "        scope['query_string'] = seen[-2] if len(seen) == 50 else seen[-1]\n"
        "    await soak_app.app(scope, receive, send)\n"
        "handler = StreamingAdapter(app, invoke_mode=soak_app.INVOKE_MODE, on_event=soak_app.on_event)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(soak, "HANDLER", "mixing.handler")
    with pytest.raises(ExceptionGroup) as group:
        await soak.soak(200)
    assert group.group_contains(WrongAnswer, match="invocation")
