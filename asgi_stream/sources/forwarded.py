"""Who called, by what scheme, and which server: read from what a client and the proxies before Lambda put into headers.

Nothing here raises: an odd port, host or scheme gives way to what is usual.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_client", "read_host", "read_scheme", "read_server"]

# RFC 3986, 3.2.2, without what no registered name has: a header like this decides where links lead.
_HOST = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._")


def read_scheme(headers: Mapping[str, str]) -> str:
    """``http`` or ``https``: what the client spoke to the first proxy; ``https`` where no header tells it."""
    forwarded = headers.get("x-forwarded-proto") or headers.get("cloudfront-forwarded-proto", "")
    if not forwarded or forwarded == "https":
        return "https"
    return "http" if _first(forwarded).lower() == "http" else "https"


def read_client(forwarded_for: str) -> tuple[str, int] | None:
    """Returns (address, port) of the first in an ``x-forwarded-for``, port 0 where it has none; None for no address."""
    address = next((stripped for part in forwarded_for.split(",") if (stripped := part.strip(" \t"))), "")
    name, port = _split_port(address)
    return (name, _port(port) or 0) if name else None


# A function has one host most of the time: kept, its reading takes 0.1 µs instead of 0.8, and 7 calls less.
@functools.lru_cache(maxsize=64)
def read_server(host: str, forwarded_port: str, scheme: str, fallback: str = "") -> tuple[str, int] | None:
    """Returns (host, port) from a Host header and ``x-forwarded-port``; None where no host can be told.

    ``fallback`` is the host where there is no Host header, or one that is a malformed IPv6 literal.
    """
    host = host.strip(" \t")
    name, port = _split_port(host)
    if not host or ((":" in name or host.startswith("[")) and not _is_ipv6(name)):
        return read_server(fallback, forwarded_port, scheme) if fallback else None
    if not name:
        return None
    for candidate in (_port(_first(forwarded_port)), _port(port)):
        if candidate is not None:
            return name, candidate
    return name, 80 if scheme == "http" else 443


def _split_port(host: str) -> tuple[str, str]:
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, rest.removeprefix(":")
    if host.count(":") > 1:
        return host, ""  # IPv6 without its brackets
    name, _, port = host.partition(":")
    return name, port


def read_host(host: str, scheme: str) -> tuple[str, int] | None:
    """Returns (host, port) of a host that a proxy names; None for what is not a host as one is written in a URL."""
    name, port = _split_port(host)
    authority = f"[{name}]" if ":" in name else name
    if not name or host not in (authority, f"{authority}:{port}") or (port and _port(port) is None):
        return None
    if not (_is_ipv6(name) if ":" in name else _HOST.issuperset(name)):
        return None
    return read_server(host, "", scheme)


def _is_ipv6(text: str) -> bool:
    from ipaddress import IPv6Address  # hardly any host is an address

    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _port(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535:
        return int(text)
    return None


def _first(listed: str) -> str:
    return listed.partition(",")[0].strip(" \t")
