"""The requests that every web framework has an answer for: its package file has the routes for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.differential.harness.client import Client

__all__ = ["standard"]

BINARY = {"content-type": "application/octet-stream"}


async def standard(client: Client, *, without: Collection[str] = ()) -> None:
    """Asks for a page, a stream, errors, a form, an upload, a file, HEAD and a redirect with two cookies.

    ``without`` names the parts that an app has no routes for, such as ``"upload"``.
    """
    for name, part in PARTS.items():
        if name not in without:
            await part(client)


async def _page(client: Client) -> None:
    await client.get("/")
    await client.head("/")
    await client.get("/nothing-here")


async def _items(client: Client) -> None:
    await client.get("/items/a%20b%2520c%2Bd?q=1+2&q=a%2Bb&empty=", label="a path that is encoded twice")


async def _stream(client: Client) -> None:
    await client.get("/stream", sees=["one", "two"])
    await client.head("/stream")


async def _error(client: Client) -> None:
    await client.get("/error")


async def _broken(client: Client) -> None:
    await client.get("/broken", sees=["one"])


async def _form(client: Client) -> None:
    await client.post("/form", data={"field": "a+b & ü", "other": ""})


async def _upload(client: Client) -> None:
    await client.post("/upload", files={"file": ("ü.bin", bytes(range(256)) * 300, "application/octet-stream")})


async def _body(client: Client) -> None:
    await client.post("/body", content=bytes(range(256)), headers=BINARY)


async def _file(client: Client) -> None:
    await client.get("/file")
    await client.get("/file", headers={"range": "bytes=10-29"}, label="GET /file, a range")
    await client.get("/file", headers={"range": "bytes=900000-"}, label="GET /file, a range beyond its end")
    await client.head("/file")


async def _empty(client: Client) -> None:
    await client.get("/empty")


async def _redirect(client: Client) -> None:
    await client.get("/redirect")


PARTS = {
    "page": _page,
    "items": _items,
    "stream": _stream,
    "error": _error,
    "broken": _broken,
    "form": _form,
    "upload": _upload,
    "body": _body,
    "file": _file,
    "empty": _empty,
    "redirect": _redirect,
}
