"""The two ways in which a package does not come about."""

from __future__ import annotations


class UsageError(Exception):
    """Raised when the command makes no sense as it was given; the text says what to change. Exit code 2."""


class Refused(Exception):
    """Raised when the package cannot be made, or would fail on Lambda; the text is the reason. Exit code 1."""
