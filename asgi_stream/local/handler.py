"""The name of a handler: what a user types, and what Lambda's `_HANDLER` says."""

from __future__ import annotations


def lambda_handler(spec: str) -> str:
    """Returns `_HANDLER` for `module.path:attribute`; Lambda's form `module.path.attribute` stays as it is.

    Raises ValueError, with a sentence for the user, if `spec` names no module or no attribute.
    """
    module, separator, attribute = spec.rpartition(":") if ":" in spec else spec.rpartition(".")
    if not separator or not module or not attribute or ":" in module:
        raise ValueError(f"{spec!r} names no handler: write module.path:attribute, as in example_app.main:handler")
    return f"{module}.{attribute}"
