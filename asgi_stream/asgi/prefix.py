"""Base paths and root paths: whole segments in front of a path, so that ``/v1`` never eats ``/v10``.

A prefix is decoded and has no slash at its end: ``/a/b``, or empty. A path goes with its raw form, the bytes that the
client sent, and both are changed alike.
"""

from __future__ import annotations

from asgi_stream.sources.percent import unquote

__all__ = ["add_prefix", "has_prefix", "remove_prefix"]


def has_prefix(path: str, prefix: str) -> bool:
    """True if ``path`` lies below ``prefix``; every path lies below the empty one."""
    return path == prefix or path.startswith(prefix + "/") or not prefix


def remove_prefix(path: str, raw_path: bytes, prefix: str) -> tuple[str, bytes]:
    """Returns path and raw path without ``prefix``, which ``path`` has. What is left begins with a slash."""
    if not prefix:
        return path, raw_path
    rest = path[len(prefix) :] or "/"
    segments = raw_path.split(b"/")
    count = prefix.count("/") + 1
    if unquote(b"/".join(segments[:count]).decode("latin-1")) == prefix:
        return rest, b"/".join([b"", *segments[count:]]) or b"/"
    # An encoded slash in the prefix: which bytes are its own can be told by the decoded path alone.
    return rest, _quote(rest)


def add_prefix(path: str, raw_path: bytes, prefix: str) -> tuple[str, bytes]:
    """Returns path and raw path below ``prefix``."""
    if prefix and not path.startswith("/"):
        path, raw_path = f"/{path}", b"/" + raw_path  # such as the `*` of OPTIONS
    return prefix + path, _quote(prefix) + raw_path


def _quote(path: str) -> bytes:
    if not path:
        return b""
    from urllib.parse import quote  # few functions are mounted anywhere

    # JSON may carry lone surrogates, which no bytes of a path can be.
    return quote(path.encode("utf-8", "surrogatepass")).encode("ascii")
