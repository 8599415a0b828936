"""AWS's own emulator (``aws-lambda-rie``) as a platform, in its two modes.

It buffers whole responses, so it shows what arrives and never when. ``scripts/emulator.py`` puts it into its place.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

from tests.support.platforms import BOOTSTRAP, INVOCATION_LIMIT, REPO, Outcome, Session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.platforms import Output

BINARY = Path(".cache", "emulator", "aws-lambda-rie")  # in the checkout
WHY_NOT = REPO / ".cache" / "emulator" / "why-not"

INVOKE_PATH = "/2015-03-31/functions/function/invocations"
READY_LIMIT = 15.0  # seconds

# What a Lambda or an AWS shell around this test run would tell the emulator.
_NOT_INHERITED = ("AWS_", "LAMBDA_", "_HANDLER", "_LAMBDA_", "_X_AMZN_")

_PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"

# As root, in a mount namespace of its own: the machine's /var stays as it is for everyone else. $1 is an empty folder,
# $2 the checkout, $3 the interpreter's prefix, $4 its name, the rest the command. A system's python3 may be of another
# version: there it is this one. The tree is made aside and put over /var last, as the checkout itself may lie there.
_NAMESPACE = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/task" "$1/lang"
mount --bind "$2" "$1/task"
mount --bind "$3" "$1/lang"
mount --bind "$1/lang/bin/$4" "$1/lang/bin/python3"
mount --rbind "$1" /var
shift 4
cd /var/task
exec "$@"
"""


@functools.cache
def why_no_emulator() -> str | None:
    """Says why the emulator cannot run here; None if it can."""
    if WHY_NOT.is_file():
        return WHY_NOT.read_text(encoding="utf-8").strip()
    if not os.access(REPO / BINARY, os.X_OK):
        return "AWS's emulator is not there: run scripts/emulator.py"
    return None


@functools.cache
def why_no_managed_instances() -> str | None:
    """Says why the emulator's Managed Instances mode cannot run here; None if it can."""
    if (reason := why_no_emulator()) is not None:
        return reason
    prefix = "the emulator's Managed Instances mode wants its function in /var/task"
    if os.geteuid() != 0:
        return f"{prefix}, and only root can put it there for the emulator alone"
    if shutil.which("unshare") is None:
        return f"{prefix}; unshare, which could put it there for the emulator alone, is not installed"
    if not Path(sys.base_prefix, "bin", _PYTHON).exists():
        return f"{prefix} and its Python as bin/{_PYTHON}, which {sys.base_prefix} does not have"
    with tempfile.TemporaryDirectory() as folder:
        argv = _in_namespace(folder, ["true"])
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        return f"{prefix}, and this machine allows no mount namespace: {result.stderr.strip()}"
    for path in _needed_by_the_function():
        mode = path.stat().st_mode
        if not mode & stat.S_IROTH or (_runs(path) and not mode & stat.S_IXOTH):
            return f"the emulator's Managed Instances mode runs the function as another user, who cannot use {path}"
    return None


def _needed_by_the_function() -> list[Path]:
    """The files of which permissions decide; those of the folders above do not matter behind a bind mount."""
    package = REPO / "asgi_stream"
    modules = [path for path in package.rglob("*") if path.suffix == ".py" or path.is_dir()]
    tests = [REPO / "tests", REPO / "tests/__init__.py", REPO / "tests/apps", *(REPO / "tests/apps").glob("*.py")]
    prefix = Path(sys.base_prefix)
    return [REPO, package, BOOTSTRAP, *modules, *tests, prefix, prefix / "bin", prefix / "bin" / _PYTHON]


def _runs(path: Path) -> bool:
    return path.is_dir() or path.name in ("bootstrap", _PYTHON)


def _in_namespace(folder: str, command: Sequence[str]) -> list[str]:
    return ["unshare", "-m", "sh", "-c", _NAMESPACE, "sh", folder, str(REPO), sys.base_prefix, _PYTHON, *command]


# A loopback address of this process alone. The emulator listens 50 to 150 ms after a port was found to be free, and by
# then another process of the tests, all of which use 127.0.0.1, may have been given the same one.
_HOST = f"127.{64 + (os.getpid() >> 16)}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens on; held together, so that they differ."""
    sockets = [socket.create_server((_HOST, 0)) for _ in range(count)]
    ports: list[int] = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


class EmulatorPlatform:
    """The emulator's default mode: what a function that serves one invocation at a time meets.

    It hands over the body of /response and of /error alike, without a word on which it was, and drops trailers.
    ``command`` is what to start in the place of our bootstrap, ``environ`` what the emulator and it inherit, this
    process's environment, as far as it is no Lambda's, if None.
    """

    shows_broken_body = True
    shows_trailers = False
    shows_error_type = False
    longest_deadline_ms: int | None = 300_000

    def __init__(
        self,
        handler: str,
        task_root: Path = REPO,
        command: Sequence[str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._handler = handler
        self._environ = environ
        self._task_root = task_root
        self._command = command or [str(BOOTSTRAP), handler]
        self._lost = False
        self._session: Session | None = None
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        port, api_port = _free_ports(2)
        addresses = ["--runtime-interface-emulator-address", f"{_HOST}:{port}"]
        addresses += ["--runtime-api-address", f"{_HOST}:{api_port}"]
        try:
            self._session = await self._start(["--log-level", "info", *addresses])
            await self._ready(self._session, port)
        except BaseException:
            await self.__aexit__()
            raise
        self._client = httpx.AsyncClient(base_url=f"http://{_HOST}:{port}", trust_env=False, timeout=None)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.aclose()
        if self._session is not None:
            await self._session.end()

    async def _start(self, options: Sequence[str]) -> Session:
        if self._environ is None:
            env = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
            # No argument names a Python here: bootstrap finds the one that runs the tests as it finds any, on the PATH.
            env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env.get("PATH", os.defpath)))
        else:
            env = dict(self._environ)
        env["LAMBDA_TASK_ROOT"] = str(self._task_root)
        return await Session.start([REPO / BINARY, *options, *self._command], env, self._task_root)

    @property
    def output(self) -> Output:
        assert self._session is not None
        return self._session.output

    @staticmethod
    async def _ready(session: Session, port: int) -> None:
        async with asyncio.timeout(READY_LIMIT):
            while True:
                assert session.lives, "the emulator ended before it listened; its log is in the captured stderr"
                try:
                    _, writer = await asyncio.open_connection(_HOST, port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return

    async def invoke(self, event: bytes) -> Outcome:
        assert not self._lost, "an earlier invocation on this emulator came to no end"
        self._lost = True  # until proven otherwise: the tests after a hang do not wait as long again
        async with asyncio.timeout(INVOCATION_LIMIT):
            outcome = await self._exchange(event)
        self._lost = False
        return outcome

    async def _exchange(self, event: bytes) -> Outcome:
        assert self._client is not None
        return self._read(await self._client.post(INVOKE_PATH, content=event))

    def _read(self, response: httpx.Response) -> Outcome:
        # It sniffs the Content-Type of what it hands over; that of the function is lost.
        error = _error_object(response.content)
        return Outcome(body=b"" if error is not None else response.content, error=error)


class ManagedInstancesPlatform(EmulatorPlatform):
    """The emulator's Managed Instances mode, with one slot unless a subclass says more.

    It decodes error trailers and hands them over in place of the body, and keeps the mode and the content type of the
    function. Its deadline is years away.
    """

    shows_broken_body = False
    shows_trailers = True
    shows_error_type = True
    longest_deadline_ms = None
    slots = 1

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        self._folder.cleanup()

    async def _start(self, options: Sequence[str]) -> Session:
        env = {
            "PATH": os.defpath,
            "AWS_LAMBDA_MAX_CONCURRENCY": str(self.slots),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
            "LAMBDA_TASK_ROOT": "/var/task",
        }
        command = [str(BINARY), *options, "/var/task/bootstrap", self._handler]
        path = os.environ.get("PATH", os.defpath)
        return await Session.start(
            _in_namespace(self._folder.name, ["env", "-i", *_pairs(env), *command]), {"PATH": path}, REPO
        )

    async def _exchange(self, event: bytes) -> Outcome:
        """Waits for the slot: an invoker has its answer a moment before the function asks for the next invocation.

        In between the emulator, as Lambda, rejects what comes; no function has seen it.
        """
        while True:
            outcome = await super()._exchange(event)
            if outcome.error_type != "Runtime.Unavailable":
                return outcome
            await asyncio.sleep(0.001)

    def _read(self, response: httpx.Response) -> Outcome:
        error_type = response.headers.get("Error-Type")
        if error_type is not None:
            return Outcome(body=b"", error=_error_object(response.content), error_type=error_type)
        return Outcome(
            body=response.content,
            error=None,
            mode=response.headers.get("Lambda-Runtime-Function-Response-Mode"),
            content_type=response.headers.get("Content-Type"),
        )


def _pairs(env: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in env.items()]


def _error_object(body: bytes) -> Mapping[str, Any] | None:
    """The error that a body consists of; None for a stream, whose delimiter is no JSON."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "errorType" in value else None
