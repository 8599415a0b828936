"""Puts AWS's own Node.js runtime at .cache/node/aws-lambda-ric, for tests/node.

It is the npm package of that name, built on this machine. Where that cannot be done, one line gives the reason and the
tests that need it skip with that line; with CI=true this is a failure. It takes about a minute, and is done once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from availability import Unavailable, run

VERSION = "3.3.0"
FOLDER = Path(__file__).resolve().parent.parent / ".cache" / "node"
RUNTIME = FOLDER / "aws-lambda-ric"
MARK = FOLDER / "version"

# What the package's own scripts call; any one of several names will do.
TOOLS = (
    ("node",),
    ("npm",),
    ("autoconf",),
    ("automake",),
    ("libtoolize",),
    ("cmake", "cmake3"),
    ("make",),
    ("c++", "g++"),
)
TIME_LIMIT = 600.0  # seconds; a minute or two where nothing else runs
OLDEST_NODE = 18


def provide() -> None:
    """Leaves the package in its place. Raises Unavailable."""
    missing = [" or ".join(names) for names in TOOLS if not any(map(shutil.which, names))]
    if sys.platform != "linux":
        raise Unavailable("it builds on Linux alone")
    if missing:
        raise Unavailable(f"it is built with {', '.join(missing)}, not installed here")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if not version[1:].split(".")[0].isdigit() or int(version[1:].split(".")[0]) < OLDEST_NODE:
        raise Unavailable(f"it wants Node.js {OLDEST_NODE} or newer; node says {version!r}")
    # The native part is bound to the Node.js that it was built for.
    mark = f"{VERSION} {version}"
    if RUNTIME.is_dir() and MARK.is_file() and MARK.read_text(encoding="utf-8") == mark:
        return
    print(f"Building AWS's Node.js runtime (aws-lambda-ric {VERSION}) …", flush=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as temporary:
        built = build(Path(temporary))
        # The mark comes last: whatever stops this half-way is made good by the next run.
        MARK.unlink(missing_ok=True)
        shutil.rmtree(RUNTIME, ignore_errors=True)
        RUNTIME.mkdir()
        for part in ("bin", "dist"):
            (built / part).replace(RUNTIME / part)
        (built / "package.json").replace(RUNTIME / "package.json")
        new_mark = Path(temporary) / "mark"
        new_mark.write_text(mark, encoding="utf-8")
        new_mark.replace(MARK)


def build(folder: Path) -> Path:
    """Returns the package, installed. Raises Unavailable."""
    (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
    command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", f"aws-lambda-ric@{VERSION}"]
    env = {**os.environ, "MAKEFLAGS": f"-j{os.cpu_count() or 1}"}
    # A session of its own, so that a build that takes too long can be ended with all that it has started.
    with subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            _, errors = process.communicate(timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            raise Unavailable(f"its build was not done after {TIME_LIMIT:.0f} seconds") from None
    package = folder / "node_modules" / "aws-lambda-ric"
    if process.returncode or not (package / "dist" / "rapid-client.node").is_file():
        lines = [line for line in errors.splitlines() if line.strip()]
        raise Unavailable(f"npm could not install it: {lines[0] if lines else 'it gave no reason'}")
    return package


if __name__ == "__main__":
    sys.exit(run(provide, FOLDER, "AWS's Node.js runtime", f"(aws-lambda-ric {VERSION})", RUNTIME))
