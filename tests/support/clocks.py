"""Clocks of a test's own."""

from __future__ import annotations


class Clocks:
    """In place of the module `time`: the wall clock can jump."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000.0
        self.counted = 500.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.counted

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.counted += seconds
