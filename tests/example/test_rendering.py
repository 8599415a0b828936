"""Pages that come in parts, over the local Lambda."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.local.support import make_gate, open_gate
from tests.support.dev import CHECKOUT, dev, environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.dev import Dev


def test_the_shell_is_read_first_and_each_part_when_it_is_ready(tmp_path: Path) -> None:
    """A handshake: a part is finished only when its gate is opened, here in another order than theirs."""
    gates = {name: make_gate(tmp_path, name) for name in ("first", "second", "broken")}
    with (
        dev(handler="tests.example.gated:handler", folder=CHECKOUT, GATES=str(tmp_path)) as running,
        running.client.stream("GET", "/rendering") as response,
    ):
        pieces = response.iter_text()
        shell = next(pieces)
        assert re.findall(r"<h2>(.*?)</h2><slot name=\"(.*?)\">", shell) == [
            (f"Title of {name}", name) for name in gates
        ]
        assert '<template shadowrootmode="open">' in shell
        assert shell.rstrip().endswith("</template>")
        for name, content in (
            ("second", "<dt>row of</dt><dd>&lt;second&gt;</dd>"),
            ("broken", "This part could not be made."),
            ("first", "<dt>row of</dt><dd>&lt;first&gt;</dd>"),
        ):
            open_gate(gates[name])
            piece = next(pieces)
            assert re.findall(r'slot="(.*?)"', piece) == [name]
            assert content in piece
        assert "".join(pieces).rstrip().endswith("</html>")


def test_the_parts_of_the_example(site: Dev) -> None:
    page = site.client.get("/rendering?delay=0").text
    slots = re.findall(r'<slot name="(\w+)"', page)
    assert len(slots) == 3
    assert sorted(re.findall(r'<div slot="(\w+)"', page)) == sorted(slots)
    assert "<dt>primes below 20,000</dt><dd>2,262</dd>" in page
    assert "could not be made" not in page


@pytest.mark.parametrize("path", ["/", "/chat", "/files", "/rendering", "/live"])
def test_each_page_links_all_four_uses(site: Dev, path: str) -> None:
    page = site.client.get(path, params={"delay": 0}).text
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>")
    assert {"chat", "files", "rendering", "live"} <= set(re.findall(r'href="(\w+)"', page))


def test_a_start_without_a_page_pays_for_none() -> None:
    program = """if True:
        import sys
        before = set(sys.modules)  # coverage, where it measures, has some of its own
        from example_app.main import handler
        print(sorted((sys.modules.keys() - before) & {"boto3", "botocore", "jinja2", "sqlite3"}))
    """
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        env=environment(EXAMPLE_TABLE="table", EXAMPLE_BUCKET="bucket"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == "[]\n"
