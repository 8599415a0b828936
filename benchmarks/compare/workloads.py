"""What is asked of each runtime, how its answer is checked, and what is taken down."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.compare.driver import Failed

if TYPE_CHECKING:
    from benchmarks.compare.driver import Answer, Driver
    from benchmarks.compare.process import Process

HELLO = {"message": "Hello from the benchmark"}
SMALL = b"x" * 31 + b"\n"
LARGE = b"y" * 65_536
BURST = 2000
SPACED = 200
BULK = 512
BIG = 3200  # messages of 64 KiB: 200 MiB

# How often, after as many that warm up; `hello` warms up by a third more.
HELLOS = 450
BURSTS = 30
BULKS = 9
SPACES = 3


def event(path: str) -> bytes:
    """A Function URL event (payload 2.0) for GET of this path."""
    return json.dumps(
        {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": "",
            "headers": {
                "host": "abc.lambda-url.us-east-1.on.aws",
                "accept": "*/*",
                "user-agent": "benchmark",
                "x-forwarded-for": "127.0.0.1",
                "x-forwarded-port": "443",
                "x-forwarded-proto": "https",
            },
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "abc",
                "domainName": "abc.lambda-url.us-east-1.on.aws",
                "domainPrefix": "abc",
                "http": {
                    "method": "GET",
                    "path": path,
                    "protocol": "HTTP/1.1",
                    "sourceIp": "127.0.0.1",
                    "userAgent": "benchmark",
                },
                "requestId": "id",
                "routeKey": "$default",
                "stage": "$default",
                "time": "24/Nov/2026:00:00:00 +0000",
                "timeEpoch": 1795478400000,
            },
            "isBase64Encoded": False,
        }
    ).encode()


class Sample(NamedTuple):
    """One measurement: its name ("burst ms", …) and its value."""

    name: str
    value: float


def first_poll(process: Process, driver: Driver) -> list[Sample]:
    """From the start of the process to its first poll, of one that does no more than that."""
    return [Sample("cold poll ms", (driver.wait_for_poll() - process.started) / 1e6)]


def cold(process: Process, driver: Driver) -> list[Sample]:
    """From the start of the process to its first poll, and to the first byte of the first page."""
    polled = driver.wait_for_poll()
    answer = driver.invoke(event("/hello"))
    body = answer.body()
    _check(json.loads(b"".join(piece for piece, _ in body)) == HELLO, answer)
    first = body[0][1]
    # The event waits for nobody but the process: its start to the poll, and the answer to the event.
    poll = polled - process.started
    return [
        Sample("cold poll ms", poll / 1e6),
        Sample("cold body ms", (poll + first - answer.asked) / 1e6),
    ]


def hello(process: Process, driver: Driver) -> list[Sample]:
    """A small JSON answer: median time, CPU for each, 99th percentile."""
    asked = event("/hello")
    for _ in range(HELLOS // 3):
        driver.invoke(asked, keep=False)
    pids = process.pids()
    driver.wait_for_poll()
    before = process.cpu(pids)
    times = [driver.invoke(asked, keep=False).milliseconds for _ in range(HELLOS)]
    driver.wait_for_poll()
    spent = process.cpu(pids) - before
    return [Sample("hello ms", statistics.median(times)), Sample("hello CPU µs", spent / HELLOS / 1e3)]


def burst(process: Process, driver: Driver) -> list[Sample]:
    """2,000 messages of 32 bytes without a pause."""
    return _stream(process, driver, "burst", BURST, SMALL, BURSTS)


def bulk(process: Process, driver: Driver) -> list[Sample]:
    """512 messages of 64 KiB."""
    samples = _stream(process, driver, "bulk", BULK, LARGE, BULKS)
    megabytes = BULK * len(LARGE) / 1e6
    return [*samples, *(Sample("bulk MB/s", megabytes / s.value * 1e3) for s in samples if s.name == "bulk ms")]


def _stream(process: Process, driver: Driver, name: str, count: int, message: bytes, times: int) -> list[Sample]:
    """The median time of so many responses and the CPU for each, after as many that warm up: compilers take time."""
    pids = process.pids()
    asked = event(f"/{name}/{count}")
    for _ in range(times):
        driver.invoke(asked, keep=False)
    driver.wait_for_poll()
    before = process.cpu(pids)
    answers = [driver.invoke(asked) for _ in range(times)]
    driver.wait_for_poll()
    spent = process.cpu(pids) - before
    for answer in answers:
        body = b"".join(piece for piece, _ in answer.body())
        _check(len(body) == count * len(message) and body == message * count, answer)
    took = statistics.median(answer.milliseconds for answer in answers)
    return [Sample(f"{name} ms", took), Sample(f"{name} CPU ms", spent / times / 1e6)]


def spaced(process: Process, driver: Driver) -> list[Sample]:
    """200 messages 2 ms apart, three times: from the stamp in each to its arrival."""
    late = []
    for _ in range(SPACES):
        answer = driver.invoke(event(f"/spaced/{SPACED}"))
        body = answer.body()
        _check(sum(len(piece) for piece, _ in body) == 32 * SPACED, answer)
        rest = b""
        for piece, when in body:
            rest += piece
            while len(rest) >= 32:
                message, rest = rest[:32], rest[32:]
                late.append((when - int(message)) / 1e3)
    late.sort()
    return [Sample("spaced p50 µs", late[len(late) // 2]), Sample("spaced p99 µs", late[len(late) * 99 // 100])]


def memory(process: Process, driver: Driver) -> list[Sample]:
    """How much the processes grow over a response of 200 MiB."""
    driver.invoke(event("/bulk/16"), keep=False)
    driver.wait_for_poll()
    process.forget_peak()
    before = process.memory("VmRSS")
    answer = driver.invoke(event(f"/bulk/{BIG}"), keep=False)
    _check(answer.size >= BIG * len(LARGE), answer)
    return [Sample("memory KiB", process.memory("VmHWM") - before), Sample("resident KiB", before)]


def _check(right: bool, answer: Answer) -> None:
    if not right:
        raise Failed(f"a wrong answer of {answer.size} bytes: {b''.join(answer.pieces)[:300]!r}")


WORKLOADS = {"hello": hello, "burst": burst, "spaced": spaced, "bulk": bulk, "memory": memory}
