"""The real ``bootstrap`` as a child process of the test, against a Runtime API server of our own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asgi_stream
from asgi_stream.local.environment import lambda_environment
from asgi_stream.local.function_error import FunctionError
from asgi_stream.local.runtime_api import RuntimeApiServer
from tests.support.dev import environment
from tests.support.events import function_url_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from asgi_stream.local.invocation import Collected

BOOTSTRAP = Path(asgi_stream.__file__).parent / "bootstrap"
# As Lambda starts what AWS_LAMBDA_EXEC_WRAPPER names.
EXEC_WRAPPER = (str(BOOTSTRAP), sys.executable, "/var/runtime/bootstrap.py")


class Process:
    """A function's process and its Runtime API."""

    def __init__(self, api: RuntimeApiServer, child: asyncio.subprocess.Process) -> None:
        self.api = api
        self.child = child

    async def invoke(self, path: str = "/") -> Collected:
        invocation = await self.api.invoke(json.dumps(function_url_event(path=path)).encode())
        return await invocation.collect()

    async def lines(self, count: int) -> list[str]:
        """The next lines that it prints."""
        assert self.child.stdout is not None
        return [(await self.child.stdout.readline()).decode().rstrip("\n") for _ in range(count)]

    async def end(self) -> tuple[int | None, str]:
        """Waits for the exit; returns the code and all that was printed and has not been read."""
        output, _ = await self.child.communicate()
        return self.child.returncode, output.decode()


@contextlib.asynccontextmanager
async def process(
    handler: str, variables: Mapping[str, str] | None = None, api: RuntimeApiServer | None = None
) -> AsyncIterator[Process]:
    """Starts ``handler`` (``module:attribute``); ``variables`` beat those that Lambda sets."""
    async with api or RuntimeApiServer() as server:
        env = {**lambda_environment(handler, server.address, environment()), **(variables or {})}
        async with child_process(server, *EXEC_WRAPPER, env=env) as child:
            yield Process(server, child)


@contextlib.asynccontextmanager
async def child_process(
    api: RuntimeApiServer, *argv: str, env: Mapping[str, str], stderr: int = asyncio.subprocess.STDOUT, **options: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Starts a program whose output can be read, and kills it in the end; the server is told when it ends by itself."""
    child = await asyncio.create_subprocess_exec(
        *argv, env=env, stdout=asyncio.subprocess.PIPE, stderr=stderr, **options
    )
    watcher = asyncio.create_task(_watch(child, api))
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()
        await watcher


async def _watch(child: asyncio.subprocess.Process, api: RuntimeApiServer) -> None:
    await child.wait()
    api.fail(FunctionError("Runtime.ExitError", {"errorMessage": "the process has ended"}))
