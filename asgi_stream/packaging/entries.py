"""The files of a package as a sorted list, and the two forms in which they are written: a zip, a folder."""

from __future__ import annotations

import os
import shutil
import stat
import time
import zipfile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

# The first time that a zip can hold, 1980-01-01.
EARLIEST = 315532800


class Entry(NamedTuple):
    """A file: its name in the package, its place now, whether it may be run, its size in bytes."""

    name: str
    path: Path
    executable: bool
    size: int

    @property
    def mode(self) -> int:
        """Its permissions: readable by everyone, for Lambda runs a function as a user of its own."""
        return 0o755 if self.executable else 0o644


def collect(folder: Path) -> list[Entry]:
    """Returns the files below a folder, sorted by name."""
    entries = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            status = os.stat(path)
            entries.append(
                Entry(
                    os.path.relpath(path, folder).replace(os.sep, "/"),
                    folder.joinpath(os.path.relpath(path, folder)),
                    bool(status.st_mode & stat.S_IXUSR),
                    status.st_size,
                )
            )
    return sorted(entries)


def timestamp(environ: Mapping[str, str]) -> int:
    """Returns the time of every file, in seconds since the epoch: SOURCE_DATE_EPOCH, else 1980-01-01."""
    text = environ.get("SOURCE_DATE_EPOCH", "")
    return max(int(text), EARLIEST) if text.isdecimal() else EARLIEST


def write_zip(entries: Iterable[Entry], path: Path, when: int) -> None:
    """Writes a zip."""
    date = time.gmtime(when)[:6]
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        for entry in entries:
            info = zipfile.ZipInfo(entry.name, date)
            info.create_system = 3  # Unix, whatever this machine is: the permissions count
            info.external_attr = (stat.S_IFREG | entry.mode) << 16
            archive.writestr(info, entry.path.read_bytes(), zipfile.ZIP_DEFLATED)


def write_folder(entries: Iterable[Entry], folder: Path, when: int) -> None:
    """Writes a folder."""
    folder.mkdir()
    for entry in entries:
        place = folder / entry.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(entry.path, place)
        place.chmod(entry.mode)
        os.utime(place, (when, when))
    for parent, _, _ in os.walk(folder, topdown=False):
        os.chmod(parent, 0o755)  # noqa: S103 - Lambda reads it as another user
        os.utime(parent, (when, when))


def largest(entries: Sequence[Entry], root: str, count: int = 5) -> list[tuple[str, int]]:
    """Returns names and sizes of the largest packages: the first level below `root`."""
    sizes: dict[str, int] = {}
    for entry in entries:
        name = entry.name.removeprefix(f"{root}/" if root else "").partition("/")[0]
        sizes[name] = sizes.get(name, 0) + entry.size
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:count]
