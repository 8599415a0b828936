"""The code in docs/testing.md runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import asgi_stream
from asgi_stream import testing

DOCUMENT = Path(asgi_stream.__file__).parent.parent / "docs" / "testing.md"


def test_the_code_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) == DOCUMENT.read_text().count("```python"), "each block begins with the name of its file"
    for name, code in blocks:
        (tmp_path / name).write_text(code)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=tmp_path, capture_output=True, text=True
    )
    tests = sum(code.count("def test_") for _, code in blocks)
    assert tests > 0
    assert f"{tests} passed" in process.stdout, process.stdout


def test_every_public_name_stands_in_it() -> None:
    text = DOCUMENT.read_text()
    assert [name for name in testing.__all__ if name not in text and name not in ("Chunk", "Exchange")] == []
    for name in vars(testing.Exchange):
        assert name.startswith("_") or f"`{name}" in text or f"{name}()" in text, name


def test_every_public_name_says_what_it_is() -> None:
    assert testing.__all__ == sorted(testing.__all__, key=lambda name: (name.islower(), name))
    assert all(getattr(testing, name).__doc__ for name in testing.__all__)
