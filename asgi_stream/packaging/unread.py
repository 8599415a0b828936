"""Dependencies that a project declares where pip does not read them: the tables and lock files of other tools.

Without them `[project]` may give other versions, or other packages of the same name from another index.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# For each tool the command that writes its dependencies to a requirements.txt; {} is the file that was found.
_UV = "uv export --no-dev --no-editable --no-emit-project --no-hashes -o requirements.txt"
_POETRY = "poetry export --without-hashes -o requirements.txt (by the plugin poetry-plugin-export)"
_PDM = "pdm export --prod --without-hashes -o requirements.txt"
_PIPENV = "pipenv requirements > requirements.txt"
_COMPILE = "uv pip compile {} -o requirements.txt"
_FREEZE = "uv venv locked && uv pip sync --python locked {} && uv pip freeze --python locked > requirements.txt"

_FILES = {
    "uv.lock": _UV,
    "poetry.lock": _POETRY,
    "pdm.lock": _PDM,
    "Pipfile": _PIPENV,
    "Pipfile.lock": _PIPENV,
    "pylock.toml": _FREEZE,
    "requirements.lock": "sed /^-e/d requirements.lock > requirements.txt",
    "requirements.in": _COMPILE,
}
# In `[tool]`: what changes where a package comes from, which version it has, or what belongs to the dependencies.
_TABLES = {
    ("uv", "sources"): _UV,
    ("uv", "index"): _UV,
    ("uv", "index-url"): _UV,
    ("uv", "extra-index-url"): _UV,
    ("uv", "find-links"): _UV,
    ("uv", "constraint-dependencies"): _UV,
    ("uv", "override-dependencies"): _UV,
    ("poetry", "dependencies"): _POETRY,
    ("poetry", "source"): _POETRY,
    ("pdm", "source"): _PDM,
    ("pdm", "resolution"): _PDM,
}


def unread(requirements: Path | None, project: Path) -> str | None:
    """Returns why the file `requirements` is not all that there is about the dependencies; None if it is.

    It may be a requirements file, a pyproject.toml, or None where there is neither; then `project`, a folder, counts.
    The reason names what is not read, and the command that writes it to a requirements.txt.
    """
    if requirements is not None and requirements.name not in _FILES and requirements.suffix != ".toml":
        return None
    for place, export in _declared(requirements or project / "pyproject.toml"):
        return (
            f"{place} belongs to the project's dependencies, and pip does not read it: other versions, or other "
            "packages of the same name, would be packed. Write a requirements.txt, which is taken instead:\n  "
            + export.format(place)
        )
    return None


def _declared(file: Path) -> Iterator[tuple[str, str]]:
    """Yields what declares dependencies besides the `[project]` of a pyproject.toml, with the command of its tool."""
    if export := _command(file.name):
        yield file.name, export  # the named file itself
    own = _read(file)
    for folder, tables in ((file.parent, own), *_workspaces(file.parent)):
        where = "" if folder == file.parent else f" in {folder}"
        for (tool, table), export in _TABLES.items():
            if _holds(_table(tables, "tool", tool, table)):
                yield f"[tool.{tool}.{table}]{where}", export
        # uv takes this file in place of [tool.uv], except for the sources.
        for (tool, table), export in _TABLES.items():
            if tool == "uv" and _holds(_read(folder / "uv.toml").get(table)):
                yield f"{table} in uv.toml{where}", export
        for path in sorted(folder.iterdir()):
            if (export := _command(path.name)) and path.is_file():
                yield f"{path.name}{where}", export
    if "project" not in own:
        for path in (file.with_name("setup.py"), file.with_name("setup.cfg")):
            if path.is_file() and b"install_requires" in path.read_bytes():
                yield path.name, _COMPILE


def _command(name: str) -> str:
    """Returns the command of the tool whose file this is by its name; an empty text for any other file."""
    return _FILES.get("pylock.toml" if name.startswith("pylock.") and name.endswith(".toml") else name, "")


def _holds(table: Any) -> bool:
    """False also for Poetry's table with nothing but the version of Python."""
    return bool(table) and list(table) != ["python"]


def _workspaces(folder: Path) -> Iterator[tuple[Path, Any]]:
    """Yields the root of the uv workspace that the folder is a member of: its sources and its lock file count too."""
    for parent in folder.parents:
        tables = _read(parent / "pyproject.toml")
        members = _table(tables, "tool", "uv", "workspace", "members") or ()
        if any(folder.relative_to(parent).match(str(pattern)) for pattern in members):
            yield parent, tables


def _table(tables: Any, *keys: str) -> Any:
    for key in keys:
        tables = tables.get(key) if isinstance(tables, dict) else None
    return tables


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
