"""Deliberate faults of the adapter: the comparison fails for each, and its report names the place."""

from __future__ import annotations

import pytest

from tests.differential.harness.compare import compare
from tests.differential.harness.run import run
from tests.differential.harness.targets import REFERENCE

PATH = "a path that is encoded twice: "

pytestmark = pytest.mark.xdist_group("starlette")


def reports(fault: str, target: str = "function_url") -> dict[str, str]:
    """The reports on Starlette's requests with a fault, by request and fields: `GET /: header server`."""
    found = compare(run("starlette", REFERENCE), run("starlette", target, fault), target=target)
    return {report.partition("\n")[0]: report for report in found}


def test_a_lost_header_is_caught() -> None:
    found = reports("lost-header")
    assert "    uvicorn: text/plain; charset=utf-8\n    function_url: (none)\n" in found["GET /: header content-type"]
    assert "    function_url: first=1; HttpOnly; Path=/; SameSite=lax\n" in found["GET /redirect: header set-cookie"]


def test_a_joined_chunk_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFERENTIAL_PATIENCE", "2")  # for what never comes; the run without a fault has more
    report = reports("joined-chunk")["GET /stream: chunks (bytes of each), arrival while the app waited"]
    assert "    uvicorn: [3, 3, 5]\n    function_url: [6, 5]\n" in report
    assert "    uvicorn: ['one', 'two'] were read\n" in report
    assert "    function_url: [] were read, and ['one', 'two'] only afterwards\n" in report
    assert "onetwo" in report


def test_a_path_that_is_decoded_twice_is_caught() -> None:
    (report,) = [text for line, text in reports("decoded-twice").items() if line.startswith(PATH)]
    assert '    -{"name":"a b%20c+d",' in report
    assert '    +{"name":"a b c+d",' in report


def test_a_fault_is_put_into_the_process_of_a_local_function_too() -> None:
    assert (
        "    local: first=1; HttpOnly; Path=/; SameSite=lax\n"
        in (reports("lost-header", "local")["GET /redirect: header set-cookie"])
    )
