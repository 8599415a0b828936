"""Many invocations through one process, every twentieth of them failing: each end is checked, and nothing may grow.

The real `bootstrap` runs `soak_app`; `runtime_api` plays Lambda over real sockets. Each answer has to be the one end of
its invocation, of the right kind, with the invocation's own token in it. Between rounds, when every slot polls, the
process is looked at from outside (resident memory, descriptors, threads) and from inside (tasks, threads, memory in
use). `check_flat` says what flat means.

    python -m benchmarks.soak                           # 100,000 invocations, one at a time
    python -m benchmarks.soak --slots 8                 # as on Managed Instances, 8 at a time
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import platform
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from asgi_stream.testing import function_url_event, rest_api_event
from benchmarks.function import function
from benchmarks.runtime_api import LONGEST_TIMEOUT_MS, RuntimeApi
from benchmarks.soak_app import CHUNKS, LARGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.function import Function
    from benchmarks.runtime_api import Answer

HANDLER = "benchmarks.soak_app.handler"
PAGE = b"Internal Server Error"
FAILS_EVERY = 20
SHORT_TIMEOUT_MS = 100  # of an invocation that is to be cancelled before its deadline

# What may come on top between the first sample and the last one, for caches and fragments. A small object that each
# invocation leaves is 1,800 blocks in a short soak of 2,000, and a trace id in C's environment 270 kB of heap, of which
# the runtime's first 1,000 are 123; in the long one, 2 MiB are 23 bytes an invocation.
MOST_RSS = 2048  # KiB
MOST_HEAP = 150_000  # bytes
# glibc counts what a thread has freed and keeps for itself as in use: up to 240 kB each, which fill up bit by bit.
NO_THREAD_CACHES = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
# Python 3.11 looks up `result` of what a task awaits by a new string each time, and its method cache keeps some.
MOST_BLOCKS = 1_000


class WrongAnswer(Exception):
    """Raised for an answer that is not the right end of its invocation."""


class NotFlat(Exception):
    """Raised by `check_flat`, with all that has grown."""


class Sample(NamedTuple):
    """The process while it has nothing to do, after so many invocations.

    `rss` is the resident memory in KiB. Of what is in use `blocks` counts the small objects of Python, of any type, and
    `heap` has the bytes of the rest, that of C code too: they show a leak long before the resident memory does.
    """

    invocations: int
    rss: int
    heap: int
    blocks: int
    descriptors: int
    os_threads: int
    threads: int
    tasks: int


def check_flat(samples: list[Sample]) -> None:
    """Raises NotFlat unless descriptors, threads and tasks are as many in every sample, and memory has grown
    by no more than MOST_RSS, MOST_HEAP and MOST_BLOCKS from the first sample to the last.

    The first sample is taken after a tenth of the invocations: by then every path has been walked.
    """
    first, last = samples[0], samples[-1]
    faults = [
        f"{name}: {sorted({getattr(sample, name) for sample in samples})}"
        for name in ("descriptors", "os_threads", "threads", "tasks")
        if any(getattr(sample, name) != getattr(first, name) for sample in samples)
    ]
    for name, most in (("rss", MOST_RSS), ("heap", MOST_HEAP), ("blocks", MOST_BLOCKS)):
        grown = getattr(last, name) - getattr(first, name)
        if grown > most:
            faults.append(f"{name}: grown by {grown}, from {getattr(first, name)}; allowed are {most}")
    if faults:
        raise NotFlat("; ".join(faults))


class Case(NamedTuple):
    """One kind of invocation: its event for a token, and a check that raises AssertionError for a wrong answer."""

    event: Callable[[str], bytes]
    check: Callable[[Answer, str], None]
    timeout_ms: int = LONGEST_TIMEOUT_MS


def _url(path: str, method: str = "GET", body: bytes = b"") -> Callable[[str], bytes]:
    return lambda token: json.dumps(
        function_url_event(method, f"{path}?{token}", body=body and body + token.encode())
    ).encode()


def _rest(path: str) -> Callable[[str], bytes]:
    return lambda token: json.dumps(rest_api_event("GET", f"{path}?{token}", domain="api.example.com")).encode()


def _broken_base64(token: str) -> bytes:
    event = function_url_event("POST", f"/echo?{token}")
    return json.dumps({**event, "body": f"!{token}", "isBase64Encoded": True}).encode()


def _parts(answer: Answer) -> tuple[dict[str, Any], bytes]:
    """The prelude and the body behind it."""
    prelude, delimiter, body = answer.body.partition(bytes(8))
    assert delimiter, "no prelude"
    parsed: dict[str, Any] = json.loads(prelude)
    return parsed, body


def _streamed(content: Callable[[bytes], bytes], status: int = 200) -> Callable[[Answer, str], None]:
    """A whole streamed response with the token in its header and this body."""

    def check(answer: Answer, token: str) -> None:
        assert answer.error is None
        assert answer.headers["lambda-runtime-function-response-mode"] == "streaming"
        prelude, body = _parts(answer)
        assert (prelude["statusCode"], prelude["headers"]["x-token"]) == (status, token)
        assert body == content(token.encode())

    return check


def _whole(answer: Answer, token: str) -> None:
    """A whole buffered response."""
    assert answer.error is None
    assert "lambda-runtime-function-response-mode" not in answer.headers
    response = json.loads(answer.body)
    body = base64.b64decode(response["body"]) if response.get("isBase64Encoded") else response["body"].encode()
    assert (response["statusCode"], response["headers"]["x-token"]) == (200, token)
    assert json.loads(body) == {"token": token}


def _plain(answer: Answer, token: str) -> None:
    assert answer.kind == "response"
    assert json.loads(answer.body) == {"token": token}


def _told(answer: Answer, kind: str, error_type: str, message: str) -> None:
    assert answer.kind == kind
    assert answer.error is not None
    assert answer.error["errorType"] == error_type
    assert message in answer.error["errorMessage"]


def _cut(error_type: str, message: str = "{token}", body: str = "{token}") -> Callable[[Answer, str], None]:
    """A response that broke off behind its start: what the app has sent, then the error in trailers."""

    def check(answer: Answer, token: str) -> None:
        _told(answer, "response", error_type, message.format(token=token))
        prelude, content = _parts(answer)
        assert (prelude["statusCode"], prelude["headers"]["x-token"]) == (200, token)
        assert content == body.format(token=token).encode()

    return check


def _paged(error_type: str, message: str = "{token}") -> Callable[[Answer, str], None]:
    """An app that has failed before its start: a page of status 500, then the error in trailers."""

    def check(answer: Answer, token: str) -> None:
        _told(answer, "response", error_type, message.format(token=token))
        prelude, body = _parts(answer)
        assert (prelude["statusCode"], body) == (500, PAGE)

    return check


def _timed_out(answer: Answer, token: str) -> None:
    """The app has sent its token and waits for ever. On a machine so slow that it never began, /error is right."""
    if answer.kind == "response":
        _cut("DeadlineExceeded", "was cancelled")(answer, token)
    else:
        _told(answer, "error", "DeadlineExceeded", "was cancelled")


def _refused(error_type: str, message: str) -> Callable[[Answer, str], None]:
    """An event that reaches no app."""
    return lambda answer, token: _told(answer, "error", error_type, message)


SHAPES: Mapping[str, Case] = {
    "small JSON": Case(_url("/json"), _streamed(lambda token: b'{"token": "%b"}' % token)),
    "a stream of chunks": Case(
        _url("/stream"), _streamed(lambda token: b"".join(b"%b %d;" % (token, number) for number in range(CHUNKS)))
    ),
    "large chunks": Case(_url("/large"), _streamed(lambda token: b"x" * LARGE + token)),
    "HEAD": Case(_url("/head", "HEAD"), _streamed(lambda _: b"")),
    "204": Case(_url("/no-content"), _streamed(lambda _: b"", 204)),
    "the request's body": Case(_url("/echo", "POST", b"\xff"), _streamed(lambda token: b"\xff" + token)),
    "buffered": Case(_rest("/buffered"), _whole),
    "background work": Case(_url("/background"), _streamed(lambda token: token)),
    "a thread": Case(_url("/thread"), _streamed(bytes.upper)),
    "a listening task": Case(_url("/listens"), _streamed(lambda token: token)),
    "no HTTP": Case(lambda token: json.dumps({"token": token}).encode(), _plain),
}

WAYS: Mapping[str, Case] = {
    "raises before its start": Case(_url("/raises-early"), _paged("ValueError")),
    "raises behind its start, and leaves a task": Case(_url("/raises-late"), _cut("ValueError")),
    "returns without an answer": Case(_url("/never-answers"), _paged("AppError", "returned before its response")),
    "raises SystemExit": Case(_url("/exits"), _paged("SystemExit")),
    "sends a wrong message": Case(_url("/wrong-message"), _cut("AppError", body="")),
    "breaks its content-length": Case(_url("/wrong-length"), _cut("AppError", "content-length says 1000", body="")),
    "the event is not JSON": Case(lambda token: f"{{{token}".encode(), _refused("EventError", "not JSON")),
    "the body is not base64": Case(_broken_base64, _refused("EventError", "base64")),
    "is cancelled before its deadline": Case(_url("/past-the-deadline"), _timed_out, SHORT_TIMEOUT_MS),
    "recurses for ever": Case(_url("/recurses"), _paged("RecursionError", "recursion")),
}

BACKGROUND = list(SHAPES).index("background work")


def fails(number: int) -> bool:
    """Says whether an invocation is one of those that fail: every twentieth."""
    return number % FAILS_EVERY == FAILS_EVERY - 1


def choose(number: int) -> tuple[str, Case]:
    """The kind of an invocation, by its number from 0."""
    cases, turn = (WAYS, number // FAILS_EVERY) if fails(number) else (SHAPES, number)
    name = list(cases)[turn % len(cases)]
    return name, cases[name]


async def one(api: RuntimeApi, number: int) -> None:
    """Runs an invocation and checks its end. Raises WrongAnswer."""
    name, case = choose(number)
    token = f"t={number}"  # a query that comes through every source as it is
    answer = await api.invoke(case.event(token), timeout_ms=case.timeout_ms).answer()
    try:
        case.check(answer, token)
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        raise WrongAnswer(f"invocation {number} ({name}): {error!r}\n{answer!r:.2000}") from error


async def take_sample(api: RuntimeApi, running: Function, done: int, slots: int) -> Sample:
    """Looks at the process when every slot polls. Raises WrongAnswer if background work is missing."""
    await api.polled(slots)
    facts = json.loads(_parts(await api.invoke(_url("/facts")("facts")).answer())[1])
    await api.polled(slots)
    background = sum(not fails(number) and number % len(SHAPES) == BACKGROUND for number in range(done))
    if facts["background"] != background:
        raise WrongAnswer(f"background work was done {facts['background']} times of {background}")
    return Sample(
        done,
        running.status("VmRSS"),
        facts["heap"],
        facts["blocks"],
        running.descriptors(),
        running.status("Threads"),
        facts["threads"],
        facts["tasks"],
    )


async def soak(
    invocations: int, slots: int | None = None, samples: int = 10, report: Callable[[Sample], None] = lambda _: None
) -> list[Sample]:
    """Runs the soak; returns its samples. `slots` is for Managed Instances. Raises WrongAnswer and NotFlat."""
    taken: list[Sample] = []
    variables = NO_THREAD_CACHES | ({"AWS_LAMBDA_MAX_CONCURRENCY": str(slots)} if slots else {})
    async with RuntimeApi() as api, function(HANDLER, api, variables) as running:
        try:
            for turn in range(samples):
                numbers = iter(range(invocations * turn // samples, invocations * (turn + 1) // samples))
                async with asyncio.TaskGroup() as group:
                    for _ in range(slots or 1):
                        group.create_task(_work(api, numbers))
                taken.append(await take_sample(api, running, invocations * (turn + 1) // samples, slots or 1))
                report(taken[-1])
        except BaseException:
            sys.stderr.write(running.output.decode(errors="replace"))
            raise
        code = await running.stop()
        if api.faults:
            raise WrongAnswer("; ".join(api.faults[:10]))
        if code != 0:
            raise WrongAnswer(f"the process ended with exit code {code}")
    check_flat(taken)
    return taken


async def _work(api: RuntimeApi, numbers: Iterator[int]) -> None:
    for number in numbers:
        await one(api, number)


def main() -> int:
    """Prints the samples and the verdict; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--invocations", type=int, default=100_000)
    parser.add_argument("--slots", type=int, help="Managed Instances: so many invocations at once")
    parser.add_argument("--samples", type=int, default=10)
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux"):
        print("The soak reads /proc, which is Linux's: not run.")
        return 0
    print(f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {platform.machine()}")
    print("".join(f"{name:>12}" for name in Sample._fields), flush=True)

    def report(sample: Sample) -> None:
        print("".join(f"{value:>12}" for value in sample), flush=True)

    began = time.monotonic()
    try:
        asyncio.run(soak(arguments.invocations, arguments.slots, arguments.samples, report))
    except NotFlat as error:
        print(f"Not flat: {error}")
        return 1
    took = time.monotonic() - began
    print(f"Flat. Every end was right. {took:.0f} s, {arguments.invocations / took:.0f} invocations a second.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
