"""Puts AWS's own Lambda emulator at .cache/emulator/aws-lambda-rie, for tests/conformance.

The binary comes out of the wheel of aws-sam-cli, through pip and whatever index pip is set up with. Where it cannot be
had, one line gives the reason and the tests that need it skip with that line; with CI=true this is a failure.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from availability import Unavailable, run

VERSION = "1.170.0"
FOLDER = Path(__file__).resolve().parent.parent / ".cache" / "emulator"
BINARY = FOLDER / "aws-lambda-rie"
MARK = FOLDER / "version"

ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def provide() -> None:
    """Leaves the binary in its place. Raises Unavailable."""
    architecture = ARCHITECTURES.get(platform.machine().lower())
    if sys.platform != "linux" or architecture is None:
        raise Unavailable(f"it runs on Linux, x86_64 or arm64; this is {platform.system()} on {platform.machine()}")
    mark = f"{VERSION} {architecture}"
    if os.access(BINARY, os.X_OK) and MARK.is_file() and MARK.read_text(encoding="utf-8") == mark:
        return
    # In the folder itself, so that os.replace stays within one file system.
    with tempfile.TemporaryDirectory(dir=FOLDER) as temporary:
        unpacked = unpack(download(Path(temporary)), f"samcli/local/rapid/aws-lambda-rie-{architecture}")
        unpacked.chmod(0o755)
        # The mark comes last: whatever stops this half-way is made good by the next run.
        MARK.unlink(missing_ok=True)
        unpacked.replace(BINARY)
        new_mark = Path(temporary) / "mark"
        new_mark.write_text(mark, encoding="utf-8")
        new_mark.replace(MARK)


def download(folder: Path) -> Path:
    """Returns the wheel. Raises Unavailable."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--retries=2", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(folder), f"aws-sam-cli=={VERSION}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        raise Unavailable(
            f"pip could not download aws-sam-cli {VERSION}: {lines[-1] if lines else 'it gave no reason'}"
        )
    return wheels[0]


def unpack(wheel: Path, member: str) -> Path:
    """Returns the binary beside the wheel. Raises Unavailable."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(member, wheel.parent))
    except (KeyError, zipfile.BadZipFile) as error:
        raise Unavailable(f"{wheel.name} does not hold {member}: {error}") from None


if __name__ == "__main__":
    sys.exit(run(provide, FOLDER, "AWS's emulator", f"(of aws-sam-cli {VERSION})", BINARY))
