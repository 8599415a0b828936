"""What the local Lambda tells its user: results on stdout, trouble on stderr, each line at once."""

from __future__ import annotations

import sys


def tell(text: str) -> None:
    """Prints to stdout."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Prints trouble to stderr."""
    print(text, file=sys.stderr, flush=True)
