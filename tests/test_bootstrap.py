"""The real ``bootstrap`` as a child process: finding its Python, its package and its handler."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import asgi_stream
from asgi_stream.local.runtime_api import RuntimeApiServer

PACKAGE = Path(asgi_stream.__file__).parent
BOOTSTRAP = PACKAGE / "bootstrap"
# Said by the Python program: whoever prints it has found Python and the package.
STARTED = "AWS_LAMBDA_RUNTIME_API is not set"
APP = """from asgi_stream import StreamingAdapter
async def app(scope, receive, send):
    raise RuntimeError
handler = StreamingAdapter(app)
"""


def run(*command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], env=environ, capture_output=True, text=True, cwd="/")


def run_app(folder: Path, module: str) -> str:
    """Returns what is printed where this is the app's module, which is to raise; nobody listens."""
    (folder / "raising_app.py").write_text(module)
    environ = {
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1",
        "LAMBDA_TASK_ROOT": str(folder),
        "_HANDLER": "raising_app.handler",
    }
    return run(BOOTSTRAP, sys.executable, **environ).stdout


def package_in(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copytree(PACKAGE, folder / "asgi_stream", ignore=shutil.ignore_patterns("__pycache__")))


def test_it_is_executable() -> None:
    assert BOOTSTRAP.stat().st_mode & stat.S_IXUSR
    top_level = PACKAGE.parent / "bootstrap"
    assert top_level.stat().st_mode & stat.S_IXUSR
    assert top_level.read_text() == BOOTSTRAP.read_text()


@pytest.mark.parametrize("environ", [{}, {"PATH": ""}, {"PATH": os.defpath}])
def test_as_an_exec_wrapper_it_takes_the_python_that_lambda_names(environ: dict[str, str]) -> None:
    process = run(BOOTSTRAP, sys.executable, "/var/runtime/bootstrap.py", **environ)
    assert STARTED in process.stderr
    assert process.returncode == 1


@pytest.mark.parametrize("place", ["asgi_stream/bootstrap", "bootstrap", "python/bootstrap"])
def test_it_finds_the_package_and_a_python_that_comes_along(tmp_path: Path, place: str) -> None:
    root = tmp_path / "a folder"
    package = package_in(root / "python" if place.startswith("python") else root)
    script = root / place.removeprefix("python/")
    if script != package / "bootstrap":
        (package / "bootstrap").rename(script)
    python = package.parent / "python" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "packaged Python" >&2\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    process = run(script, PATH="")
    assert "packaged Python" in process.stderr
    assert STARTED in process.stderr


def test_without_any_package(tmp_path: Path) -> None:
    lonely = tmp_path / "bootstrap"
    shutil.copy(BOOTSTRAP, lonely)
    process = run(lonely, sys.executable)
    assert "the asgi_stream package is neither around this file nor beside it" in process.stderr
    assert process.returncode == 1


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    """An interpreter cannot be made older here, so the check is shown a version that is not there yet."""
    script = package_in(tmp_path) / "_start.py"
    script.write_text(script.read_text().replace("(3, 11)", "(9, 0)"))
    process = run(tmp_path / "asgi_stream" / "bootstrap", sys.executable)
    assert process.stderr.startswith(f"asgi-stream needs Python 3.11 or newer; {sys.executable} is 3.")
    assert process.returncode == 1


def test_an_address_that_is_none() -> None:
    process = run(BOOTSTRAP, sys.executable, AWS_LAMBDA_RUNTIME_API="nowhere:")
    assert "AWS_LAMBDA_RUNTIME_API must be host:port, not 'nowhere:'" in process.stderr
    assert process.returncode == 1


def test_nobody_listens(tmp_path: Path) -> None:
    (tmp_path / "bootstrap_app.py").write_text(
        "from asgi_stream import StreamingAdapter\nasync def app(scope, receive, send): raise RuntimeError\n"
        "handler = StreamingAdapter(app)\n"
    )
    process = run(
        BOOTSTRAP,
        sys.executable,
        AWS_LAMBDA_RUNTIME_API="127.0.0.1:1",
        LAMBDA_TASK_ROOT=str(tmp_path),
        _HANDLER="bootstrap_app.handler",
    )
    assert "The runtime ends: no next invocation: the Runtime API at 127.0.0.1:1 cannot be reached" in process.stdout
    assert "Traceback" not in process.stdout + process.stderr
    assert process.returncode == 1


def test_an_unknown_event_loop() -> None:
    process = run(BOOTSTRAP, sys.executable, AWS_LAMBDA_RUNTIME_API="127.0.0.1:1", ASGI_STREAM_LOOP="fast")
    assert "ASGI_STREAM_LOOP must be asyncio or uvloop, not 'fast'" in process.stdout
    assert process.returncode == 1


def test_an_unknown_value_for_the_extension() -> None:
    process = run(BOOTSTRAP, sys.executable, AWS_LAMBDA_RUNTIME_API="127.0.0.1:1", ASGI_STREAM_SHUTDOWN_EXTENSION="no")
    assert "ASGI_STREAM_SHUTDOWN_EXTENSION must be auto or off, not 'no'" in process.stdout
    assert process.returncode == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("handler", "source", "variables", "error_type", "message"),
    [
        ("handler", "", {}, "Runtime.MalformedHandlerName", "Bad handler 'handler'"),
        ("init_other.handler", "", {}, "Runtime.ImportModuleError", "No module named 'init_other'"),
        ("init_app.handler", "import init_none", {}, "Runtime.ImportModuleError", "No module named 'init_none'"),
        ("init_app.handler", "def f(:", {}, "Runtime.UserCodeSyntaxError", "Syntax error in module 'init_app'"),
        ("init_app.handler", "", {}, "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'init_app'"),
        ("init_app.handler", "handler = 7", {}, "Runtime.HandlerNotFound", "Handler 'init_app.handler'"),
        ("init_app.handler", "raise KeyError('no table')", {}, "Function.KeyError", "'no table'"),
        ("init_app.handler", "raise SystemExit(3)", {}, "Function.SystemExit", "3"),
        ("init_app.handler", APP, {"ASGI_STREAM_LIFE": "on"}, "Function.ConfigurationError", "ASGI_STREAM_LIFE is not"),
        ("init_app.handler", APP, {"ASGI_STREAM_LOOP": "fast"}, "Function.ConfigurationError", "asyncio or uvloop"),
        ("init_app.handler", APP, {"AWS_LAMBDA_MAX_CONCURRENCY": "x"}, "Function.ConfigurationError", "not 'x'"),
        ("init_app.handler", APP, {"ASGI_STREAM_LIFESPAN": "on"}, "Function.LifespanError", "lifespan"),
    ],
)
async def test_init_errors(
    tmp_path: Path, handler: str, source: str, variables: dict[str, str], error_type: str, message: str
) -> None:
    """What Lambda is told, by the type that it counts; the exit code is 1 each time."""
    (tmp_path / "init_app.py").write_text(source)
    async with RuntimeApiServer() as api:
        process = await asyncio.to_thread(
            run,
            BOOTSTRAP,
            sys.executable,
            AWS_LAMBDA_RUNTIME_API=api.address,
            LAMBDA_TASK_ROOT=str(tmp_path),
            _HANDLER=handler,
            **variables,
        )
        failure = api.failure
    assert process.returncode == 1
    assert failure is not None
    assert failure.error_type == error_type
    assert message in failure.details["errorMessage"]
    # CloudWatch has it too.
    assert message in process.stdout


def test_without_any_python(tmp_path: Path) -> None:
    """An interpreter cannot be taken away here, so the script is shown fewer places to look at."""
    script = package_in(tmp_path) / "bootstrap"
    script.write_text(script.read_text().replace(" /usr/local/bin/python3 /usr/bin/python3;", ";"))
    process = run(script, PATH="")
    assert process.stderr.startswith("bootstrap: found no Python: Lambda named none")
    assert process.returncode == 127


def test_it_runs_the_package_that_it_belongs_to(tmp_path: Path) -> None:
    """Another copy on the path, such as a layer's or an editable installation, does not take its place."""
    package = package_in(tmp_path / "mine")
    other = package_in(tmp_path / "other")
    (other / "runtime" / "bootstrap.py").write_text("raise SystemExit('the other copy')\n")
    process = run(package / "bootstrap", sys.executable, LAMBDA_TASK_ROOT=str(tmp_path / "other"))
    assert STARTED in process.stderr


def test_the_folders_on_the_path(tmp_path: Path) -> None:
    """The function's own code comes first, the inside of our package is not among them."""
    printed = run_app(tmp_path, "import sys\nraise SystemExit(repr(sys.path))\n")
    assert f"SystemExit(\"['{tmp_path}', " in printed
    assert f"'{PACKAGE}'" not in printed


def test_deep_calls_ask_the_system_for_no_memory(tmp_path: Path) -> None:
    """However deep the imports of an app are: one that calls at each depth would meet the end of a chunk at some.

    A Python that keeps an empty chunk for the next call, as 3.15 is to do, passes without our help.
    """
    printed = run_app(
        tmp_path,
        "import resource\n"
        "def leaf(a=0, b=0, c=0, d=0, e=0, f=0, g=0, h=0): pass\n"
        "def down(depth):\n"
        "    for _ in range(200): leaf()\n"
        "    if depth: down(depth - 1)\n"
        "down(800)\n"  # whatever can be touched for the first time has been
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "down(800)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "raise SystemExit(f'{after - before} page faults')\n",
    )
    found = re.search(r"SystemExit.*?(\d+) page faults", printed)
    assert found, printed
    assert int(found[1]) < 100


def test_to_look_at_the_stack_takes_little_memory(tmp_path: Path) -> None:
    """As a traceback does: each frame gets an object then, and that of the first frame is 125 KiB."""
    printed = run_app(
        tmp_path,
        "import sys, tracemalloc\n"
        "tracemalloc.start()\n"
        "frame = sys._getframe()\n"
        "while frame: frame = frame.f_back\n"
        "raise SystemExit(f'{tracemalloc.get_traced_memory()[0]} bytes')\n",
    )
    found = re.search(r"SystemExit.*?(\d+) bytes", printed)
    assert found, printed
    assert int(found[1]) < 64_000
