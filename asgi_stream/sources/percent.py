"""Percent-encoding of paths and queries: urllib's, where there is anything to encode or decode.

Most requests hold nothing of the kind, and a cold start then need not wait for urllib.parse, the slowest to import of
all that this package uses beside asyncio.
"""

from __future__ import annotations

__all__ = ["quote_path", "quote_query", "unquote"]

# RFC 3986, 3.3: what may stand in a path as it is, beside letters and digits.
PATH_SAFE = "/!$&'()*+,;=:@-._~"
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PATH = frozenset(PATH_SAFE + _LETTERS)
_QUERY = frozenset("-._~" + _LETTERS)


def unquote(text: str) -> str:
    """Decodes a path, once; what is no UTF-8 becomes U+FFFD."""
    if "%" not in text:
        return text
    from urllib.parse import unquote as decode

    return decode(text)


def quote_path(path: str) -> bytes:
    """Percent-encodes a path that was decoded. The original is lost: this is one that decodes to the same."""
    if _PATH.issuperset(path):
        return path.encode("ascii")
    from urllib.parse import quote

    # JSON may carry lone surrogates, which no bytes of a path can be.
    return quote(path.encode("utf-8", "surrogatepass"), safe=PATH_SAFE).encode("ascii")


def quote_query(text: str) -> str:
    """Percent-encodes a name or a value of a query, spaces as ``+``."""
    if _QUERY.issuperset(text):
        return text
    from urllib.parse import quote_plus

    return quote_plus(text.encode("utf-8", "surrogatepass"))
