"""`asgi-stream dev` and `asgi-stream invoke` as their users run them: real processes, real sockets."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from asgi_stream import cli
from tests.support.dev import COMMAND, dev, environment, gone

from .support import make_gate, open_gate

HERE = Path(__file__).parent


def test_a_chunk_is_read_while_the_function_waits_and_a_busy_one_blocks_nobody(tmp_path: Path) -> None:
    gate = make_gate(tmp_path)
    with dev() as running:
        with running.client.stream("GET", f"/gate?gate={gate}") as response:
            parts = response.iter_raw()
            first = int(next(parts))
            other = int(running.client.get("/pid").text)
            assert first != other
            open_gate(gate)
            assert list(parts) == [b"two"]
        errors = running.stop()
    assert "Traceback" not in errors
    assert gone(first)
    assert gone(other)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_open_stream_does_not_block_the_end(tmp_path: Path, number: signal.Signals) -> None:
    gate = make_gate(tmp_path)
    with dev() as running, running.client.stream("GET", f"/gate?gate={gate}") as response:
        pid = int(next(response.iter_raw()))
        assert "asgi-stream: GET /gate" not in running.stop(number)
        assert gone(pid)


def test_a_signal_right_at_the_start_leaves_nothing() -> None:
    with dev() as running:
        assert "Traceback" not in running.stop()


def test_a_child_exits_when_its_parent_is_killed() -> None:
    with dev() as running:
        pid = int(running.client.get("/pid").text)
        # A process descriptor becomes readable when the process ends, whoever reaps it.
        descriptor = os.pidfd_open(pid)
        try:
            running.process.kill()
            assert select.select([descriptor], [], [], 30)[0]
        finally:
            os.close(descriptor)


def test_a_request_and_its_response_in_every_detail() -> None:
    with dev() as running:
        response = running.client.get("/event?x=a+b", headers={"cookie": "c=1"})
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert response.headers["content-type"] == "application/json"
        assert "server" not in response.headers
        event = json.loads(response.content)
        assert event["rawQueryString"] == "x=a+b"
        assert event["cookies"] == ["c=1"]
        assert event["headers"]["host"] == running.client.base_url.netloc.decode()


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 302)])
def test_responses_without_a_body_end_and_the_connection_goes_on(method: str, status: int) -> None:
    with dev() as running:
        for _ in range(2):
            response = running.client.request(method, f"/status?status={status}")
            assert (response.status_code, response.content) == (status, b"")
            if status in (204, 304):
                assert "transfer-encoding" not in response.headers
                assert "content-length" not in response.headers


def test_a_client_that_disconnects_is_not_noticed_by_the_function(tmp_path: Path) -> None:
    gate = make_gate(tmp_path)
    marker = tmp_path / "marker"
    with dev("--concurrency", "1") as running:
        with running.client.stream("GET", f"/done?gate={gate}&marker={marker}") as response:
            assert next(response.iter_raw()) == b"one"
        open_gate(gate)
        # The only environment: it answers when it has come to the end of the stream that nobody reads.
        while running.client.get("/pid").status_code == 429:
            pass
        assert marker.exists()


def test_crash_and_failure_are_told_and_the_next_request_works() -> None:
    with dev("--concurrency", "1") as running:
        response = running.client.get("/crash")
        assert (response.status_code, response.text) == (502, "Internal Server Error")
        assert running.client.get("/fail").status_code == 500
        assert running.client.get("/pid").status_code == 200
        assert running.client.get("/fail-mid").text == "one"
        errors = running.stop()
    assert "GET /crash: Runtime.ExitError: the function's process ended with status 3" in errors
    assert "ValueError: failed before the start" in errors
    assert "ValueError: failed in mid-stream" in errors


def test_an_init_error_shows_and_the_next_request_tries_again(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with dev(BROKEN_UNTIL=str(marker)) as running:
        assert running.client.get("/pid").status_code == 502
        marker.touch()
        assert running.client.get("/pid").status_code == 200
        errors = running.stop()
    assert "RuntimeError: broken until the marker exists" in errors


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = run("dev", "functions:handler", "--port", port)
    assert result.returncode == 1
    assert result.stderr == f"asgi-stream: port {port} on 127.0.0.1 is in use: choose another with --port\n".encode()


def test_an_address_that_is_not_ours() -> None:
    result = run("dev", "functions:handler", "--host", "192.0.2.1", "--port", "0")
    assert result.returncode == 1
    assert result.stderr.startswith(b"asgi-stream: cannot listen on 192.0.2.1 port 0: ")
    assert result.stderr.count(b"\n") == 1


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=HERE, env=environment(**variables), capture_output=True, timeout=60, check=False
    )


def test_invoke_shows_status_headers_and_chunks() -> None:
    result = run("invoke", "functions:handler", "/event?q=ä", "--header", "X-A: 1", "--data", "text")
    assert result.returncode == 0
    event = json.loads(result.stdout)
    assert event["rawQueryString"] == "q=%C3%A4"
    assert event["headers"]["x-a"] == "1"
    assert event["requestContext"]["http"]["method"] == "POST"
    lines = result.stderr.decode().splitlines()
    assert lines[:4] == ["200", "content-type: application/json", "set-cookie: a=1", "set-cookie: b=2"]
    assert re.fullmatch(rf"--- \d+\.\d{{3}} s, {len(result.stdout)} B", lines[4])


def test_invoke_sends_a_file(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"\xff")
    result = run("invoke", "functions.handler", "event", "--method", "PUT", "--data", f"@{tmp_path}/body")
    event = json.loads(result.stdout)
    assert (event["rawPath"], event["body"], event["headers"]["content-length"]) == ("/event", "/w==", "1")
    assert event["requestContext"]["http"]["method"] == "PUT"


def test_invoke_shows_a_chunk_while_the_function_waits(tmp_path: Path) -> None:
    gate = make_gate(tmp_path)
    command = [*COMMAND, "invoke", "functions:handler", f"/gate?gate={gate}"]
    with subprocess.Popen(
        command, cwd=HERE, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdigit()
        open_gate(gate)
        assert process.stdout.read() == b"two"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("then", "status", "said"),
    [
        ("marker", 0, ""),
        ("fail", 0, "ValueError: failed in the background"),
        ("exit", 1, "asgi-stream: GET /background: Runtime.ExitError: the function's process ended with status 3"),
    ],
)
def test_invoke_lets_background_work_come_to_its_end(tmp_path: Path, then: str, status: int, said: str) -> None:
    gate = make_gate(tmp_path)
    marker = tmp_path / "marker"
    command = [*COMMAND, "invoke", "functions:handler", f"/background?gate={gate}&{then}={marker}"]
    with subprocess.Popen(
        command, cwd=HERE, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        # The whole response has come, and the function waits for the test.
        assert any(line.startswith("---") for line in process.stderr)
        open_gate(gate)
        _, errors = process.communicate()
    assert process.returncode == status
    assert said in errors
    assert marker.exists() is (then == "marker")


def test_invoke_ends_on_a_signal_also_after_the_response(tmp_path: Path) -> None:
    command = [*COMMAND, "invoke", "functions:handler", f"/background?gate={make_gate(tmp_path)}"]
    with subprocess.Popen(
        command, cwd=HERE, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any(line.startswith("---") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        pid, _ = process.communicate()
    assert process.returncode == 130
    assert gone(int(pid))


def test_invoke_ends_its_child_on_a_signal(tmp_path: Path) -> None:
    gate = make_gate(tmp_path)
    command = [*COMMAND, "invoke", "functions:handler", f"/gate?gate={gate}"]
    with subprocess.Popen(
        command, cwd=HERE, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert gone(pid)


@pytest.mark.parametrize(
    ("path", "variables", "expected"),
    [
        ("/fail-mid", {}, "ValueError: failed in mid-stream"),
        ("/crash", {}, "Runtime.ExitError: the function's process ended with status 3"),
        ("/pid", {"BROKEN_INIT": "1"}, "broken on purpose"),
    ],
)
def test_invoke_fails_with_the_function(path: str, variables: dict[str, str], expected: str) -> None:
    result = run("invoke", "functions:handler", path, **variables)
    assert result.returncode == 1
    assert f"asgi-stream: GET {path}: " in result.stderr.decode()
    assert expected in result.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ["dev", "nohandler"],
        ["dev", "a:b", "--port", "65536"],
        ["dev", "a:b", "--port", "x"],
        ["dev", "a:b", "--concurrency", "0"],
        ["dev", "a:b", "--timeout", "0"],
        ["dev", "a:b", "--timeout", "900.1"],
        ["dev", "a:b", "--timeout", "nan"],
        ["invoke", "a:b", "/", "--timeout", "-1"],
        ["invoke", "a:b", "/", "--timeout", "x"],
        ["invoke", "a:b", "/", "--header", "x"],
        ["invoke", "a:b", "/", "--data", "@/does/not/exist"],
        [],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "asgi-stream" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["dev", "a:b"], ["invoke", "a:b", "/"]])
def test_a_missing_extra(arguments: list[str]) -> None:
    program = (
        "import sys; sys.modules |= {'h11': None, 'uvicorn': None}; from asgi_stream.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert process.returncode == 1
    assert re.fullmatch(
        r"asgi-stream: (h11|uvicorn) is not installed: pip install 'asgi-stream\[local\]'\n", process.stderr
    )


def test_invoke_keeps_what_the_function_says_out_of_the_body() -> None:
    command = [*COMMAND, "invoke", "functions:handler", "/fail-mid"]
    process = subprocess.run(command, cwd=HERE, env=environment(), capture_output=True, text=True)
    assert process.stdout == "one"
    assert "failed in mid-stream" in process.stderr


def test_a_reader_that_goes_away() -> None:
    """Such as `| head`."""
    command = [*COMMAND, "invoke", "functions:handler", "/event"]
    process = subprocess.Popen(
        command, cwd=HERE, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stderr:
        errors = stderr.read()
    assert process.wait() == 1
    assert "Traceback" not in errors
