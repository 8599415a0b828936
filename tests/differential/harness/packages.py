"""The files in `packages/`, and what they say about themselves. Reads them without importing anything of theirs.

    python tests/differential/harness/packages.py

prints what has to be installed for all of them, one requirement a line. `scripts/differential` runs it before anything
is installed.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from pathlib import Path

__all__ = ["FOLDER", "Package", "find_packages", "requirements"]

FOLDER = Path(__file__).resolve().parent.parent / "packages"

# What the harness itself needs.
HARNESS = (
    "h11",
    "httpx",
    "pytest>=8.4",
    "pytest-timeout",
    "pytest-xdist",
    "uvicorn",
    "httptools",
    "brotli",
    "zstandard",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """One file of `packages/`.

    - ``requires``: its `REQUIRES`, the names of what has to be installed from the package index.
    - ``targets``: its `TARGETS`, where its requests go besides `function_url`; see `harness/targets.py`.
    - ``has_deadline``: whether it has `at_the_deadline`, the requests of test_deadline.py.
    - ``volatile``: its `VOLATILE`, regular expressions of what differs from one run to the next, such as a token.
    """

    name: str
    summary: str
    requires: tuple[str, ...]
    targets: tuple[str, ...]
    volatile: tuple[str, ...]
    has_deadline: bool

    @property
    def module(self) -> str:
        return f"tests.differential.packages.{self.name}"


def find_packages() -> dict[str, Package]:
    """Returns the packages by name. Raises ValueError for a file that lacks its docstring or `REQUIRES`."""
    paths = sorted(path for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))
    return {path.stem: _read(path) for path in paths}


def requirements() -> list[str]:
    """Returns everything that has to be installed, without repetitions."""
    named = {name for package in find_packages().values() for name in package.requires}
    return sorted(named | set(HARNESS), key=str.lower)


def _read(path: Path) -> Package:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    constants: dict[str, tuple[str, ...]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            try:
                constants[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    if not summary or not constants.get("REQUIRES"):
        raise ValueError(f"{path} must have a docstring, and REQUIRES with the names of what has to be installed")
    return Package(
        name=path.stem,
        summary=summary,
        requires=tuple(constants["REQUIRES"]),
        targets=("function_url", *constants.get("TARGETS", ())),
        volatile=tuple(constants.get("VOLATILE", ())),
        has_deadline=any(
            isinstance(node, ast.AsyncFunctionDef) and node.name == "at_the_deadline" for node in tree.body
        ),
    )


if __name__ == "__main__":
    sys.stdout.write("".join(f"{requirement}\n" for requirement in requirements()))
