"""A small project, its one dependency as a wheel, the command in a child process, and what it made unpacked and run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgi_stream.local.environment import lambda_environment
from asgi_stream.local.runtime_api import RuntimeApiServer
from tests.support.dev import COMMAND, environment
from tests.support.process import Process, child_process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"

APP = """
import importlib.metadata, json, sys
import asgi_stream, greeting

async def app(scope, receive, send):
    answer = {
        "greeting": greeting.hello(),
        "version": importlib.metadata.version("greeting"),
        "file name": greeting.hello.__code__.co_filename,
        "asgi_stream": asgi_stream.__file__,
        "site-packages": [path for path in sys.path if path.endswith("site-packages")],
        "prefix": sys.prefix,
    }
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

handler = asgi_stream.StreamingAdapter(app)
"""
BARE_APP = """
from asgi_stream import StreamingAdapter
async def app(scope, receive, send): ...
handler = StreamingAdapter(app)
"""


def make_wheel(folder: Path, name: str, version: str, files: Mapping[str, str]) -> None:
    """Writes a pure-Python wheel."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    texts = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-hello = {name}:hello\n",
    }
    texts[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*texts, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in texts.items():
            archive.writestr(path, text)


def make_project(folder: Path) -> Path:
    """Returns a project: the package `shop`, its requirements, and beside it what does not belong to it."""
    project = folder / "project"
    for path, text in {
        "shop/__init__.py": "",
        "shop/main.py": APP,
        "shop/page.html": "<h1>Shop</h1>",
        "shop/.secret": "",
        "shop/__pycache__/main.cpython-30.pyc": "",
        "requirements.txt": "greeting\nasgi-stream\n",
        "data/prices.json": "{}",
        "tests/test_shop.py": "",
        "notes.md": "",
    }.items():
        place = project / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    make_wheel(
        folder / "wheels",
        "greeting",
        "1.0",
        {
            # As in numpy and astropy: what a package imports at run time is in a folder for tests.
            "greeting/__init__.py": "from greeting.tests.helpers import hello\n",
            "greeting/tests/__init__.py": "",
            "greeting/tests/helpers.py": "def hello(): return 'hello'\n",
            "greeting/typed.pyi": "",
            "greeting/template.py": "this is no Python\n",
            "greeting/tests/test_hello.py": "",
            "greeting/test/client.py": "",
        },
    )
    return project


def package(project: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `asgi-stream package` in the project; pip sees the wheels beside it, and no index."""
    return subprocess.run(
        [*COMMAND, "package", *map(str, arguments)],
        cwd=project,
        env=environment(**{"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (project.parent / "wheels").as_uri(), **variables}),
        capture_output=True,
        text=True,
    )


def made(project: Path, *arguments: str | Path, **variables: str) -> str:
    """As `package`, for a package that comes about; returns what the command printed."""
    run = package(project, *arguments, **variables)
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


def unpack(archive: Path, into: Path) -> Path:
    """Unpacks as Lambda does: with the permissions that stand in the zip."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(into)
        for info in opened.infolist():
            (into / info.filename).chmod(info.external_attr >> 16 & 0o777)
    return into


def contents(place: Path) -> dict[str, bytes]:
    """Returns each file below a folder."""
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@contextlib.asynccontextmanager
async def started(*argv: str | Path, task_root: Path, path: Path | None, handler: str | None) -> AsyncIterator[Process]:
    """Starts a function as Lambda does, with nothing of this process's environment."""
    async with RuntimeApiServer() as api:
        variables = lambda_environment("shop.main:handler", api.address, {"PATH": str(path or "")})
        variables["LAMBDA_TASK_ROOT"] = str(task_root)
        if handler is None:
            del variables["_HANDLER"]
        async with child_process(api, *map(str, argv), env=variables, cwd=task_root) as child:
            yield Process(api, child)


async def answer(running: Process) -> dict[str, Any]:
    """Invokes; returns what the app of `make_project` says."""
    collected = await running.invoke()
    assert collected.error is None, collected.error
    result = json.loads(collected.body.partition(bytes(8))[2])
    assert isinstance(result, dict)
    return result


def make_relocatable_python(folder: Path) -> Path:
    """Returns a folder with this Python, as far as the runtime uses it, that runs wherever it is moved."""
    version = sysconfig.get_config_var("LDVERSION")
    program = (Path(sys.base_prefix) / "bin" / f"python{VERSION}").read_bytes()
    library = Path(sysconfig.get_config_var("LIBDIR")) / f"libpython{version}.so.1.0"
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    if f"libpython{version}.so".encode() in program and b"$ORIGIN" not in program:
        # A place for the search path is in the program; the new one is shorter.
        fixed = f"{library.parent}\0".encode()
        assert program.count(fixed) == 1
        program = program.replace(fixed, b"$ORIGIN/../lib".ljust(len(fixed), b"\0"))
        shutil.copy(library, folder / "lib")
    (folder / "bin" / "python3").write_bytes(program)
    (folder / "bin" / "python3").chmod(0o755)
    if strip := shutil.which("strip"):
        # Of what a debugger wants: less to pack.
        subprocess.run([strip, "--strip-debug", *(folder / "lib").glob("*.so.*")], check=False)
    program_of_all = (
        "import sys, importlib.metadata, asgi_stream.runtime.bootstrap, asgi_stream.adapter, json, platform, py_compile"
        "; importlib.metadata.version('pytest')"
        "; print(*(getattr(module, '__file__', '') for module in sys.modules.values()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program_of_all],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    stdlib = Path(sysconfig.get_path("stdlib"))
    used = {Path(name) for name in run.stdout.split() if Path(name).is_relative_to(stdlib)}
    wanted = {path for path in used if "site-packages" not in path.parts and "config-" not in str(path)}
    for package in ("asyncio", "collections", "email", "encodings", "importlib"):
        wanted.update((stdlib / package).rglob("*.py"))
    for path in sorted(wanted):
        place = folder / "lib" / f"python{VERSION}" / path.relative_to(stdlib)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    (folder / "lib" / f"python{VERSION}" / "lib-dynload").mkdir(exist_ok=True)
    return folder


def bare_python(folder: Path) -> Path:
    """Returns an interpreter with no package installed, as Lambda's."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python3"


def hidden(folder: Path) -> list[str]:
    """The names in a folder that begin with a dot: the command's own work, were it left behind."""
    return [name for name in os.listdir(folder) if name.startswith(".")]
