"""The ways in which Lambda starts a runtime, each as Lambda does it: its paths, its arguments, its environment.

The paths (``/var/task``, ``/opt``, ``/var/lang``) are real where this machine lets a mount namespace be made, which
leaves it untouched; the same layouts run in temporary folders everywhere.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import asgi_stream
from asgi_stream.local.function_error import FunctionError
from asgi_stream.local.runtime_api import RuntimeApiServer
from tests.support.events import function_url_event
from tests.support.platforms import INVOCATION_LIMIT, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

pytestmark = pytest.mark.anyio

PACKAGE = Path(asgi_stream.__file__).parent
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"
CHAINED = "ASGI_STREAM_EXEC_WRAPPER"

# What every kind of function has; no PATH but where Lambda has one.
VARIABLES = {
    "AWS_REGION": "us-east-1",
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
}
MANAGED = {
    "_HANDLER": "main.handler",
    "AWS_EXECUTION_ENV": f"AWS_Lambda_{PYTHON}",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
}
PROVIDED = {"_HANDLER": "main.handler", "PATH": "/usr/local/bin:/usr/bin/:/bin:/opt/bin"}

# $1 is an empty folder, $2 is to be /var/task, $3 /opt and $4 /var/lang, $5 the Python in it, the rest is the command.
# A system's python3 may be of another version: there it is this one. The tree is made aside and put over /var last, as
# one of the folders may lie there.
NAMESPACE = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/task" "$1/lang" "$1/runtime"
mount --bind "$2" "$1/task"
mount --bind "$4" "$1/lang"
mount --bind "$1/lang/bin/$5" "$1/lang/bin/python3"
mount --bind "$3" /opt
mount --rbind "$1" /var
shift 5
cd /var/task
exec env -i "$@"
"""


class Function:
    """A function's files: ``task`` is /var/task, ``opt`` is /opt, ``lang`` the managed runtime's Python.

    ``paths`` are those that the function itself will see. With ``real`` they are Lambda's.
    """

    def __init__(self, root: Path, real: bool) -> None:
        self.root = root
        self.real = real
        self.task = self._folder("task")
        self.opt = self._folder("opt")
        if not real:
            Path(self._folder("bin"), "python3").symlink_to(Path(sys.base_prefix, "bin", PYTHON))
        shutil.copy(Path(__file__).parent / "apps" / "starting_app.py", self.task / "main.py")

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir()
        return folder

    @property
    def task_root(self) -> str:
        return "/var/task" if self.real else str(self.task)

    @property
    def layers(self) -> str:
        return "/opt" if self.real else str(self.opt)

    @property
    def lang(self) -> str:
        return "/var/lang" if self.real else sys.base_prefix

    @property
    def programs(self) -> str:
        """A folder for the PATH, whose python3 is the tests' own Python."""
        return "/var/lang/bin" if self.real else str(self.root / "bin")

    def put_package(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copytree(PACKAGE, folder / "asgi_stream", ignore=shutil.ignore_patterns("__pycache__")))

    def put_bootstrap(self, folder: Path) -> None:
        shutil.copy(PACKAGE / "bootstrap", folder / "bootstrap")

    def put_script(self, path: Path, text: str, mode: int = 0o755) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def put_python(self, folder: Path) -> None:
        """A Python that comes along: here one that runs the tests' own."""
        self.put_script(folder / "bin" / "python3", f'#!/bin/sh\nCAME_ALONG=1 exec {self.lang}/bin/{PYTHON} "$@"\n')

    def command(self, argv: Sequence[str], variables: Mapping[str, str]) -> list[str]:
        pairs = [f"{name}={value}" for name, value in variables.items()]
        if not self.real:
            return ["env", "-i", *pairs, *argv]
        folders = [str(self._folder("var")), str(self.task), str(self.opt), sys.base_prefix, PYTHON]
        return ["unshare", "-m", "sh", "-c", NAMESPACE, "sh", *folders, *pairs, *argv]

    async def invoke(self, argv: Sequence[str], variables: Mapping[str, str]) -> dict[str, Any]:
        """Starts it, invokes it once, ends it by SIGTERM; returns what the app says of how it was started."""
        async with RuntimeApiServer() as api:
            given = {
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "LAMBDA_TASK_ROOT": self.task_root,
                **VARIABLES,
                **variables,
            }
            session = await Session.start(self.command(argv, given), os.environ, self.task)
            watcher = asyncio.create_task(_watch(session, api))
            try:
                async with asyncio.timeout(INVOCATION_LIMIT):
                    invocation = await api.invoke(json.dumps(function_url_event()).encode())
                    collected = await invocation.collect()
                    assert collected.error is None, (collected.error, session.output.text)
                    await api.idle()
                    session._process.terminate()
                    await session.wait()
            finally:
                await session.end()
                await watcher
        assert await session.wait() == 0
        facts: dict[str, Any] = json.loads(collected.body.partition(bytes(8))[2])
        assert facts["version"] == list(sys.version_info[:2])
        return facts


async def _watch(session: Session, api: RuntimeApiServer) -> None:
    code = await session.wait()
    api.fail(FunctionError("Runtime.ExitError", {"errorMessage": f"the process has ended with status {code}"}))


@functools.cache
def why_no_namespace() -> str | None:
    """Says why Lambda's own paths cannot be made here; None if they can."""
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        return "Lambda's own paths need Linux's mount namespaces, and the program unshare"
    if os.geteuid() != 0:
        return "Lambda's own paths, for these tests alone, can be made by root only"
    with tempfile.TemporaryDirectory() as folder:
        command = Function(Path(folder), real=True).command([f"/var/lang/bin/{PYTHON}", "-c", "import ssl"], {})
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"this machine allows no such mounts: {result.stderr.strip()}" if result.returncode else None


@pytest.fixture(params=["in folders", "at Lambda's paths"])
def function(request: pytest.FixtureRequest, tmp_path: Path) -> Function:
    real = request.param == "at Lambda's paths"
    if real and (reason := why_no_namespace()) is not None:
        pytest.skip(reason)
    return Function(tmp_path, real)


# Where the package and the file that AWS_LAMBDA_EXEC_WRAPPER names may stand.
PLACES: dict[str, Callable[[Function], tuple[str, str]]] = {}


def place(build: Callable[[Function], tuple[str, str]]) -> Callable[[Function], tuple[str, str]]:
    PLACES[build.__name__] = build
    return build


@place
def beside_the_package(function: Function) -> tuple[str, str]:
    function.put_package(function.task)
    function.put_bootstrap(function.task)
    return f"{function.task_root}/bootstrap", f"{function.task_root}/asgi_stream"


@place
def in_the_package(function: Function) -> tuple[str, str]:
    function.put_package(function.task)
    return f"{function.task_root}/asgi_stream/bootstrap", f"{function.task_root}/asgi_stream"


@place
def from_a_layer(function: Function) -> tuple[str, str]:
    function.put_package(function.opt / "python")
    function.put_bootstrap(function.opt)
    return f"{function.layers}/bootstrap", f"{function.layers}/python/asgi_stream"


@place
def from_a_layer_for_one_python(function: Function) -> tuple[str, str]:
    packages = f"python/lib/{PYTHON}/site-packages"
    function.put_package(function.opt / packages)
    function.put_bootstrap(function.opt)
    return f"{function.layers}/bootstrap", f"{function.layers}/{packages}/asgi_stream"


@place
def in_the_package_of_a_layer(function: Function) -> tuple[str, str]:
    function.put_package(function.opt / "python")
    return f"{function.layers}/python/asgi_stream/bootstrap", f"{function.layers}/python/asgi_stream"


@pytest.mark.parametrize("name", PLACES)
async def test_as_an_exec_wrapper(function: Function, name: str) -> None:
    """As the managed runtime starts it: its Python and its own runtime's file are the arguments."""
    wrapper, package = PLACES[name](function)
    python = f"{function.lang}/bin/{PYTHON}"
    facts = await function.invoke([wrapper, python, "/var/runtime/bootstrap.py"], {**MANAGED, WRAPPER: wrapper})
    assert facts["python"] == python
    assert facts["arguments"] == []
    assert facts["main"] == f"{function.task_root}/main.py"
    assert facts["folder"] == function.task_root
    assert facts["package"] == package


async def test_as_the_bootstrap_of_provided_al2023(function: Function) -> None:
    """No argument, no exec wrapper; Python comes along."""
    function.put_package(function.task)
    function.put_bootstrap(function.task)
    function.put_python(function.task / "python")
    facts = await function.invoke([f"{function.task_root}/bootstrap"], PROVIDED)
    assert facts["environ"].get("CAME_ALONG") == "1"
    assert facts["main"] == f"{function.task_root}/main.py"


async def test_as_the_bootstrap_of_a_layer_for_provided_al2023(function: Function) -> None:
    """Lambda takes /opt/bootstrap where the package has none; the layer brings its Python."""
    package = function.put_package(function.opt / "python")
    function.put_bootstrap(function.opt)
    function.put_python(package.parent / "python")
    facts = await function.invoke([f"{function.layers}/bootstrap"], PROVIDED)
    assert facts["environ"].get("CAME_ALONG") == "1"
    assert facts["package"] == f"{function.layers}/python/asgi_stream"


@pytest.mark.parametrize("function", ["at Lambda's paths"], indirect=True)
async def test_a_python_that_a_layer_of_its_own_brings_along(function: Function) -> None:
    function.put_package(function.task)
    function.put_bootstrap(function.task)
    function.put_python(function.opt)
    facts = await function.invoke(["/var/task/bootstrap"], PROVIDED)
    assert facts["environ"].get("CAME_ALONG") == "1"


async def test_as_the_entrypoint_of_a_container_image(function: Function) -> None:
    """``ENTRYPOINT ["/var/task/bootstrap"]`` and ``CMD ["main.handler"]``: the handler is an argument alone."""
    function.put_package(function.task)
    function.put_bootstrap(function.task)
    # AWS's base image has its Python in /var/lang; others have it on their PATH.
    path = {} if function.real else {"PATH": function.programs}
    facts = await function.invoke([f"{function.task_root}/bootstrap", "main.handler"], path)
    assert facts["prefix"] == function.lang
    assert facts["arguments"] == ["main.handler"]


async def test_the_path_is_as_aws_sets_it_up(function: Function) -> None:
    """The function's own code, then layers for this Python, then layers for any, then what Python comes with."""
    wrapper, _ = in_the_package(function)
    layers = [f"/opt/python/lib/{PYTHON}/site-packages", "/opt/python"]
    (function.opt / "python" / "lib" / PYTHON / "site-packages").mkdir(parents=True)
    python = f"{function.lang}/bin/{PYTHON}"
    facts = await function.invoke([wrapper, python, "/var/runtime/bootstrap.py"], {**MANAGED, WRAPPER: wrapper})
    expected = [function.task_root, *(layers if function.real else [])]
    assert facts["path"][: len(expected)] == expected
    assert "/var/runtime" in facts["path"][len(expected) :]
    rest = facts["path"][len(expected) :]
    assert f"{function.lang}/lib/{PYTHON}" in rest
    assert facts["site-packages"]
    assert set(facts["site-packages"]) <= set(rest)
    assert len(set(facts["path"])) == len(facts["path"])


@pytest.mark.parametrize("function", ["in folders"], indirect=True)  # at Lambda's paths the two are one
async def test_a_container_image_whose_code_stands_in_its_working_directory(function: Function) -> None:
    """Lambda says /var/task also where an image has set another WORKDIR; the code is found there all the same."""
    wrapper, _ = in_the_package(function)
    elsewhere = function.root / "elsewhere"
    elsewhere.mkdir()
    variables = {"LAMBDA_TASK_ROOT": str(elsewhere), "PATH": function.programs}
    facts = await function.invoke([wrapper, "main.handler"], variables)
    assert facts["path"][:2] == [str(elsewhere), str(function.task)]


# Exec wrappers in the shape of OpenTelemetry's: one that ends in its own program, which starts the arguments, and takes
# the handler's place; and one that ends in the arguments.
INSTRUMENT = """#!/bin/sh
export PYTHONPATH="$LAYERS/python:${PYTHONPATH-}"
export ORIG_HANDLER=$_HANDLER
export _HANDLER=instrumented.lambda_handler
exec python3 "$LAYERS/python/bin/instrument" "$@"
"""
PROGRAM = """import os, sys
os.environ["INSTRUMENTED"] = "1"
os.execl(sys.argv[1], *sys.argv[1:])
"""
INSTRUMENTED = """import importlib, os
module, _, name = os.environ["ORIG_HANDLER"].rpartition(".")
lambda_handler = getattr(importlib.import_module(module), name)
"""
VARIABLES_ALONE = '#!/bin/sh\nexport INSTRUMENTED=1\nexec "$@"\n'


@pytest.mark.parametrize("how", ["exec wrapper", "container image"])
async def test_another_exec_wrapper_that_takes_the_handlers_place(function: Function, how: str) -> None:
    wrapper, _ = in_the_package(function)
    function.put_script(function.opt / "instrument", INSTRUMENT)
    function.put_script(function.opt / "python" / "bin" / "instrument", PROGRAM)
    function.put_script(function.opt / "python" / "instrumented.py", INSTRUMENTED)
    variables = {
        CHAINED: f"{function.layers}/instrument",
        "LAYERS": function.layers,
        "PATH": f"{function.programs}:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
    }
    if how == "exec wrapper":
        python = f"{function.lang}/bin/{PYTHON}"
        argv = [wrapper, python, "/var/runtime/bootstrap.py"]
        variables |= {**MANAGED, WRAPPER: wrapper}
    else:
        argv = [wrapper, "main.handler"]
    facts = await function.invoke(argv, variables)
    assert facts["environ"]["INSTRUMENTED"] == "1"
    assert facts["environ"]["ORIG_HANDLER"] == "main.handler"
    assert facts["main"] == f"{function.task_root}/main.py"
    assert facts["prefix"] == function.lang
    assert facts["path"][0] == function.task_root
    assert f"{function.layers}/python" in facts["path"]


@pytest.mark.parametrize("itself", [False, True])
async def test_another_exec_wrapper_that_sets_variables(function: Function, itself: bool) -> None:
    """Our own file in its place would be a mistake; it is no endless one."""
    wrapper, _ = in_the_package(function)
    other = "/".join((function.layers, "variables"))
    function.put_script(function.opt / "variables", VARIABLES_ALONE)
    python = f"{function.lang}/bin/{PYTHON}"
    facts = await function.invoke(
        [wrapper, python, "/var/runtime/bootstrap.py"],
        {**MANAGED, WRAPPER: wrapper, CHAINED: wrapper if itself else other},
    )
    assert facts["environ"].get("INSTRUMENTED") == (None if itself else "1")
    assert facts["python"] == python
    assert CHAINED not in facts["environ"]


@pytest.mark.parametrize(
    ("kind", "sentence", "code"),
    [
        ("missing", "names a file that is not there", 127),
        ("a folder", "names what is not an executable file", 126),
        ("not executable", "names what is not an executable file", 126),
        ("interpreter missing", "other", 127),  # in the shell's own words
    ],
)
def test_another_exec_wrapper_that_cannot_be_started(tmp_path: Path, kind: str, sentence: str, code: int) -> None:
    other = tmp_path / "other"
    if kind == "a folder":
        other.mkdir()
    elif kind == "not executable":
        other.write_text("#!/bin/sh\n")
    elif kind == "interpreter missing":
        other.write_text("#!/not/there\n")
        other.chmod(0o755)
    argv = [str(PACKAGE / "bootstrap"), sys.executable, "/var/runtime/bootstrap.py"]
    process = subprocess.run(argv, env={CHAINED: str(other)}, capture_output=True, text=True, check=False)
    assert sentence in process.stderr
    assert str(other) in process.stderr
    assert process.returncode == code
