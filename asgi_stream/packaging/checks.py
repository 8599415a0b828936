"""Why a package would fail on Lambda, read off its files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from asgi_stream.packaging.target import ARCHITECTURES, MB, UNZIPPED_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from asgi_stream.packaging.entries import Entry
    from asgi_stream.packaging.target import Target

_GLIBC = re.compile(rb"GLIBC_2\.(\d+)\0")
_LIBRARY = re.compile(r"\.so(\.[\d.]+)?$")


def refusals(entries: Sequence[Entry], target: Target, layers: int = 0) -> Iterator[str]:
    """Yields the reasons; `layers` is the size in bytes of the layers that go with the function."""
    yield from _not_executable(entries, target)
    yield from _foreign_binaries(entries, target)
    size = sum(entry.size for entry in entries) + layers
    if target.kind != "container" and size > UNZIPPED_LIMIT:
        yield (
            f"unzipped it has {size / MB:.1f} MB{' with its layers' if layers else ''}; Lambda takes 250 MB. "
            "A container image may have 10 GB: --kind container"
        )


def _not_executable(entries: Iterable[Entry], target: Target) -> Iterator[str]:
    programs = {target.layout.bootstrap, target.inside("python/bin/python3")}
    for entry in entries:
        if entry.name in programs and not entry.executable:
            yield f"{entry.name} is not executable, so Lambda cannot start it: chmod +x where it was taken from"


def _foreign_binaries(entries: Iterable[Entry], target: Target) -> Iterator[str]:
    wrong, too_new = [], {}
    for entry in entries:
        with entry.path.open("rb") as file:
            head = file.read(20)
        if head[:4] == b"\x7fELF":
            number = int.from_bytes(head[18:20], "little")
            if number != ARCHITECTURES[target.arch].elf:
                name = next((name for name, arch in ARCHITECTURES.items() if arch.elf == number), f"machine {number}")
                wrong.append(f"{entry.name} ({name})")
            elif (needed := max(map(int, _GLIBC.findall(entry.path.read_bytes())), default=0)) > target.glibc:
                too_new[entry.name] = needed
        elif _LIBRARY.search(entry.name):
            wrong.append(f"{entry.name} (no Linux library)")
    if wrong:
        yield f"the function's architecture is {target.arch}, and these are for another: {_some(wrong)}"
    if too_new:
        names = _some([f"{name} (2.{needed})" for name, needed in too_new.items()])
        yield f"Lambda has glibc 2.{target.glibc} there, and these need a newer one: {names}"


def _some(names: list[str]) -> str:
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest} more" if rest > 0 else "")
