"""`asgi-stream dev`: the front end under uvicorn, the pool behind it, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING

import uvicorn

from asgi_stream.local.environment import Environment
from asgi_stream.local.front_end import FrontEnd
from asgi_stream.local.pool import Pool
from asgi_stream.local.signals import on_ending
from asgi_stream.local.terminal import tell, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_stream.local.function_error import FunctionError


def run(handler: str, *, host: str, port: int, concurrency: int, timeout: float) -> int:
    """Serves until a signal comes; `timeout` is the function's, in seconds. Returns the exit code."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=128)
        # Inherited by what it accepts. asyncio sets it only where a socket was made with proto=IPPROTO_TCP; without it
        # a second small write waits some 40 ms for the client's delayed acknowledgement of the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            warn(f"asgi-stream: port {port} on {host} is in use: choose another with --port")
        else:
            warn(f"asgi-stream: cannot listen on {host} port {port}: {error.strerror or error}")
        return 1
    with listener:
        pool = Pool(lambda: Environment(handler, timeout=timeout), limit=concurrency, on_failure=_report)
        asyncio.run(_serve(handler, listener, pool))
    return 0


async def _serve(handler: str, listener: socket.socket, pool: Pool) -> None:
    server = _Server(_config(pool))
    stop = asyncio.Event()
    with on_ending(stop.set):
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        waiting = asyncio.create_task(stop.wait())
        try:
            host, port = listener.getsockname()[:2]
            host = f"[{host}]" if ":" in host else host
            tell(f"asgi-stream: {handler} at http://{host}:{port}/  (Ctrl-C ends it)")
            await pool.start()
            await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            server.should_exit = server.force_exit = True
            # Ends the streams that still run, and with them their requests.
            await pool.close()
            await serving


def _report(error: FunctionError) -> None:
    warn(f"asgi-stream: the function failed: {error}\nasgi-stream: the next request tries again")


def _config(pool: Pool) -> uvicorn.Config:
    return uvicorn.Config(
        FrontEnd(pool),
        http="h11",  # the one that is installed with the extra: the same behaviour on every machine
        ws="none",
        loop="asyncio",
        interface="asgi3",
        lifespan="off",
        proxy_headers=False,
        date_header=False,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="critical",  # the front end reports for itself
        timeout_graceful_shutdown=1,
    )


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are ours: the children have to end as well."""
        yield

    def install_signal_handlers(self) -> None:
        """The same for uvicorn before 0.29."""
