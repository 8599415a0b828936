"""asyncpg against a server that speaks PostgreSQL's protocol and never ends a query, also at a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct

import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.differential.harness import Client

REQUIRES = ["asyncpg", "starlette"]


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


READY = message(b"Z", b"I")
SETTINGS = {b"server_version": b"17.0", b"client_encoding": b"UTF8", b"standard_conforming_strings": b"on"}
WELCOME = (
    message(b"R", struct.pack("!i", 0))
    + b"".join(message(b"S", name + b"\0" + value + b"\0") for name, value in SETTINGS.items())
    + message(b"K", struct.pack("!ii", 1, 1))
    + READY
)


# A prepared statement without parameters, whose rows have one integer.
PREPARED = (
    message(b"1")
    + message(b"t", bytes(2))
    + message(b"T", b"\0\1" + b"n\0" + struct.pack("!ihihih", 0, 0, 23, 4, -1, 0))
)


async def serve_database(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Lets everyone in, answers simple queries, prepares others and never runs them."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        (size,) = struct.unpack("!i", await reader.readexactly(4))
        await reader.readexactly(size - 4)
        writer.write(WELCOME)
        running = False
        while True:
            kind = await reader.readexactly(1)
            (size,) = struct.unpack("!i", await reader.readexactly(4))
            await reader.readexactly(size - 4)
            if kind == b"Q":
                writer.write(message(b"C", b"SELECT 1\0") + READY)
            elif kind == b"D":
                writer.write(PREPARED)
            elif kind == b"E":
                running = True
            elif kind == b"S" and not running:
                writer.write(READY)
            elif kind == b"X":
                break
    writer.close()


@contextlib.asynccontextmanager
async def lifespan(app: Starlette):
    server = await asyncio.start_server(serve_database, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    app.state.connect = lambda: asyncpg.connect(host="127.0.0.1", port=port, user="u", database="d", ssl=False)
    yield
    server.close()


async def quick(request: Request):
    connection = await request.app.state.connect()
    try:
        return PlainTextResponse(await connection.execute("select 1"))
    finally:
        connection.terminate()


async def slow(request: Request):
    connection = await request.app.state.connect()
    try:
        timeout = request.query_params.get("timeout")
        return PlainTextResponse(repr(await connection.fetch("select 1", timeout=timeout and float(timeout))))
    finally:
        connection.terminate()


async def process(request: Request):
    return PlainTextResponse(str(os.getpid()))


app = Starlette(routes=[Route("/quick", quick), Route("/slow", slow), Route("/process", process)], lifespan=lifespan)


async def requests(client: Client) -> None:
    await client.get("/quick")
    await client.get("/slow?timeout=0.2", label="a query with a timeout")
    await client.get("/quick", label="the query after it")


async def at_the_deadline(client: Client) -> None:
    await client.get("/process")
    await client.get("/slow")
    await client.get("/process")
