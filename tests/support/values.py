"""Values of the package that have no ``==``, compared by what is in them."""

from __future__ import annotations

from typing import Any


def fields(value: Any) -> tuple[type, dict[str, Any]]:
    """Returns the class of a slotted object, and its attributes by name."""
    return type(value), {name: getattr(value, name) for name in type(value).__slots__}
