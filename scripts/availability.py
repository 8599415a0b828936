"""What the scripts have in common that put a program of AWS's into .cache, or give the reason why there is none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Unavailable(Exception):
    """Raised when the program cannot be had here; the text is the reason."""


def run(provide: Callable[[], None], folder: Path, what: str, version: str, place: Path) -> int:
    """Calls ``provide``; returns the exit code. The reason why there is none is left in ``folder``, for the tests.

    That there is none is a failure with CI=true alone: there, all tests have to run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    why_not = folder / "why-not"
    try:
        provide()
    except Unavailable as reason:
        line = f"{what} is not available: {reason}"
        why_not.write_text(line + "\n", encoding="utf-8")
        print(line)
        return int(os.environ.get("CI") == "true")
    else:
        why_not.unlink(missing_ok=True)
        print(f"{what} {version} is at {place.relative_to(folder.parent.parent)}")
        return 0
