"""The handshake of a stream: the app waits at a gate until its client has read what was sent before.

    app:      send "one" -> await gate() -> send "two"
    client:   read until "one" is there -> open the gate once -> read "two"

So a message that arrives before its gate opens has arrived while the app was waiting, and no clock is needed. The gate
is a port of this machine, for the app may run in another process.
"""

from __future__ import annotations

import asyncio
import os
import socket

__all__ = ["VARIABLE", "Gatekeeper", "gate", "gate_sync"]

# Holds the port; set before the app is imported.
VARIABLE = "DIFFERENTIAL_GATE"

# How long an app waits at most, in seconds: longer than a client waits for what the app has sent. And how long once it
# has waited in vain.
PATIENCE = 40.0
LITTLE_PATIENCE = 1.0


async def gate() -> None:
    """Waits until the client has read everything that the app has sent so far."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ[VARIABLE]))
    try:
        await reader.read(1)
    finally:
        writer.close()


def gate_sync() -> None:
    """Does what :func:`gate` does, for an app that runs in a thread."""
    with socket.create_connection(("127.0.0.1", int(os.environ[VARIABLE]))) as connection:
        connection.recv(1)


class Gatekeeper:
    """The other end of the gate, on the client's event loop. It is closed until it is told otherwise."""

    def __init__(self) -> None:
        self._permits = asyncio.Semaphore(0)
        self._open = False
        self.late = 0  # how many calls were let go because nobody had opened the gate
        self._waiting: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._arrived, "127.0.0.1", 0)
        os.environ[VARIABLE] = str(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._waiting:
            task.cancel()

    def let_one_pass(self) -> None:
        """Lets one call of `gate` return, the one that waits or the next one."""
        self._permits.release()

    def stand_open(self) -> None:
        """Lets all calls return until :meth:`reset`."""
        self._open = True
        for _ in self._waiting:
            self._permits.release()

    def reset(self) -> None:
        """Closes the gate again, for the next response."""
        self._open = False
        self._permits = asyncio.Semaphore(0)

    async def _arrived(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            if not self._open:
                await asyncio.wait_for(self._permits.acquire(), LITTLE_PATIENCE if self.late else PATIENCE)
        except TimeoutError:
            self.late += 1
        finally:
            self._waiting.discard(task)
            writer.write(b"\n")
            writer.close()
