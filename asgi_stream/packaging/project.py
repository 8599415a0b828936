"""The app's own files: the handler's top-level package or module, and what the user names. Nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from asgi_stream.packaging.errors import Refused, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable


def top_level(project: Path, handler: str) -> Path:
    """Returns the package or module of `module.attribute` in the project's folder. Raises UsageError."""
    name = handler.rpartition(".")[0].replace("/", ".").partition(".")[0]
    folder, module = project / name, project / f"{name}.py"
    # The order in which Python looks; a folder without __init__.py comes last.
    if (folder / "__init__.py").is_file() or (folder.is_dir() and not module.is_file()):
        return folder
    if module.is_file():
        return module
    raise UsageError(
        f"there is neither {name}/ nor {name}.py in {project}: run the command in the folder "
        "from which the handler is imported"
    )


def included(project: Path, path: str) -> Path:
    """Returns the place of a path that the user named. Raises UsageError if it is not in the project."""
    place = Path(os.path.normpath(project / path))
    if not place.exists():
        raise UsageError(f"--include {path}: there is no such file or folder in {project}")
    if place != project and project not in place.parents:
        raise UsageError(f"--include {path}: it is outside the project's folder {project}")
    return place


def copy_app(project: Path, places: Iterable[Path], into: Path, output: Path) -> list[str]:
    """Copies files and folders to the same place below `into`; returns the top-level names. Raises Refused.

    Left out inside a folder: hidden names, `__pycache__`, virtual environments, and the output folder.
    """
    names = set()
    # One place may stand inside another.
    for source in dict.fromkeys(file for place in places for file in _files(place, output)):
        relative = source.relative_to(project)
        target = into / relative
        if target.exists():
            raise Refused(f"{relative} is in the project, and a dependency has brought a file of the same name")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        names.add(relative.parts[0])
    return sorted(names)


def _files(place: Path, output: Path) -> Iterable[Path]:
    if place.is_file():
        yield place
        return
    for path in sorted(place.iterdir()):
        left_out = path.name.startswith(".") or path.name == "__pycache__" or path == output
        if not left_out and not (path / "pyvenv.cfg").is_file():
            yield from _files(path, output)
