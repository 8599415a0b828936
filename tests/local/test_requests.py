"""Requests of any form to a large stream: whatever becomes of the client, the function runs to its end, and is free."""

from __future__ import annotations

import os
import re
import select
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.dev import Dev, dev

from .support import make_gate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What a client sends for the stream `/large?…`, and how much of the response it reads before it hangs up; None: all.
CLIENTS: dict[str, tuple[bytes, int | None]] = {
    "CONNECT": (b"CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n", None),
    "CONNECT, gone at once": (b"CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n", 0),
    "CONNECT with bytes for a tunnel": (b"CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01", None),
    "connect in lower case": (b"connect {} HTTP/1.1\r\nHost: x\r\n\r\n", 1),
    "OPTIONS": (b"OPTIONS {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", None),
    "HEAD": (b"HEAD {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", None),
    "head in lower case": (b"head {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", None),
    "get in lower case": (b"get {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 1),
    "a method of its own": (b"BREW {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 1),
    "HTTP/1.0": (b"GET {} HTTP/1.0\r\n\r\n", None),
    "HTTP/1.0, gone": (b"GET {} HTTP/1.0\r\n\r\n", 1),
    "upgrade": (b"GET {} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 1),
    "gone at once": (b"GET {} HTTP/1.1\r\nHost: x\r\n\r\n", 0),
    "gone after some of it": (b"GET {} HTTP/1.1\r\nHost: x\r\n\r\n", 100_000),
    "pipelined, gone": (b"GET {} HTTP/1.1\r\nHost: x\r\n\r\nGET /pid HTTP/1.1\r\nHost: x\r\n\r\n", 1),
    "nonsense after it": (b"GET {} HTTP/1.1\r\nHost: x\r\n\r\n\x00\x01nonsense\r\n\r\n", 1),
    "expect": (b"POST {} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", 1),
}
# These never become an event.
BROKEN = {
    "a malformed chunk": b"POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "a chunk size that is none": b"POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n",
    "a body that ends early": b"POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
    "a head that ends early": b"GET {} HTTP/1.1\r\nHost:",
    "no HTTP": b"{}\r\n\r\n",
    "expect, and no body": b"POST {} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
}
# Values of X-Amzn-Trace-Id that Lambda would not pass on.
TRACES = [b"Root=1\x01", b"\x1b[2J", b"Root=1\x7f", b"Root=1\xa0", b"", b"a" * 2000, b"Root=1-" + b"a" * 65_536]
# As clients send them to a proxy; and the one target that is no path.
OTHER_TARGETS = [
    b"GET http://example.com/pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
]


@pytest.fixture(scope="module")
def running() -> Iterator[Dev]:
    """With one environment: what leaves it busy is seen by the next request."""
    with dev("--concurrency", "1") as started:
        assert started.client.get("/pid").status_code == 200
        yield started


def talk(running: Dev, request: bytes, limit: int | None) -> bytes:
    """Sends a request; returns the response, of which it reads `limit` bytes, or all, before it hangs up."""
    url = running.client.base_url
    received = b""
    with socket.create_connection((url.host, url.port)) as client:
        client.sendall(request)
        while (limit is None or len(received) < limit) and (data := client.recv(65536)):
            received += data
    return received


def pid_of_the_next(running: Dev) -> str:
    """Serves one more request, as soon as the environment is free; returns the id of the process that did it."""
    while (response := running.client.get("/pid")).status_code == 429:
        pass
    return response.text


@pytest.mark.parametrize("client", CLIENTS)
def test_the_function_runs_to_its_end_and_serves_the_next(running: Dev, tmp_path: Path, client: str) -> None:
    request, limit = CLIENTS[client]
    pid = pid_of_the_next(running)
    ended = make_gate(tmp_path)
    reader = os.open(ended, os.O_RDONLY | os.O_NONBLOCK)
    try:
        talk(running, request.replace(b"{}", f"/large?ended={ended}".encode()), limit)
        assert select.select([reader], [], [], 30)[0], "the function still waits for its client"
    finally:
        os.close(reader)
    assert pid_of_the_next(running) == pid


@pytest.mark.parametrize("value", TRACES, ids=range(len(TRACES)))
def test_no_header_of_a_client_ends_the_functions_process(running: Dev, value: bytes) -> None:
    pid = pid_of_the_next(running)
    head = b"GET /trace HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Amzn-Trace-Id: "
    response = talk(running, head + value + b"\r\n\r\n", None)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert re.search(rb"\nRoot=1-[0-9a-f]{8}-[0-9a-f]{24}\r\n", response)
    assert pid_of_the_next(running) == pid


def test_a_trace_of_a_client_is_that_of_the_invocation(running: Dev) -> None:
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"
    assert running.client.get("/trace", headers={"X-Amzn-Trace-Id": trace}).text == f"\n{trace}"


@pytest.mark.parametrize("client", BROKEN)
def test_a_request_that_is_none_reaches_no_function(running: Dev, client: str) -> None:
    pid = pid_of_the_next(running)
    talk(running, BROKEN[client].replace(b"{}", b"/large?ended=/nowhere"), 0)
    assert pid_of_the_next(running) == pid


@pytest.mark.parametrize("request_", OTHER_TARGETS)
def test_a_target_that_is_no_path(running: Dev, request_: bytes) -> None:
    pid = pid_of_the_next(running)
    assert talk(running, request_, 1).startswith(b"HTTP/1.1 404 ")
    assert pid_of_the_next(running) == pid
