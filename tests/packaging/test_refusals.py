"""What would fail on Lambda is refused with the reason, and leaves nothing behind; wrong usage is told before."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import asgi_stream
from asgi_stream.cli import main
from asgi_stream.packaging import checks
from asgi_stream.packaging.target import MB
from tests.local.support import make_gate, opened
from tests.packaging.support import BARE_APP, VERSION, contents, made, make_project, make_wheel, package, unpack
from tests.support.dev import COMMAND, environment

HANDLER = "main:handler"
OTHER = "3.14" if VERSION != "3.14" else "3.13"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one module without requirements: nothing is to be installed."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "main.py").write_text(BARE_APP)
    return folder


def refused(project: Path, *arguments: str | Path, **variables: str) -> str:
    """Runs the command, which is to refuse; returns the reason."""
    before = contents(project)
    run = package(project, *arguments, **variables)
    assert run.returncode == 1, run.stdout
    assert "made  " not in run.stdout
    assert "Traceback (" not in run.stderr
    assert "asgi-stream package: refused: " in run.stderr
    assert contents(project) == before
    assert not (project / "new").exists()
    return run.stderr


def elf(machine: int, rest: bytes = b"") -> bytes:
    """The head of a shared library for Linux."""
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + (3).to_bytes(2, "little") + machine.to_bytes(2, "little")
    return head.ljust(64, b"\0") + rest


def test_a_bootstrap_that_is_not_executable(project: Path, tmp_path: Path) -> None:
    """As in a copy of the package that has lost its permissions on the way."""
    copy = tmp_path / "copy" / "asgi_stream"
    shutil.copytree(Path(asgi_stream.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "bootstrap").chmod(0o644)
    said = refused(project, HANDLER, "-o", "new", PYTHONPATH=str(copy.parent))
    assert "refused: asgi_stream/bootstrap is not executable" in said


@pytest.mark.parametrize(
    ("arch", "content", "reason"),
    [
        ("x86_64", elf(183), "the function's architecture is x86_64, and these are for another: data/a.so (arm64)"),
        ("arm64", elf(62), "the function's architecture is arm64, and these are for another: data/a.so (x86_64)"),
        ("x86_64", elf(243), "data/a.so (machine 243)"),
        ("x86_64", b"\xcf\xfa\xed\xfe", "data/a.so (no Linux library)"),
        ("x86_64", elf(62, b"GLIBC_2.17\0GLIBC_2.99\0"), "these need a newer one: data/a.so (2.99)"),
    ],
)
def test_a_library_that_cannot_be_loaded(project: Path, arch: str, content: bytes, reason: str) -> None:
    (project / "data").mkdir()
    (project / "data" / "a.so").write_bytes(content)
    assert reason in refused(project, HANDLER, "--arch", arch, "--include", "data", "-o", "new")


def test_a_package_that_is_too_large(project: Path) -> None:
    with (project / "model.bin").open("wb") as file:
        file.truncate(251 * 1024 * 1024)
    run = package(project, HANDLER, "--include", "model.bin", "-o", "new")
    assert run.returncode == 1
    assert re.search(r"refused: unzipped it has 25[12]\.\d MB", run.stderr)  # asgi_stream itself is about 1 MB
    assert "MB; Lambda takes 250 MB" in run.stderr
    assert not (project / "new").exists()


def test_a_layer_counts_too(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With a limit that is smaller than Lambda's, so that less has to be copied."""
    monkeypatch.chdir(project)
    monkeypatch.setattr(checks, "UNZIPPED_LIMIT", MB)
    with zipfile.ZipFile(project / "layer.zip", "w") as archive:
        archive.writestr("python/data.bin", bytes(MB))
    assert main(["package", HANDLER, "--layer", "layer.zip", "-o", "new"]) == 1
    assert "unzipped it has 1.0 MB with its layers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nowhere_to_be_found", "Unable to import module 'main': No module named 'nowhere_to_be_found'"),
        # Installed where this command runs, and not in the package.
        ("import pytest", "No module named 'pytest'"),
        ("import os\nTABLE = os.environ['TABLE']", "KeyError: 'TABLE'"),
        ("handler = 3", "Runtime.HandlerNotFound"),
        ("nothing = None", "Handler 'handler' missing on module 'main'"),
        ("def f(:", "Runtime.UserCodeSyntaxError"),
        ("import os\nos._exit(5)", "ended with status 5"),
    ],
)
def test_a_handler_that_cannot_be_imported(project: Path, source: str, reason: str) -> None:
    (project / "main.py").write_text(source)
    said = refused(project, HANDLER, "-o", "new")
    assert reason in said
    assert str(project) not in said


@pytest.mark.parametrize(
    ("file", "arguments", "said"),
    [
        (None, (), "missing in a requirements.txt, a file"),
        ("pyproject.toml", (), "missing in pyproject.toml, a file"),
        ("needs/all.txt", ("--requirements", "needs/all.txt"), "missing in needs/all.txt, a file"),
    ],
)
def test_where_to_name_what_is_missing(project: Path, file: str | None, arguments: tuple[str, ...], said: str) -> None:
    (project / "main.py").write_text("import nowhere_to_be_found")
    if file:
        (project / file).parent.mkdir(exist_ok=True)
        (project / file).write_text("")
    assert f"Name a package that is {said} by --include" in refused(project, HANDLER, "-o", "new", *arguments)


def test_the_variables_that_an_app_reads_may_be_set(project: Path) -> None:
    (project / "main.py").write_text(f"import os\nTABLE = os.environ['TABLE']\n{BARE_APP}")
    assert "import        main.handler with the package alone" in made(project, HANDLER, TABLE="prices")


def test_what_an_app_writes_when_it_is_imported_is_not_packaged(project: Path) -> None:
    (project / "main.py").write_text(f"open('written', 'w').close()\n{BARE_APP}")
    made(project, HANDLER)
    with zipfile.ZipFile(project / "build" / "function.zip") as archive:
        assert "main.py" in archive.namelist()
        assert "written" not in archive.namelist()


CHANGES = """
import os, pathlib, shutil, sys
import greeting
SECRET = os.environ["SECRET"]
pathlib.Path(__file__).write_text(SECRET)
pathlib.Path(greeting.__file__).write_text(SECRET)
with open("shop/page.html", "a") as file:
    file.write(SECRET)
os.chmod("shop/page.html", 0o755)
pathlib.Path("shop/settings.py").write_text(SECRET)
sys.dont_write_bytecode = False
import shop.other
os.unlink("data/prices.json")
os.symlink("/etc/hostname", "data/prices.json")
shutil.rmtree("greeting-1.0.dist-info")
"""


@pytest.mark.parametrize("kind", ["zip", "container"])
def test_an_import_changes_nothing_of_the_package(tmp_path: Path, kind: str) -> None:
    """Of the app's files, of a dependency's: rewritten, deleted, replaced by a link, and new ones."""
    project = make_project(tmp_path)
    (project / "shop" / "other.py").write_text("")
    arguments = ("shop.main:handler", "--kind", kind, "--include", "data")
    artifact = project / "build" / {"zip": "function.zip", "container": "container"}[kind]
    packed = []
    for number, source in enumerate((BARE_APP, f"{CHANGES}{BARE_APP}")):
        (project / "shop" / "main.py").write_text(source)
        made(project, *arguments, SECRET="of the builder")
        place = unpack(artifact, tmp_path / f"unpacked{number}") if kind == "zip" else artifact
        packed.append((contents(place), {path: path.stat().st_mode for path in place.rglob("*.html")}))
    (harmless, _), (changing, modes) = packed
    assert changing.keys() == harmless.keys()
    differ = {name for name in harmless if harmless[name] != changing[name]}
    assert {Path(name).name.partition(".")[0] for name in differ} == {"main"}
    (main,) = (data for name, data in changing.items() if name.endswith("main.py"))
    assert main.decode() == f"{CHANGES}{BARE_APP}"
    assert {oct(mode & 0o777) for mode in modes.values()} == {"0o644"}
    assert b"of the builder" not in b"".join(changing.values())


def test_boto3_is_warned_of_where_aws_has_it(project: Path) -> None:
    (project / "main.py").write_text(f"import botocore.session\n{BARE_APP}")
    said = made(project, HANDLER)
    assert "No module named 'botocore'" in said
    assert "AWS's Python has it, in a version that AWS chooses" in said


def test_force_makes_it_all_the_same(project: Path) -> None:
    (project / "main.py").write_text("import nowhere_to_be_found")
    said = made(project, HANDLER, "--force")
    assert "warning: main.handler cannot be imported" in said
    assert "(made all the same: --force)" in said
    assert (project / "build" / "function.zip").is_file()


def test_without_an_interpreter_of_the_version_there_is_a_warning_and_no_bytecode(project: Path) -> None:
    said = made(project, HANDLER, "--python-version", OTHER, PATH="", PYENV_ROOT=str(project))
    assert f"warning: no Python {OTHER} is on this machine: the package has no bytecode" in said
    assert "warning: the handler's import was not tried" in said
    with zipfile.ZipFile(project / "build" / "function.zip") as archive:
        assert [name for name in archive.namelist() if name.endswith(".pyc")] == []


def test_for_another_architecture_there_is_bytecode_and_a_warning(project: Path) -> None:
    said = made(project, HANDLER, "--arch", "arm64" if os.uname().machine == "x86_64" else "x86_64")
    assert "warning: the handler's import was not tried" in said
    assert "unchecked hashes" in said


def test_requirements_that_cannot_be_had(project: Path) -> None:
    (project / "requirements.txt").write_text("nowhere-to-be-found\n")
    said = refused(project, HANDLER, "-o", "new")
    assert "the dependencies could not be installed" in said
    assert "No matching distribution found for nowhere-to-be-found" in said


PROJECT = '[project]\nname = "shop"\nversion = "1.0"\ndependencies = ["greeting"]\n'


@pytest.mark.parametrize(
    ("name", "text", "place", "command"),
    [
        ("pyproject.toml", "[tool.uv.sources]\ngreeting = { workspace = true }", "[tool.uv.sources]", "uv export "),
        ("poetry.lock", "", "poetry.lock", "poetry export "),
        ("Pipfile", "[packages]", "Pipfile", "pipenv requirements > "),
    ],
)
def test_dependencies_that_pip_does_not_read(tmp_path: Path, name: str, text: str, place: str, command: str) -> None:
    """And the way round: a requirements.txt is taken, or any file that is named. `test_parts` has all the places."""
    project = make_project(tmp_path)
    (project / "requirements.txt").unlink()
    (project / "pyproject.toml").write_text(PROJECT)
    with (project / name).open("a") as file:
        file.write(text)
    arguments = ("shop.main:handler", "-o", "new")
    said = refused(project, *arguments)
    assert f"refused: {place} belongs to the project's dependencies, and pip does not read it" in said
    assert f"\n  {command}" in said
    (project / "exported.txt").write_text("greeting==1.0\n")
    assert "exported.txt, by pip: greeting 1.0" in made(project, *arguments, "--requirements", "exported.txt")
    (project / "exported.txt").rename(project / "requirements.txt")
    assert "requirements.txt, by pip: greeting 1.0" in made(project, *arguments)


def test_a_layers_function_needs_no_dependencies(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    made(project, "--kind", "layer")
    (project / "requirements.txt").unlink()
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "uv.lock").write_text("")
    made(project, "shop.main:handler", "--layer", "build/layer.zip")
    assert "refused: uv.lock" in refused(project, "--kind", "layer", "-o", "new")
    assert "warning: uv.lock" in made(project, "--kind", "layer", "--force", "-o", "new")


def test_a_dependency_and_the_app_of_the_same_name(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (project / "greeting").mkdir()
    (project / "greeting" / "__init__.py").write_text("")
    said = refused(project, "shop.main:handler", "--include", "greeting", "-o", "new")
    assert "greeting/__init__.py is in the project, and a dependency has brought a file of the same name" in said


def test_another_version_of_this_package_among_the_requirements(project: Path) -> None:
    """The copy that runs the command is the one that goes into the package."""
    make_wheel(project.parent / "wheels", "asgi_stream", "99.0", {"asgi_stream/other.py": ""})
    (project / "requirements.txt").write_text("asgi-stream\n")
    said = made(project, HANDLER)
    assert f"asgi_stream-99.0; the package has the copy that runs this command, {asgi_stream.__version__}" in said
    with zipfile.ZipFile(project / "build" / "function.zip") as archive:
        assert "asgi_stream/other.py" not in archive.namelist()
        assert f"asgi_stream-{asgi_stream.__version__}.dist-info/METADATA" in archive.namelist()


def test_a_refusal_leaves_the_last_package(project: Path) -> None:
    made(project, HANDLER)
    (project / "main.py").write_text("broken = True")
    before = contents(project)
    assert "Handler 'handler' missing" in refused(project, HANDLER)
    assert contents(project) == before


def test_a_folder_that_is_not_ours_is_not_replaced(project: Path) -> None:
    (project / "build" / "container").mkdir(parents=True)
    (project / "build" / "container" / "Dockerfile").write_text("FROM scratch\n")
    said = refused(project, HANDLER, "--kind", "container")
    assert "build/container is in the way, and this command has not made it" in said


def test_a_context_is_replaced_as_a_whole(project: Path) -> None:
    (project / "old.txt").write_text("")
    made(project, HANDLER, "--kind", "container", "--include", "old.txt")
    assert (project / "build" / "container" / "app" / "old.txt").exists()
    made(project, HANDLER, "--kind", "container")
    assert not (project / "build" / "container" / "app" / "old.txt").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(project: Path, number: signal.Signals) -> None:
    gate = make_gate(project)
    (project / "main.py").write_text(f"open({str(gate)!r}, 'w').close()\nimport time\ntime.sleep(600)\n")
    with subprocess.Popen(
        [*COMMAND, "package", HANDLER, "-o", "new"],
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        with opened(gate, "rb", alive=lambda: process.poll() is None):
            pass  # the app is being imported
        assert list((project / "new").iterdir())
        process.send_signal(number)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == ""
    assert not (project / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "name the handler, as in main:handler"),
        (["main"], "'main' names no handler"),
        (["other:handler"], "there is neither other/ nor other.py in"),
        ([HANDLER, "--kind", "layer"], "a layer holds no app"),
        ([HANDLER, "--kind", "provided"], "--kind provided needs --python DIR"),
        ([HANDLER, "--python", "."], "--python goes with --kind provided or layer"),
        ([HANDLER, "--kind", "provided", "--python", "."], "there is no bin/python3"),
        ([HANDLER, "--kind", "provided", "--python", "py", "--python-version", "3.11"], "the Python in "),
        ([HANDLER, "--python-version", "3.8"], "Lambda has no managed Python 3.8"),
        ([HANDLER, "--arch", "riscv"], "invalid choice: 'riscv'"),
        ([HANDLER, "--requirements", "nowhere.txt"], "--requirements nowhere.txt: there is no such file"),
        ([HANDLER, "--include", "nowhere"], "--include nowhere: there is no such file or folder"),
        ([HANDLER, "--include", ".."], "--include ..: it is outside the project's folder"),
        (["--kind", "layer", "--layer", "x.zip"], "--layer goes with --kind zip"),
        ([HANDLER, "--layer", "x.zip", "--requirements", "main.py"], "--layer goes without --requirements"),
    ],
)
def test_wrong_usage(
    project: Path,
    arguments: list[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project / "py" / "bin").mkdir(parents=True)
    (project / "py" / "bin" / "python3").write_text("")
    (project / "py" / "lib" / "python3.99").mkdir(parents=True)
    (project / "py" / "lib" / "python3.99" / "os.py").write_text("")
    before = contents(project)
    monkeypatch.chdir(project)
    code: object
    try:
        code = main(["package", *arguments])
    except SystemExit as exit_by_argparse:
        code = exit_by_argparse.code
    assert code == 2
    assert reason in capsys.readouterr().err
    assert contents(project) == before
    assert not (project / "build").exists()


def test_the_index_has_wheels_for_another_platform(project: Path) -> None:
    """With a real package that is compiled, from the index that pip is set up with."""
    probe = [sys.executable, "-m", "pip", "download", "--quiet", "--retries", "0", "--no-deps", "--dest", str(project)]
    tried = subprocess.run([*probe, "markupsafe"], capture_output=True, text=True)
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        pytest.skip(f"pip cannot reach an index: {reason}")
    (project / "requirements.txt").write_text("markupsafe\n")
    made(project, HANDLER, "--arch", "arm64", PIP_NO_INDEX="0")
    with zipfile.ZipFile(project / "build" / "function.zip") as archive:
        (library,) = (name for name in archive.namelist() if name.endswith(".so"))
        assert int.from_bytes(archive.read(library)[18:20], "little") == 183
