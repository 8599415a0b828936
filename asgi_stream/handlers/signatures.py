"""What a function takes, whatever its annotations say."""

from __future__ import annotations

import inspect
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["signature"]


def signature(value: Any) -> inspect.Signature:
    """As inspect's, but no annotation is evaluated: since Python 3.14 they may name what type checkers alone import."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # inspect has imported it

        return inspect.signature(value, annotation_format=Format.STRING)
    return inspect.signature(value)
