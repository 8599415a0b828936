"""asgi-stream's part of a package: a copy of this very installation, without what Lambda never imports."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from asgi_stream import __version__

PACKAGE = Path(__file__).parent.parent
LEFT_OUT = ("__pycache__", "__main__.py", "cli.py", "local", "packaging", "testing", "py.typed")
DIST_INFO = f"asgi_stream-{__version__}.dist-info"
METADATA = f"""\
Metadata-Version: 2.1
Name: asgi-stream
Version: {__version__}
Requires-Python: >=3.11
Provides-Extra: uvloop
Requires-Dist: uvloop>=0.21; extra == "uvloop"
"""


def copy_own(into: Path) -> list[Path]:
    """Copies the package, in place of one that a dependency has brought; returns the dist-infos that had to go."""
    gone = [path for path in into.glob("asgi_stream-*.dist-info") if path.name != DIST_INFO]
    for path in (into / "asgi_stream", *into.glob("asgi_stream-*.dist-info")):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(PACKAGE, into / "asgi_stream", ignore=_left_out)
    (into / DIST_INFO).mkdir()
    (into / DIST_INFO / "METADATA").write_text(METADATA, encoding="utf-8")
    return gone


def write_wheel(folder: Path) -> None:
    """Writes a wheel that holds nothing but our metadata: with it pip can resolve `asgi-stream` without an index."""
    folder.mkdir()
    texts = {
        "METADATA": METADATA,
        "WHEEL": "Wheel-Version: 1.0\nGenerator: asgi-stream\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "".join(f"{DIST_INFO}/{name},,\n" for name in ("METADATA", "WHEEL", "RECORD")),
    }
    with zipfile.ZipFile(folder / f"asgi_stream-{__version__}-py3-none-any.whl", "w") as archive:
        for name, text in texts.items():
            archive.writestr(f"{DIST_INFO}/{name}", text)


def _left_out(folder: str, names: list[str]) -> list[str]:
    top = Path(folder) == PACKAGE
    return [name for name in names if name == "__pycache__" or (top and name in LEFT_OUT)]
