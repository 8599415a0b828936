"""What a package is made for: its kind, the Python version, the architecture; and what Lambda has there.

Sources: the Lambda developer guide, "Lambda runtimes" (which Amazon Linux a runtime runs on) and "Lambda quotas"
(sizes); Amazon Linux's release notes (glibc).
"""

from __future__ import annotations

from typing import NamedTuple

MB = 1024 * 1024
# A zip that is uploaded directly, not by S3; what a function and its layers may have unpacked.
UPLOAD_LIMIT = 50 * MB
UNZIPPED_LIMIT = 250 * MB

VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")  # the last one is a preview


class Layout(NamedTuple):
    """Where things stand: `root` is the folder of the packages in the result, `mounted` the same folder on Lambda."""

    artifact: str
    root: str
    mounted: str
    bootstrap: str


KINDS = {
    "zip": Layout("function.zip", "", "/var/task", "asgi_stream/bootstrap"),
    "provided": Layout("provided.zip", "", "/var/task", "bootstrap"),
    "layer": Layout("layer.zip", "python", "/opt/python", "bootstrap"),
    "container": Layout("container", "app", "/var/task", "app/asgi_stream/bootstrap"),
}


class Architecture(NamedTuple):
    """`machine` is the kernel's and the wheels' name for it, `elf` the number in the head of its binaries."""

    machine: str
    elf: int


ARCHITECTURES = {"x86_64": Architecture("x86_64", 62), "arm64": Architecture("aarch64", 183)}


class Target(NamedTuple):
    """What a package is made for. `version` is Python's, as in `3.13`."""

    kind: str
    version: str
    arch: str

    @property
    def layout(self) -> Layout:
        """Where things stand in this kind of package."""
        return KINDS[self.kind]

    @property
    def glibc(self) -> int:
        """The minor version of glibc 2: python3.11 runs on Amazon Linux 2, all else on Amazon Linux 2023."""
        return 26 if self.version == "3.11" and self.kind != "provided" else 34

    @property
    def machine(self) -> str:
        """As `platform.machine` says it there."""
        return ARCHITECTURES[self.arch].machine

    def inside(self, name: str) -> str:
        """Returns the name in the result of what has this name in the folder of the packages."""
        return f"{self.layout.root}/{name}" if self.layout.root else name
