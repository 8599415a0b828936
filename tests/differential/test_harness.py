"""The suite about itself: it covers what it should, its table is documented, and it finds what it should find."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.differential.harness.compare import compare
from tests.differential.harness.differences import DIFFERENCES, table
from tests.differential.harness.packages import find_packages
from tests.differential.harness.records import Recording, Response
from tests.differential.harness.run import end_group
from tests.differential.harness.targets import BEHIND_STAGES, TARGETS

README = Path(__file__).with_name("README.md")
PACKAGES = find_packages().values()


def test_what_is_covered() -> None:
    assert len(PACKAGES) >= 32
    assert all(set(package.targets) <= set(TARGETS) for package in PACKAGES)
    assert sum("local" in package.targets for package in PACKAGES) >= 8
    assert sum(set(BEHIND_STAGES) <= set(package.targets) for package in PACKAGES) >= 5


def test_the_readme_has_the_table_of_differences() -> None:
    assert table() in README.read_text()
    assert all(row.name and row.reason and row.source for row in DIFFERENCES)


def response(**fields: Any) -> Response:
    one = Response(label="GET /", status=200, headers=[("content-type", "text/plain")], body=b"onetwo")
    one.pieces, one.arrived, one.raised, one.raw = [b"one", b"two"], ["one"], "", b"HTTP/1.1 200 OK\r\n\r\nonetwo"
    return dataclasses.replace(one, **fields)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"status": 201}, "GET /: status"),
        ({"headers": []}, "GET /: header content-type"),
        ({"headers": [("content-type", "text/plain"), ("x-new", "1")]}, "GET /: header x-new"),
        ({"headers": [("content-type", "text/plain"), ("set-cookie", "a=1")]}, "GET /: header set-cookie"),
        ({"body": b"onetw", "pieces": [b"one", b"tw"]}, "GET /: body"),
        ({"pieces": [b"onetwo"]}, "GET /: chunks (bytes of each)"),
        ({"arrived": [], "withheld": ["one"]}, "GET /: arrival while the app waited"),
        ({"ended": "cut"}, "GET /: end"),
        ({"raised": "ValueError"}, "GET /: exception that left the app"),
        ({"status": 500, "ended": "cut"}, "GET /: status, end"),
    ],
)
def test_each_field_that_differs_is_reported_with_both_responses(fields: dict[str, Any], line: str) -> None:
    (report,) = compare(Recording([response()]), Recording([response(**fields)]), target="function_url")
    assert report.startswith(f"{line}\n")
    assert "  uvicorn's response, as it came:\n    HTTP/1.1 200 OK\n" in report
    assert "  function_url's response:\n    HTTP/1.1 200 OK\n" in report


@pytest.mark.parametrize(
    ("target", "one", "other", "line"),
    [
        # No length, and one that no app has sent.
        ("function_url", {}, {"headers": [("content-length", "6")]}, "header content-length"),
        ("function_url", {}, {"headers": [("x-amzn-remapped-content-length", "9")]}, "header x-amzn-remapped-"),
        ("http_api", {}, {"headers": [("content-length", "9")]}, "header content-length"),
        # An app's own.
        ("function_url", {"headers": [("server", "mine")]}, {}, "header server"),
        ("function_url", {}, {"headers": [("date", "Sun, 06 Nov 1994 08:49:37 GMT")]}, "header date"),
        ("local", {"headers": [("date", "then")]}, {"headers": [("date", "then"), ("date", "now")]}, "header date"),
        # Hop-by-hop headers are missing, and none is added.
        ("function_url", {}, {"headers": [("connection", "close")]}, "header connection"),
        # The port of the Host header.
        ("function_url", {"body": b"http://app.example/"}, {"body": b"http://app.example:80/"}, "body"),
        # A failed response that is buffered is excused as a whole, and not what left the app.
        ("alb", {"ended": "cut"}, {"status": 500, "body": b"Internal Server Error", "raised": "KeyError"}, "exception"),
    ],
)
def test_what_looks_like_a_documented_difference_is_reported(
    target: str, one: dict[str, Any], other: dict[str, Any], line: str
) -> None:
    recordings = [Recording([response(**({"headers": [], "pieces": None} | fields))]) for fields in (one, other)]
    (report,) = compare(*recordings, target=target)
    assert report.startswith(f"GET /: {line}")


@pytest.mark.parametrize(
    ("label", "one", "other"),
    [
        ("GET /: scope[server]", ["127.0.0.1", 5], ["app.example", 443]),
        ("GET /: request header x-forwarded-for", None, "192.0.2.1"),
        ("GET /: scope[client]", ["127.0.0.1", 5], ["192.0.2.1", 0]),
        ("GET /: scope[aws.event]", "what nobody sends", None),
    ],
)
def test_what_looks_like_a_difference_of_the_scope_is_reported(label: str, one: object, other: object) -> None:
    recordings = [Recording([response()], [(label, value)]) for value in (one, other)]
    assert len(compare(*recordings, target="function_url")) == 1


def test_what_a_child_has_left_is_ended() -> None:
    child = subprocess.Popen(["/bin/sh", "-c", "sleep 300 & echo $!"], stdout=subprocess.PIPE, process_group=0)
    assert child.stdout is not None
    left = int(child.stdout.readline())
    child.wait()
    os.kill(left, 0)
    end_group(child)
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
    child.stdout.close()


def test_what_is_the_same_or_volatile_is_not_reported() -> None:
    dates = [("date", f"Sun, 06 Nov 1994 08:49:{second} GMT") for second in (37, 38)]
    one = response(body=b"token=1", pieces=[b"token=1"], headers=[("set-cookie", "id=1; Path=/"), dates[0]])
    other = response(body=b"token=22", pieces=[b"token=22"], headers=[("set-cookie", "id=22; Path=/"), dates[1]])
    recordings = Recording([one]), Recording([other])
    assert compare(*recordings, target="function_url", volatile=[r"token=\d+", r"set-cookie: id=\d+"]) == []
    assert len(compare(*recordings, target="function_url", volatile=[r"token=\d+"])) == 1


def test_a_missing_response_and_a_note_are_reported() -> None:
    one, other = Recording([response()], [("tools", ["a", "b"])]), Recording([], [("tools", ["a"])])
    missing, note = compare(one, other, target="function_url")
    assert missing.startswith("The requests differ:\n")
    assert note.startswith("tools: what the client got differs\n")


def test_a_reference_that_withholds_a_mark_is_a_fault_of_the_package_file() -> None:
    late = Recording([response(arrived=[], withheld=["one"])])
    (report,) = compare(late, late, target="function_url")
    assert report == "GET /: uvicorn's client has not read ['one'] while the app waited"
