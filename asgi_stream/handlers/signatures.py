"""What a function takes, whatever its annotations say."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from asgi_stream.foreign import shown

__all__ = ["signature"]


def signature(value: Any) -> inspect.Signature:
    """As inspect's, but no annotation is evaluated: since Python 3.14 they may name what type checkers alone import.

    Raises TypeError and ValueError as inspect does, and ValueError where reading the signature raises anything else.
    """
    try:
        if sys.version_info >= (3, 14):
            from annotationlib import Format  # inspect has imported it

            return inspect.signature(value, annotation_format=Format.STRING)
        return inspect.signature(value)
    except (TypeError, ValueError):
        raise
    except BaseException as error:
        raise ValueError(f"the signature cannot be read: {shown(error)}") from error
