"""The runtimes that are compared: how each is installed, and how it is started as Lambda starts it.

Everything is installed under `.venv/` and `.cache/`. What cannot be installed here is skipped, with the reason.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import asgi_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHECKOUT = Path(__file__).parent.parent.parent
CACHE = CHECKOUT / ".cache"
APPS = Path(__file__).parent / "apps"
MODULES = "benchmarks.compare.apps"
BOOTSTRAP = str(Path(asgi_stream.__file__).parent / "bootstrap")
LWA_VERSION = "1.0.0-rc1"
INSTALL_LIMIT = 900  # seconds


class Skipped(Exception):
    """A runtime cannot be measured here; the text is the reason."""


class Runtime(NamedTuple):
    """`command` gives what is started, or raises Skipped; `variables` are beside Lambda's own.

    `workloads` are those that it can do: not the latency of one that keeps the answer back, for instance.
    """

    name: str
    command: Callable[[], list[str]]
    workloads: tuple[str, ...]
    variables: dict[str, str]


def environment(address: str, runtime: Runtime) -> dict[str, str]:
    """The environment of a function; nothing of the user's but where programs and libraries are."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(CHECKOUT),
        "LAMBDA_TASK_ROOT": str(CHECKOUT),
        "AWS_LAMBDA_RUNTIME_API": address,
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/bench",
        "AWS_LAMBDA_LOG_STREAM_NAME": "bench",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": "us-east-1",
        **runtime.variables,
    }


def _ours() -> list[str]:
    return [BOOTSTRAP, sys.executable, "/var/runtime/bootstrap.py"]


@functools.cache
def _module(name: str) -> None:
    """Raises Skipped if a module is not installed."""
    if subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, check=False).returncode:
        raise Skipped(f"{name} is not installed: pip could not get it")


def _ric() -> list[str]:
    _module("awslambdaric")
    _module("mangum")
    return [sys.executable, "-m", "awslambdaric"]


def _hayate() -> list[str]:
    if tuple(sys.version_info) < (3, 12):
        raise Skipped(f"hayate needs Python 3.12 or newer; this is {sys.version.split()[0]}")
    _module("hayate")
    return [sys.executable, str(APPS / "with_hayate.py")]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Skipped(f"{name} is not on this machine")
    return found


def _install(command: list[str], cwd: Path) -> None:
    try:
        run = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=INSTALL_LIMIT)
    except subprocess.TimeoutExpired as error:
        raise Skipped(f"`{' '.join(command[:3])} …` was not done after {INSTALL_LIMIT} s") from error
    if run.returncode:
        lines = (run.stderr or run.stdout).strip().splitlines()
        raise Skipped(f"`{' '.join(command[:3])} …` failed: {lines[-1] if lines else run.returncode}")


@functools.cache
def _floor() -> str:
    compiler = _program("cc")
    CACHE.mkdir(exist_ok=True)
    binary, source = CACHE / "floor", APPS / "floor.c"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        _install([compiler, "-O2", "-o", str(binary), str(source)], CHECKOUT)
    return str(binary)


@functools.cache
def _lwa() -> str:
    root = CACHE / f"lambda-web-adapter-{LWA_VERSION}"
    binary = root / "bin" / "lambda-adapter"
    if not binary.exists():
        cargo = _program("cargo")
        print(f"Building Lambda Web Adapter {LWA_VERSION}, which takes some minutes …", flush=True)
        _install([cargo, "install", "lambda_web_adapter", "--version", LWA_VERSION, "--root", str(root)], CHECKOUT)
    return str(binary)


def _web_adapter(module: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        _module("uvicorn")
        _module("uvloop")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # Lambda starts the extension and the app beside each other.
        uvicorn = f'"{sys.executable}" -m uvicorn --port {port} --log-level warning {MODULES}.{module}:app'
        return ["/bin/sh", "-c", f'AWS_LWA_PORT={port} "{_lwa()}" & exec {uvicorn}']

    return command


@functools.cache
def _node_ric() -> str:
    # The one that the tests compare ours with.
    subprocess.run([sys.executable, str(CHECKOUT / "scripts" / "node.py")], check=True)
    why_not = CACHE / "node" / "why-not"
    if why_not.exists():
        raise Skipped(why_not.read_text(encoding="utf-8").strip())
    return str(CACHE / "node" / "aws-lambda-ric" / "bin" / "index.mjs")


def _node() -> list[str]:
    return [_program("node"), _node_ric(), "handler.handler"]


def named(name: str) -> Runtime:
    """The runtime of this name, of RUNTIMES."""
    return next(runtime for runtime in RUNTIMES if runtime.name == name)


def versions(runtimes: Sequence[Runtime]) -> list[str]:
    """The versions of those that are no Python packages."""
    names = [runtime.name for runtime in runtimes]
    found = []
    if "Node.js" in names:
        package = Path(_node_ric()).parent.parent / "package.json"
        found.append(f"aws-lambda-ric {json.loads(package.read_text(encoding='utf-8'))['version']}")
    if any(name.startswith("LWA") for name in names):
        found.append(f"lambda_web_adapter {LWA_VERSION}")
    return found


STREAMING = ("hello", "burst", "spaced", "bulk", "memory")
BUFFERED = ("hello", "burst", "bulk")


def _function(name: str) -> dict[str, str]:
    return {"_HANDLER": f"{MODULES}.{name}.handler"}


LWA = {"AWS_LWA_INVOKE_MODE": "response_stream", "AWS_LWA_READINESS_CHECK_PATH": "/hello"}
SHARING = {"ASGI_STREAM_SHARE_WRITES": "on"}

RUNTIMES = (
    Runtime("asgi-stream, raw", _ours, STREAMING, _function("ours_raw")),
    Runtime("asgi-stream, FastAPI", _ours, STREAMING, _function("ours_fastapi")),
    Runtime("asgi-stream, raw, sharing", _ours, STREAMING, _function("ours_raw") | SHARING),
    Runtime("asgi-stream, FastAPI, sharing", _ours, STREAMING, _function("ours_fastapi") | SHARING),
    Runtime("C floor", lambda: [_floor()], STREAMING, {}),
    Runtime("plain write", lambda: [sys.executable, str(APPS / "plain.py")], ("spaced", "burst"), {}),
    Runtime("Node.js", _node, STREAMING, {"_HANDLER": "handler.handler", "LAMBDA_TASK_ROOT": str(APPS / "node")}),
    Runtime("Mangum, raw", lambda: [*_ric(), f"{MODULES}.mangum_raw.handler"], BUFFERED, _function("mangum_raw")),
    Runtime(
        "Mangum, FastAPI", lambda: [*_ric(), f"{MODULES}.mangum_fastapi.handler"], BUFFERED, _function("mangum_fastapi")
    ),
    Runtime("LWA, raw", _web_adapter("raw"), STREAMING, LWA),
    Runtime("LWA, FastAPI", _web_adapter("with_fastapi"), STREAMING, LWA),
    Runtime("hayate", _hayate, STREAMING, {}),
    Runtime("bare imports, raw", lambda: [sys.executable, str(APPS / "bare.py"), f"{MODULES}.raw"], (), {}),
    Runtime(
        "bare imports, FastAPI", lambda: [sys.executable, str(APPS / "bare.py"), f"{MODULES}.with_fastapi"], (), {}
    ),
)
