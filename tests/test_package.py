"""The wheel: pure Python, nothing required, and a ``bootstrap`` that runs where it was installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

import asgi_stream

CHECKOUT = Path(asgi_stream.__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_what_is_in_it(wheel: Path) -> None:
    assert wheel.name == f"asgi_stream-{asgi_stream.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        mode = archive.getinfo("asgi_stream/bootstrap").external_attr >> 16
        metadata = HeaderParser().parsestr(
            archive.read(f"asgi_stream-{asgi_stream.__version__}.dist-info/METADATA").decode()
        )
    assert mode & 0o777 == 0o755
    assert "asgi_stream/py.typed" in names
    assert {name.partition("/")[0] for name in names} == {
        "asgi_stream",
        f"asgi_stream-{asgi_stream.__version__}.dist-info",
    }
    assert metadata["Requires-Python"] == ">=3.11"
    requirements = metadata.get_all("Requires-Dist", [])
    assert [requirement for requirement in requirements if "extra ==" not in requirement] == []
    assert set(metadata.get_all("Provides-Extra", [])) == {"local", "testing", "uvloop"}


def test_installed_it_is_all_that_a_deployment_needs(wheel: Path, tmp_path: Path) -> None:
    """As a package for Lambda is made: ``pip install --target``, the app beside it, the exec wrapper's command."""
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    (tmp_path / "main.py").write_text("import asgi_stream\nraise SystemExit(asgi_stream.__file__)\n")
    process = subprocess.run(
        [str(tmp_path / "asgi_stream" / "bootstrap"), sys.executable, "/var/runtime/bootstrap.py"],
        env={"_HANDLER": "main.handler", "LAMBDA_TASK_ROOT": str(tmp_path), "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"},
        capture_output=True,
        text=True,
    )
    assert f"SystemExit('{tmp_path}/asgi_stream/__init__.py')" in process.stdout
    assert process.returncode == 1
