"""The invariants of docs/architecture.md that can be read off the code and a fresh interpreter."""

from __future__ import annotations

import ast
import graphlib
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import asgi_stream
from asgi_stream import AsgiStreamError, errors, testing

PACKAGE = Path(asgi_stream.__file__).parent
SANS_IO = [
    "asgi/response.py",
    "asgi/scope.py",
    "runtime/http11.py",
    "runtime/reports.py",
    "runtime/requests.py",
    "foreign.py",
    "sinks.py",
]
SANS_IO += [f"sources/{path.name}" for path in (PACKAGE / "sources").glob("*.py")]

# room -> the rooms that it may import from; those in OPEN are open to all
ROOMS = {
    "": {"adapter", "config", "handlers", "runtime", "sources"},
    "access_log": {"responders"},
    "keep_alive": {"responders"},
    "adapter": {"access_log", "keep_alive", "asgi", "calls", "config", "managed", "responders", "sources"},
    "responders": {"config", "sources"},
    "managed": {"asgi", "calls"},
    "calls": {"asgi", "config"},
    "config": set(),
    "testing": {"adapter", "asgi", "local", "recognise", "runtime", "sources"},
    "asgi": {"sources"},
    "sources": set(),
    "runtime": {"recognise"},
    "recognise": {"adapter", "config", "handlers"},
    "handlers": {"adapter", "calls", "config"},
    "local": set(),
    "packaging": {"runtime"},  # the loader, in a child process
    "cli": {"local", "packaging"},
    "__main__": {"cli"},
    "_start": {"runtime"},
    "sinks": {"config"},
    "errors": set(),
    "foreign": set(),
    "records": set(),
}
OPEN = {"errors", "foreign", "records", "sinks"}


def imports_of(path: Path) -> set[str]:
    """The full names of the modules that a file imports, also for its types alone."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room_of(module: str) -> str:
    return module.removeprefix("asgi_stream").lstrip(".").partition(".")[0]


@pytest.mark.parametrize("name", SANS_IO)
def test_protocol_modules_do_no_io(name: str) -> None:
    assert not imports_of(PACKAGE / name) & {
        "asyncio",
        "socket",
        "selectors",
        "threading",
        "subprocess",
    }


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    room = "" if parts == ("__init__",) else parts[0]
    allowed = ROOMS[room] | OPEN | {room, ""}
    for name in imports_of(path):
        if name == "asgi_stream" or name.startswith("asgi_stream."):
            target = room_of(name)
            assert target in allowed or target not in ROOMS, f"{path} imports {name}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_read_of_a_handler_is_declared(path: Path) -> None:
    """By name, and not by a text, which mypy would not compare with ``sinks.Handler``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and len(node.args) > 1 and ast.unparse(node.func) in ("getattr", "get"):
            assert ast.unparse(node.args[0]) not in ("handler", "self._handler", "driven")


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports for types and imports in functions count too."""
    paths = {
        ".".join(("asgi_stream", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    graph: dict[str, set[str]] = {}
    for name, path in paths.items():
        imported = graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                members = {f"{node.module}.{alias.name}" for alias in node.names}
                members.discard("asgi_stream.__version__")  # set before the package imports anything of its own
                imported.update(member if member in paths else node.module for member in members)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def fresh_interpreter(code: str) -> set[str]:
    program = (
        f"import sys, json; before = set(sys.modules); {code}; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(json.loads(run.stdout))


def test_what_runs_on_lambda_is_the_standard_library_and_the_rooms_for_it() -> None:
    modules = fresh_interpreter("import asgi_stream.runtime.bootstrap, asgi_stream.adapter")
    outside = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names)
    assert outside == {"asgi_stream"}
    rooms = {room_of(name) for name in modules if name.startswith("asgi_stream")}
    assert rooms <= {
        "", "adapter", "asgi", "config", "errors", "foreign", "records", "responders", "runtime", "sinks", "sources",
    }  # fmt: skip


def test_a_streaming_handler_pays_for_nothing_of_asgi_and_an_app_for_nothing_of_handlers() -> None:
    handler = fresh_interpreter("from asgi_stream import streaming_handler, pipeline, gzip_chunks, Prelude")
    assert {room_of(name) for name in handler if name.startswith("asgi_stream")} <= {
        "", "calls", "config", "errors", "foreign", "handlers", "records", "sinks",
    }  # fmt: skip
    app = fresh_interpreter("from asgi_stream import StreamingAdapter")
    assert not {name for name in app if room_of(name) in ("handlers", "recognise")}


def test_a_function_without_the_runtime_does_not_pay_for_it() -> None:
    assert not {name for name in fresh_interpreter("import asgi_stream") if name.startswith("asgi_stream.runtime")}


def test_the_public_surface() -> None:
    public = {name for name, value in vars(asgi_stream).items() if not name.startswith("_") and not _is_module(value)}
    assert public - {"TYPE_CHECKING"} <= set(asgi_stream.__all__)
    assert set(asgi_stream.__all__) <= set(dir(asgi_stream))
    for name in asgi_stream.__all__:
        if not name.startswith("_"):
            assert getattr(asgi_stream, name).__doc__, f"{name} has no docstring"


def test_public_errors_have_one_base_class_and_are_in_one_module() -> None:
    public = {
        value
        for module in (asgi_stream, testing)
        for value in (getattr(module, name) for name in module.__all__)
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert public == {value for value in vars(errors).values() if isinstance(value, type)}
    assert all(issubclass(error, AsgiStreamError) and error.__doc__ for error in public)


# Two of the files are programs: importing them would run them.
MODULES = [
    info.name
    for info in pkgutil.walk_packages([str(PACKAGE)], "asgi_stream.")
    if info.name not in ("asgi_stream.__main__", "asgi_stream._start")
]


@pytest.mark.parametrize("name", MODULES)
def test_every_name_in_all_is_there(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), public


def _is_module(value: object) -> bool:
    return isinstance(value, type(sys))
