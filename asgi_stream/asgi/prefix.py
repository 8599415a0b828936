"""Base paths and root paths: whole segments in front of a path, so that ``/v1`` never eats ``/v10``."""

from __future__ import annotations

from urllib.parse import quote, unquote

__all__ = ["add_prefix", "has_prefix", "remove_prefix"]


def has_prefix(path: str, prefix: str) -> bool:
    """True if ``path`` lies below ``prefix`` (``/a/b``, no slash at its end; empty: every path does)."""
    return path == prefix or path.startswith(prefix + "/") or not prefix


def remove_prefix(path: str, raw_path: bytes, prefix: str) -> tuple[str, bytes]:
    """Returns path and raw path without ``prefix``, which ``path`` has. What is left begins with a slash."""
    head, tail = _split(raw_path, prefix)
    rest = path[len(prefix) :] or "/"
    # An encoded slash in the prefix can be counted in no other way than by the decoded path.
    return rest, (tail or b"/") if head is not None else quote(rest).encode("ascii")


def add_prefix(path: str, raw_path: bytes, prefix: str) -> tuple[str, bytes]:
    """Returns path and raw path below ``prefix``; those that are there already stay as they are."""
    if has_prefix(path, prefix):
        return path, raw_path
    return prefix + path, quote(prefix).encode("ascii") + raw_path


def _split(raw_path: bytes, prefix: str) -> tuple[bytes | None, bytes]:
    segments = raw_path.split(b"/")
    count = prefix.count("/") + 1
    head = b"/".join(segments[:count])
    tail = b"/".join([b"", *segments[count:]])
    return (head, tail) if unquote(head.decode("latin-1")) == prefix else (None, b"")
