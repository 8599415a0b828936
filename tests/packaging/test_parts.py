"""The rules by themselves: what is taken from a project, from requirements, from an interpreter's folder."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import sys
import tomllib
from email.parser import HeaderParser
from pathlib import Path

import pytest

import asgi_stream
from asgi_stream.packaging import _compile, dependencies, interpreter, own, project
from asgi_stream.packaging.entries import EARLIEST, timestamp
from asgi_stream.packaging.errors import Refused
from asgi_stream.packaging.target import Target


def make(folder: Path, *names: str) -> None:
    for name in names:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("")


@pytest.mark.parametrize(
    ("files", "handler", "expected"),
    [
        (["shop/__init__.py", "shop.py"], "shop.main.handler", "shop"),
        (["shop/main.py", "shop.py"], "shop.handler", "shop.py"),  # a module comes before a folder without __init__
        (["shop/main.py"], "shop/main.handler", "shop"),
        (["shop.py"], "shop.handler", "shop.py"),
    ],
)
def test_the_top_level_of_a_handler(tmp_path: Path, files: list[str], handler: str, expected: str) -> None:
    make(tmp_path, *files)
    assert project.top_level(tmp_path, handler) == tmp_path / expected


def test_what_is_taken_of_a_folder(tmp_path: Path) -> None:
    source, into = tmp_path / "project", tmp_path / "into"
    make(source, "shop/a.py", "shop/tests/test_a.py", "shop/page.html", "note.txt", "build/function.zip", ".env")
    make(source, "shop/.git/x", "shop/__pycache__/a.pyc", "venv/pyvenv.cfg", "venv/bin/python", "shop/more/b.py")
    (source / "shop" / "more" / "link.py").symlink_to(source / "note.txt")
    places = [project.included(source, "."), project.included(source, ".env"), project.included(source, "shop")]
    assert project.copy_app(source, places, into, source / "build") == [".env", "note.txt", "shop"]
    copied = {str(path.relative_to(into)) for path in into.rglob("*") if path.is_file()}
    assert copied == {
        ".env",  # hidden, and named
        "note.txt",
        "shop/a.py",
        "shop/more/b.py",
        "shop/more/link.py",
        "shop/page.html",
        "shop/tests/test_a.py",
    }
    assert not (into / "shop" / "more" / "link.py").is_symlink()


def test_where_requirements_come_from(tmp_path: Path) -> None:
    assert dependencies.requirements(tmp_path, None) is None
    make(tmp_path, "pyproject.toml", "other.txt")
    assert dependencies.requirements(tmp_path, None) == tmp_path / "pyproject.toml"
    make(tmp_path, "requirements.txt")
    assert dependencies.requirements(tmp_path, None) == tmp_path / "requirements.txt"
    assert dependencies.requirements(tmp_path, "other.txt") == tmp_path / "other.txt"


def test_requirements_of_a_pyproject(tmp_path: Path) -> None:
    path, scratch = tmp_path / "pyproject.toml", tmp_path / "scratch"
    scratch.mkdir()
    path.write_text('[project]\nname = "x"\ndependencies = ["a>=1", "b; python_version < \'3.12\'"]\n')
    lines = dependencies.as_requirements_file(path, scratch).read_text()
    assert lines == "a>=1\nb; python_version < '3.12'\n"
    path.write_text("[tool.x]\n")
    assert dependencies.as_requirements_file(path, scratch).read_text() == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [('[project]\ndynamic = ["dependencies"]\n', "are dynamic: write them to a file"), ("[project", "is not TOML")],
)
def test_a_pyproject_that_does_not_say(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(Refused, match=reason):
        dependencies.as_requirements_file(tmp_path / "pyproject.toml", tmp_path)


@pytest.mark.parametrize(
    ("target", "newest", "count"),
    [
        (Target("zip", "3.11", "x86_64"), "manylinux_2_26_x86_64", 11),  # Amazon Linux 2
        (Target("layer", "3.12", "arm64"), "manylinux_2_34_aarch64", 19),
        (Target("provided", "3.11", "arm64"), "manylinux_2_34_aarch64", 19),
    ],
)
def test_the_platforms_that_pip_may_take(target: Target, newest: str, count: int) -> None:
    command = dependencies.command("pip", target, None, Path("into"))
    platforms = [after for option, after in itertools.pairwise(command) if option == "--platform"]
    assert platforms[0] == newest
    assert platforms[-1] == f"manylinux2014_{target.machine}"
    assert len(platforms) == count
    assert "--python" not in command


def test_pip_is_run_by_the_python_of_the_target() -> None:
    other = interpreter.Interpreter("/other/python", "3.12.1", True)
    command = dependencies.command("pip", Target("zip", "3.12", "x86_64"), other, Path("into"))
    assert command[3:5] == ["--python", "/other/python"]


@pytest.mark.parametrize(("version", "platform"), [("3.11", "manylinux_2_17"), ("3.13", "manylinux_2_34")])
def test_the_platform_that_uv_takes(version: str, platform: str) -> None:
    command = dependencies.command("uv", Target("zip", version, "arm64"), None, Path("into"))
    assert command[command.index("--python-platform") + 1] == f"aarch64-{platform}"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_taken_out_of_dependencies(tmp_path: Path) -> None:
    """Only what the installer has written by itself: a package may read or import any other file."""
    stay = {
        "a/__pycache__/x.pyc",
        "a/b/test/conftest.py",
        "a/core.h",
        "a/core.so",
        "a/tests.py",
        "a/tests/deep/a_test.py",
        "a/types.pyi",
        "a.dist-info/METADATA",
        "a.dist-info/licenses/LICENSE",
        "a.dist-info/top_level.txt",
        "bin/__init__.py",
        "django/test/client.py",
        "docs/index.html",
        "share/a.txt",
        "tests/test_nobody.py",
        "RECORD",
    }
    by_installer = {".lock", *(f"a.dist-info/{name}" for name in ("INSTALLER", "REQUESTED", "direct_url.json"))}
    make(tmp_path, *stay, *by_installer)
    dependencies.prune(tmp_path)
    assert files(tmp_path) == stay


OTHER = interpreter.Interpreter("/other/bin/python3.12", "3.12.1", True)


@pytest.mark.parametrize(
    ("content", "stays"),
    [
        (f"#!{sys.executable}\nimport a\n", False),
        (f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n", False),
        (f"#!{sys.exec_prefix}/bin/python3\n", False),
        ("#!/other/bin/python3.12\n", False),
        ("#!/other/bin/perl\n", True),
        ("#!/usr/bin/env python3\n", True),
        ("#!/bin/sh\necho hello\n", True),
        ("\x7fELF", True),
        ("", True),
    ],
)
def test_scripts_that_begin_with_a_python_of_this_machine_are_taken_out(
    tmp_path: Path, content: str, stays: bool
) -> None:
    make(tmp_path, "bin/tool", "bin/package/__init__.py")
    (tmp_path / "bin" / "tool").write_text(content)
    dependencies.prune(tmp_path, OTHER)
    assert (tmp_path / "bin" / "tool").exists() is stays


def test_a_record_lists_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As importlib.metadata reads it, for the files of a package and for the package that a module comes from."""
    make(tmp_path, "a/__init__.py", "a/odd, name.txt", "bin/tool", "share/data.txt", "bin/a-hello")
    make(tmp_path, "a-1.0.dist-info/INSTALLER", "a-1.0.dist-info/RECORD")
    (tmp_path / "bin" / "a-hello").write_text(f"#!{sys.executable}\n")
    (tmp_path / "a-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: a\nVersion: 1.0\n")
    record = tmp_path / "a-1.0.dist-info" / "RECORD"
    record.write_text(
        "../../bin/a-hello,sha256=x,1\n../../bin/tool,sha256=x,1\n../../share/data.txt,sha256=x,1\n"
        "a-1.0.dist-info/INSTALLER,sha256=x,1\na-1.0.dist-info/METADATA,sha256=x,1\na-1.0.dist-info/RECORD,,\n"
        'a/__init__.py,sha256=x,1\n"a/odd, name.txt",sha256=x,1\na/gone.py,sha256=x,1\n'
    )
    dependencies.prune(tmp_path)
    assert record.read_text() == (
        "bin/tool,sha256=x,1\nshare/data.txt,sha256=x,1\n"
        "a-1.0.dist-info/METADATA,sha256=x,1\na-1.0.dist-info/RECORD,,\n"
        'a/__init__.py,sha256=x,1\n"a/odd, name.txt",sha256=x,1\n'
    )
    (found,) = importlib.metadata.distributions(path=[str(tmp_path)])
    assert {str(path) for path in found.files or ()} == files(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert importlib.metadata.packages_distributions()["a"] == ["a"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/tests/test_array.py", True),
        ("a/tests/deep/array_test.py", True),
        ("a/test/conftest.py", True),
        ("tests/test_a.py", True),
        ("a/tests/helpers.py", False),
        ("a/tests/__init__.py", False),
        ("a/test_support.py", False),
        ("a/contest/test_a.py", False),
        ("test.py", False),
    ],
)
def test_files_that_no_package_imports_have_no_bytecode(path: str, expected: bool) -> None:
    assert _compile.is_test(path) is expected


def test_what_cannot_be_compiled_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in {
        "good": b"x = 1\n",
        "bad": b"def f(:",
        "bytes": b"x = '\xff'\n",
        "coding": b"# coding: no-such-coding\n",
        "deep": b"(" * 10_000,
        "nul": b"\0",
    }.items():
        (tmp_path / f"{name}.py").write_bytes(content)
    _compile.main(str(tmp_path), "/var/task")
    result = json.loads(capsys.readouterr().out)
    assert result == {"compiled": 1, "failed": [f"{name}.py" for name in ("bad", "bytes", "coding", "deep", "nul")]}


def test_an_installer_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dependencies.installer(None) == "pip"
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Refused, match="uv is not there"):
        dependencies.installer("uv")


def test_a_python_that_is_not_relocatable(tmp_path: Path) -> None:
    python = tmp_path / "python"
    make(python, "bin/python3", "lib/python3.13/os.py")
    (python / "bin" / "python3").write_bytes(b"\x7fELF /somewhere/lib libpython3.13.so.1.0")
    with pytest.raises(Refused, match=r"looks for libpython3\.13\.so at a fixed place"):
        interpreter.copy_python(python, "3.13", tmp_path / "into")


def test_what_is_taken_of_a_python(tmp_path: Path) -> None:
    python, into = tmp_path / "python", tmp_path / "into"
    make(python, "lib/python3.13/os.py", "lib/python3.13/test/test_os.py", "lib/python3.13/unittest/case.py")
    make(python, "lib/python3.13/site-packages/pip/a.py", "lib/python3.13/config-3.13-x/libpython3.13.a")
    make(python, "lib/python3.13/__pycache__/os.cpython-313.pyc", "lib/libpython3.13.so.1.0", "include/Python.h")
    make(python, "lib/python3.13/lib2to3/pytree.py", "lib/python3.13/lib2to3/tests/test_all.py")
    make(python, "lib/python3.13/pydoc_data/topics.py", "lib/python3.13/tkinter/__init__.py")
    make(python, "lib/python3.13/lib-dynload/_tkinter.so", "lib/python3.13/lib-dynload/_ssl.so", "bin/python3.13")
    (python / "bin" / "python3").symlink_to("python3.13")
    interpreter.copy_python(python, "3.13", into)
    assert {str(path.relative_to(into)) for path in into.rglob("*") if path.is_file()} == {
        "bin/python3",
        "lib/python3.13/lib-dynload/_ssl.so",
        "lib/python3.13/lib2to3/pytree.py",
        "lib/python3.13/os.py",
        "lib/python3.13/pydoc_data/topics.py",
        "lib/python3.13/unittest/case.py",
    }
    assert not (into / "bin" / "python3").is_symlink()


def test_the_library_of_a_relocatable_python(tmp_path: Path) -> None:
    python, into = tmp_path / "python", tmp_path / "into"
    make(python, "bin/python3", "lib/python3.13/os.py", "lib/libpython3.13.so.1.0", "lib/libpython3.so")
    (python / "bin" / "python3").write_bytes(b"\x7fELF $ORIGIN/../lib libpython3.13.so.1.0")
    interpreter.copy_python(python, "3.13", into)
    assert sorted(path.name for path in (into / "lib").iterdir()) == ["libpython3.13.so.1.0", "python3.13"]


def test_our_metadata_says_what_the_project_file_says() -> None:
    declared = tomllib.loads((Path(asgi_stream.__file__).parent.parent / "pyproject.toml").read_text())["project"]
    metadata = HeaderParser().parsestr(own.METADATA)
    assert metadata["Requires-Python"] == declared["requires-python"]
    (requirement,) = declared["optional-dependencies"]["uvloop"]
    assert metadata["Requires-Dist"] == f'{requirement}; extra == "uvloop"'


@pytest.mark.parametrize(("text", "expected"), [("", EARLIEST), ("0", EARLIEST), ("1700000000", 1700000000)])
def test_the_time_of_the_files(text: str, expected: int) -> None:
    assert timestamp({"SOURCE_DATE_EPOCH": text}) == expected
