"""Each kind of package: what is in it, the same bytes each time, and the function started as Lambda starts it.

One project, packaged once for each kind; unpacked into empty folders, and run by a Python without site-packages.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import asgi_stream
from tests.packaging.support import (
    VERSION,
    answer,
    bare_python,
    contents,
    hidden,
    made,
    make_project,
    make_relocatable_python,
    started,
    unpack,
)

pytestmark = pytest.mark.anyio

HANDLER = "shop.main:handler"
RUNTIME = "/var/runtime/bootstrap.py"


class Built(NamedTuple):
    """What the command made of a project, and what it printed for each kind."""

    project: Path
    output: Path
    said: dict[str, str]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    project = make_project(tmp_path_factory.mktemp("built"))
    said = {
        "zip": made(project, HANDLER, "--include", "data/prices.json"),
        "layer": made(project, "--kind", "layer"),
        "container": made(project, HANDLER, "--kind", "container"),
    }
    said["app"] = made(project, HANDLER, "--layer", "build/layer.zip", "-o", "build/app")
    return Built(project, project / "build", said)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_python(tmp_path_factory.mktemp("bare") / "venv")


def names(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return set(opened.namelist())


def without_bytecode(found: set[str]) -> set[str]:
    return {name for name in found if not name.endswith(".pyc")}


def test_what_is_in_a_zip(built: Built) -> None:
    found = without_bytecode(names(built.output / "function.zip"))
    assert {name for name in found if not name.startswith("asgi_stream")} == {
        "data/prices.json",
        "greeting-1.0.dist-info/METADATA",
        "greeting-1.0.dist-info/RECORD",
        "greeting-1.0.dist-info/WHEEL",
        "greeting-1.0.dist-info/entry_points.txt",
        "greeting/__init__.py",
        "greeting/template.py",
        "greeting/test/client.py",
        "greeting/tests/__init__.py",
        "greeting/tests/helpers.py",
        "greeting/tests/test_hello.py",
        "greeting/typed.pyi",
        "shop/__init__.py",
        "shop/main.py",
        "shop/page.html",
    }
    own = Path(asgi_stream.__file__).parent
    sources = {str(path.relative_to(own.parent)) for path in own.rglob("*.py")} | {"asgi_stream/bootstrap"}
    unused = tuple(f"asgi_stream/{name}" for name in ("__main__", "cli", "local/", "packaging/", "testing/"))
    assert {name for name in found if name.startswith("asgi_stream/")} == {
        name for name in sources if not name.startswith(unused)
    }
    assert f"asgi_stream-{asgi_stream.__version__}.dist-info/METADATA" in found


def test_what_it_says(built: Built) -> None:
    said = built.said["zip"]
    assert f"shop.main.handler, zip for Python {VERSION} on x86_64" in said
    assert "requirements.txt, by pip: greeting 1.0\n" in said
    assert "data shop\n" in said
    assert "not compiled: greeting/template.py" in said
    assert "MB of 50 MB, unzipped" in said
    assert "largest       asgi_stream 1." in said
    assert "AWS_LAMBDA_EXEC_WRAPPER=/var/task/asgi_stream/bootstrap" in said
    assert "warning" not in said


def test_the_modes_and_times_of_the_entries(built: Built) -> None:
    with zipfile.ZipFile(built.output / "function.zip") as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    modes = {entry.filename: oct(entry.external_attr >> 16) for entry in entries}
    assert modes.pop("asgi_stream/bootstrap") == "0o100755"
    assert set(modes.values()) == {"0o100644"}


def test_bytecode_has_unchecked_hashes_and_the_names_of_files_on_lambda(built: Built) -> None:
    for archive, root in (("function.zip", "/var/task"), ("layer.zip", "/opt")):
        with zipfile.ZipFile(built.output / archive) as opened:
            sources = {name for name in opened.namelist() if name.endswith(".py") and "template" not in name}
            sources -= {name for name in sources if name.endswith("/test_hello.py")}  # which no package imports
            compiled = [name for name in opened.namelist() if name.endswith(".pyc")]
            assert len(compiled) == len(sources)
            for name in compiled:
                content = opened.read(name)
                assert content[4:8] == (0b01).to_bytes(4, "little"), name
                folder, _, file = name.partition("__pycache__/")
                assert f"{root}/{folder}{file.partition('.')[0]}.py".encode() in content
                assert str(built.project).encode() not in content


@pytest.mark.parametrize("kind", ["zip", "layer", "container"])
def test_the_same_input_gives_the_same_bytes(built: Built, tmp_path: Path, kind: str) -> None:
    """In another folder, at another time, under another umask, with other hashes of strings."""
    project = Path(shutil.copytree(built.project, tmp_path / "elsewhere", copy_function=shutil.copyfile))
    shutil.copytree(built.project.parent / "wheels", tmp_path / "wheels", copy_function=shutil.copyfile)
    shutil.rmtree(project / "build")
    arguments = {
        "zip": [HANDLER, "--include", "data/prices.json"],
        "layer": ["--kind", "layer"],
        "container": [HANDLER, "--kind", "container"],
    }
    before = os.umask(0o077)
    try:
        made(project, *arguments[kind], "-o", "other/folder", PYTHONHASHSEED="7")
    finally:
        os.umask(before)
    artifact = {"zip": "function.zip", "layer": "layer.zip", "container": "container"}[kind]
    first, second = built.output / artifact, project / "other" / "folder" / artifact
    if kind == "container":
        assert contents(first) == contents(second)
        for path in (first, *first.rglob("*")):
            ours, theirs = path.stat(), (second / path.relative_to(first)).stat()
            assert (ours.st_mode, ours.st_mtime) == (theirs.st_mode, theirs.st_mtime), path
    else:
        assert first.read_bytes() == second.read_bytes()
    assert hidden(second.parent) == []


def test_source_date_epoch(built: Built, tmp_path: Path) -> None:
    made(built.project, HANDLER, "--layer", "build/layer.zip", "-o", tmp_path, SOURCE_DATE_EPOCH="1700000000")
    with zipfile.ZipFile(tmp_path / "function.zip") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}


async def test_a_zip_started_as_an_exec_wrapper(built: Built, python: Path, tmp_path: Path) -> None:
    root = unpack(built.output / "function.zip", tmp_path / "task")
    # Proof that the bytecode is taken, and taken unchecked.
    (root / "greeting" / "__init__.py").write_text("def hello(): return 'from the source'\n")
    async with started(
        root / "asgi_stream" / "bootstrap", python, RUNTIME, task_root=root, path=None, handler=HANDLER
    ) as running:
        said = await answer(running)
    assert (said["greeting"], said["version"]) == ("hello", "1.0")
    assert said["asgi_stream"] == f"{root}/asgi_stream/__init__.py"
    assert said["site-packages"] == [f"{python.parent.parent}/lib/python{VERSION}/site-packages"]
    assert os.listdir(said["site-packages"][0]) == []


async def test_a_layer_and_a_function_that_uses_it(built: Built, python: Path, tmp_path: Path) -> None:
    assert without_bytecode(names(built.output / "app" / "function.zip")) == {
        "shop/__init__.py",
        "shop/main.py",
        "shop/page.html",
    }
    assert "AWS_LAMBDA_EXEC_WRAPPER=/opt/bootstrap" in built.said["app"]
    assert {name.partition("/")[0] for name in names(built.output / "layer.zip")} == {"bootstrap", "python"}
    root, opt = unpack(built.output / "app" / "function.zip", tmp_path / "task"), tmp_path / "opt"
    unpack(built.output / "layer.zip", opt)
    async with started(opt / "bootstrap", python, RUNTIME, task_root=root, path=None, handler=HANDLER) as running:
        said = await answer(running)
    assert said["greeting"] == "hello"
    assert said["asgi_stream"] == f"{opt}/python/asgi_stream/__init__.py"


async def test_a_container_started_by_its_entry_point(built: Built, python: Path) -> None:
    lines = dict(
        line.split(maxsplit=1) for line in (built.output / "container" / "Dockerfile").read_text().splitlines()
    )
    assert lines["FROM"] == f"public.ecr.aws/lambda/python:{VERSION}-x86_64"
    assert lines["COPY"] == "app/ /var/task/"
    root = built.output / "container" / "app"
    (entry_point,) = json.loads(lines["ENTRYPOINT"])
    async with started(
        entry_point.replace("/var/task", str(root)),
        *json.loads(lines["CMD"]),
        task_root=root,
        path=python.parent,
        handler=None,
    ) as running:
        said = await answer(running)
    assert said["greeting"] == "hello"
    assert said["asgi_stream"] == f"{root}/asgi_stream/__init__.py"


async def test_a_zip_with_a_python_of_its_own(built: Built, tmp_path: Path) -> None:
    relocatable = make_relocatable_python(tmp_path / "python")
    # This machine's Python may need a newer glibc than Lambda's; here it only has to run.
    said = made(built.project, HANDLER, "--kind", "provided", "--python", relocatable, "-o", tmp_path, "--force")
    assert "runtime provided.al2023" in said
    assert all("glibc 2.34" in line for line in said.splitlines() if "warning" in line)
    shutil.rmtree(relocatable)
    root = unpack(tmp_path / "provided.zip", tmp_path / "task")
    assert not [path for path in root.rglob("*") if path.is_symlink()]
    async with started(root / "bootstrap", task_root=root, path=None, handler=HANDLER) as running:
        said_by_app = await answer(running)
    assert said_by_app["greeting"] == "hello"
    assert said_by_app["prefix"] == f"{root}/python"
    # What the standard library has beside its sources is bytecode of ours.
    compiled = list((root / "python").rglob("*.pyc"))
    assert compiled
    assert {path.read_bytes()[4:8] for path in compiled} == {(0b01).to_bytes(4, "little")}
    assert sys.base_prefix != said_by_app["prefix"]
