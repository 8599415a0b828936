"""The real ``bootstrap`` against a platform that leaves it no way on: it exits by code 1, at once, and says why."""

from __future__ import annotations

import subprocess
import sys

import pytest

from asgi_stream.local.environment import lambda_environment
from tests.faults.promise import exited, kept, two_events, went_on
from tests.faults.server import LIMIT, Fault, Server, reply
from tests.support.dev import environment
from tests.support.process import BOOTSTRAP

EXITS = {
    "poll refused": (1, Fault(say=reply(403)), "no next invocation: status 403"),
    "poll fails": (1, Fault(say=reply(500)), "no next invocation: status 500"),
    "poll reset": (1, Fault(end="reset", say=b""), "no next invocation: no reply"),
    "port gone": (1, Fault(end="gone", say=b""), "no next invocation: no reply"),
    "no reply to a response": (2, Fault(end="close", say=b""), "dropped the connection in place of a reply"),
    "reset in mid-stream": (2, Fault(read=400, end="reset"), "dropped the connection in place of a reply"),
    "response fails": (2, Fault(say=reply(503)), "Lambda answered with status 503"),
}


def run(server: Server, handler: str = "tests.apps.faults:echoes") -> tuple[int, str]:
    done = subprocess.run(
        [BOOTSTRAP, sys.executable, "/var/runtime/bootstrap.py"],
        env=lambda_environment(handler, server.address, environment()),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", EXITS)
def test_it_exits(name: str) -> None:
    number, fault, log = EXITS[name]
    with Server(two_events(), {number: fault}) as server:
        code, output = run(server)
    assert code == 1
    kept(server)
    exited(server, number)
    assert f"The runtime ends: {log}" in output or f"The runtime ends: Lambda has {log}" in output
    assert "Traceback" not in output


def test_it_goes_on() -> None:
    with Server(two_events(), {2: Fault(say=reply(413))}) as server:
        code, output = run(server)
    kept(server)
    went_on(server)
    assert code == 1  # the server's last word
    assert "refused the response: status 413" in output


@pytest.mark.parametrize(
    ("fault", "lost"),
    [(Fault(say=reply(500)), False), (Fault(say=b"", end="reset"), True), (Fault(read=3, end="close"), True)],
)
def test_an_init_error_that_cannot_be_reported(fault: Fault, lost: bool) -> None:
    with Server([], {1: fault}) as server:
        code, output = run(server, "tests.apps.faults:not_there")
    assert code == 1
    exited(server, 1)
    assert "not_there" in output
    assert ("The init error could not be reported" in output) is lost
    assert "Traceback" not in output
