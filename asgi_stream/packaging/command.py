"""`asgi-stream package`: builds the folder, checks it, writes the result, says what is in it.

What was made goes to stdout, warnings and refusals to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from asgi_stream import __version__
from asgi_stream.packaging import checks, dependencies, interpreter, own, project
from asgi_stream.packaging.entries import collect, largest, timestamp, write_folder, write_zip
from asgi_stream.packaging.errors import Refused, UsageError
from asgi_stream.packaging.target import MB, UPLOAD_LIMIT, VERSIONS, Target
from asgi_stream.packaging.unread import unread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asgi_stream.packaging.entries import Entry
    from asgi_stream.packaging.interpreter import Interpreter

_CONTEXT_MARK = "# Made by asgi-stream package; it is replaced when the command runs again.\n"
# In AWS's managed runtimes and base images, in versions of AWS's choice.
_AWS_HAS = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")


class Options(NamedTuple):
    """What the user wants. `handler` is `module.attribute`, or None for a layer; paths are relative to our folder."""

    handler: str | None
    output: str
    kind: str
    version: str | None
    arch: str
    requirements: str | None
    include: Sequence[str]
    python: str | None
    layers: Sequence[str]
    installer: str | None
    force: bool


def run(options: Options) -> int:
    """Makes a package. Returns the exit code: 0, 1 if it was refused, 2 for wrong usage, 130 after a signal."""
    with _interruptible():
        return _run(options)


def _run(options: Options) -> int:
    try:
        _Package(options).make()
    except UsageError as error:
        print(f"asgi-stream package: error: {error}", file=sys.stderr)
        return 2
    except (Refused, OSError) as error:
        print(f"asgi-stream package: refused: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


class _Package:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.project = Path.cwd()
        self.output = Path(os.path.normpath(self.project / options.output))
        # Told before anything is made.
        self.comes_along = self._python_that_comes_along()
        self.target = Target(options.kind, self._version(), options.arch)
        if (options.kind == "layer") == (options.handler is not None):
            raise UsageError(
                "a layer holds no app: leave the handler out"
                if options.handler
                else "name the handler, as in main:handler"
            )
        if options.layers and options.kind != "zip":
            raise UsageError("--layer goes with --kind zip: the function whose dependencies are in the layer")
        if options.layers and options.requirements:
            raise UsageError("--layer goes without --requirements: the dependencies come from the layer")
        self.places = [project.included(self.project, path) for path in options.include]
        if options.handler:
            self.places.insert(0, project.top_level(self.project, options.handler))
        self.requirements = None if options.layers else dependencies.requirements(self.project, options.requirements)

    def make(self) -> None:
        """Makes the package and tells what is in it. Raises Refused."""
        with _work_folder(self.output) as work:
            tree, scratch = work / "tree", work / "scratch"
            packages = tree / self.target.layout.root
            packages.mkdir(parents=True)
            scratch.mkdir()
            python = interpreter.find(self.target)
            _tell(
                "package",
                f"{self._handler}, {self.options.kind} for Python {self.target.version} on {self.target.arch}",
            )
            if not self.options.layers:
                self._install(packages, scratch, python)
                self._warn_of_other_copies(own.copy_own(packages))
            if self.places:
                names = project.copy_app(self.project, self.places, packages, self.output)
                _tell("app", " ".join(names))
            if self.comes_along:
                interpreter.copy_python(self.comes_along, self.target.version, packages / "python")
            self._starts(tree, packages)
            python = self._interpreter(python, packages)
            self._compile(packages, python)
            entries = collect(tree)
            layers = [self._unpacked(Path(layer), scratch / f"layer{n}") for n, layer in enumerate(self.options.layers)]
            in_layers = sum(entry.size for layer in layers for entry in collect(layer))
            for reason in checks.refusals(entries, self.target, in_layers):
                self._refuse(reason)
            made = self._write(entries, scratch)
            # After the bytes have been read: an app may write in its own folder when it is imported.
            self._import(python, [packages, *(layer / "python" for layer in layers)], scratch)
            self._put_in_place(made, entries, in_layers)

    @property
    def _handler(self) -> str:
        return self.options.handler or "dependencies"

    def _python_that_comes_along(self) -> Path | None:
        if self.options.python is None:
            if self.options.kind == "provided":
                raise UsageError("--kind provided needs --python DIR: provided.al2023 has no Python")
            return None
        if self.options.kind not in ("provided", "layer"):
            raise UsageError(f"--python goes with --kind provided or layer: a {self.options.kind} runs on AWS's Python")
        return Path(self.project / self.options.python)

    def _version(self) -> str:
        wanted = self.options.version
        if self.comes_along:
            there = interpreter.version_of(self.comes_along)
            if wanted not in (None, there):
                raise UsageError(f"--python-version {wanted}: the Python in {self.comes_along} is {there}")
            return there
        version = wanted or f"{sys.version_info[0]}.{sys.version_info[1]}"
        if version not in VERSIONS:
            raise UsageError(f"Lambda has no managed Python {version}: --python-version {', '.join(VERSIONS)}")
        return version

    def _install(self, packages: Path, scratch: Path, python: Interpreter | None) -> None:
        if reason := unread(self.requirements, self.project):
            self._refuse(reason)
        if self.requirements is None:
            _tell("requirements", "none: there is neither a requirements.txt nor a pyproject.toml")
            return
        by = dependencies.installer(self.options.installer)
        if by == "pip" and not (python and python.native):
            _warn(
                f"pip reads environment markers (python_version, platform_machine) off this machine, "
                f"{interpreter.here()}, not off the target; --installer uv does better"
            )
        own.write_wheel(scratch / "wheels")
        file = dependencies.as_requirements_file(self.requirements, scratch)
        command = dependencies.command(by, self.target, python, packages)
        dependencies.install(command, file, scratch / "wheels", self.project)
        dependencies.prune(packages, python)
        found = [name for name in dependencies.installed(packages) if not name.startswith("asgi_stream ")]
        _tell("requirements", f"{self.requirements.name}, by {by}: {', '.join(found) or 'nothing'}")

    def _warn_of_other_copies(self, gone: Sequence[Path]) -> None:
        for path in gone:
            _warn(f"the requirements gave {path.stem}; the package has the copy that runs this command, {__version__}")

    def _starts(self, tree: Path, packages: Path) -> None:
        """Puts what Lambda starts to its place."""
        bootstrap = tree / self.target.layout.bootstrap
        if not bootstrap.exists() and not self.options.layers:
            shutil.copy(packages / "asgi_stream" / "bootstrap", bootstrap)
        if self.options.kind == "container":
            (tree / "Dockerfile").write_text(
                f"{_CONTEXT_MARK}"
                f"FROM public.ecr.aws/lambda/python:{self.target.version}-{self.target.arch}\n"
                f"COPY app/ {self.target.layout.mounted}/\n"
                f'ENTRYPOINT ["{self.target.layout.mounted}/asgi_stream/bootstrap"]\n'
                f"CMD {json.dumps([self.options.handler])}\n",
                encoding="utf-8",
            )

    def _interpreter(self, python: Interpreter | None, packages: Path) -> Interpreter | None:
        """Returns the Python that comes along, where it runs here: it is what will run on Lambda."""
        if self.comes_along is None:
            return python
        program = packages / "python" / "bin" / "python3"
        found = interpreter.describe(str(program), self.target)
        if found is None and python and python.native:
            self._refuse(f"the Python in {self.comes_along} does not run from another folder: it is not relocatable")
        return found or python

    def _compile(self, packages: Path, python: Interpreter | None) -> None:
        if python is None:
            _warn(
                f"no Python {self.target.version} is on this machine: the package has no bytecode, and each cold start "
                "compiles what it imports"
            )
            return
        program = [python.path, *interpreter.ISOLATED, "-W", "ignore", str(Path(__file__).with_name("_compile.py"))]
        run = subprocess.run(
            [*program, str(packages), self.target.layout.mounted],
            env=interpreter.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise Refused(f"the bytecode could not be made by {python.path}:\n{run.stderr.strip()}")
        result = json.loads(run.stdout)
        failed = f"; not compiled: {', '.join(result['failed'])}" if result["failed"] else ""
        _tell("bytecode", f"{result['compiled']} files, unchecked hashes, by Python {python.version}{failed}")

    def _import(self, python: Interpreter | None, folders: Sequence[Path], scratch: Path) -> None:
        """Imports the handler with nothing but the package in reach."""
        if python is None or not python.native:
            _warn(
                f"the handler's import was not tried: this machine ({interpreter.here()}) has no Python "
                f"{self.target.version} for Linux on {self.target.machine}"
            )
            return
        report = scratch / "import.json"
        program = [python.path, *interpreter.ISOLATED, str(Path(__file__).with_name("_import.py"))]
        run = subprocess.run(
            [*program, str(report), self.options.handler or "", *map(str, folders)],
            env=interpreter.environment(
                LAMBDA_TASK_ROOT=str(folders[0]),
                _HANDLER=self.options.handler or "",
                AWS_LAMBDA_FUNCTION_NAME="function",
                AWS_REGION=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
            ),
            cwd=folders[0],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        how = f"with the package alone, by Python {python.version}"
        if not report.is_file():
            self._refuse(
                f"the import of {self._handler} {how}, ended with status {run.returncode}:\n{run.stderr.strip()}"
            )
            return
        result = json.loads(report.read_text(encoding="utf-8"))
        if "error" not in result:
            _tell("import", f"{self.options.handler or 'the runtime'} {how}: {result['seconds']:.2f} s")
            return
        stack = "".join(result["stack"]).replace(str(folders[0]), self.target.layout.mounted).rstrip()
        reason = "\n".join(filter(None, (f"{self._handler} cannot be imported {how}:", stack, result["error"])))
        if (result["missing"] or "").partition(".")[0] in _AWS_HAS and self.options.kind in ("zip", "container"):
            _warn(
                f"{reason}\nAWS's Python has it, in a version that AWS chooses; to choose it, name it as a requirement"
            )
        else:
            where = os.path.relpath(self.requirements, self.project) if self.requirements else "a requirements.txt"
            self._refuse(
                f"{reason}\nName a package that is missing in {'the layer' if self.options.layers else where}, "
                "a file by --include; set the variables that the app reads"
            )

    def _write(self, entries: Sequence[Entry], scratch: Path) -> Path:
        made = scratch / self.target.layout.artifact
        write = write_folder if self.options.kind == "container" else write_zip
        write(entries, made, timestamp(os.environ))
        return made

    def _put_in_place(self, made: Path, entries: Sequence[Entry], in_layers: int) -> None:
        layout = self.target.layout
        place = self.output / layout.artifact
        unzipped = f"unzipped {_size(sum(entry.size for entry in entries))}"
        if in_layers:
            unzipped += f" and {_size(in_layers)} in layers"
        biggest = ", ".join(f"{name} {_size(size)}" for name, size in largest(entries, layout.root))
        if self.options.kind == "container":
            old = made.with_name("old")
            if place.exists():
                if not _is_context(place):
                    raise Refused(f"{place} is in the way, and this command has not made it")
                place.rename(old)
            made.rename(place)
            _tell("size", f"{unzipped}; a container image may have 10 GB")
        else:
            size = made.stat().st_size
            made.replace(place)
            _tell("size", f"zipped {_size(size)} of 50 MB, {unzipped} of 250 MB")
            if size > UPLOAD_LIMIT:
                _warn("it is larger than the 50 MB that can be uploaded directly: upload it by S3")
        _tell("largest", biggest)
        _tell("made", str(place))
        for line in self._next_steps():
            _tell("", line)

    def _next_steps(self) -> Iterator[str]:
        """What has to be set on Lambda."""
        runtime = "provided.al2023" if self.comes_along else f"python{self.target.version}"
        if self.options.kind == "container":
            platform = "linux/amd64" if self.options.arch == "x86_64" else "linux/arm64"
            yield f"docker build --platform {platform} --provenance=false {self.output / self.target.layout.artifact}"
        elif self.options.kind == "layer":
            yield f"compatible runtime {runtime}, architecture {self.options.arch}"
            if not self.comes_along:
                yield "on each function: AWS_LAMBDA_EXEC_WRAPPER=/opt/bootstrap"
        else:
            yield f"runtime {runtime}, architecture {self.options.arch}, handler {self.options.handler}"
            if self.options.kind == "zip":
                wrapper = "/opt/bootstrap" if self.options.layers else f"/var/task/{self.target.layout.bootstrap}"
                yield f"AWS_LAMBDA_EXEC_WRAPPER={wrapper}"

    def _unpacked(self, layer: Path, into: Path) -> Path:
        try:
            with zipfile.ZipFile(layer) as archive:
                archive.extractall(into)
        except (OSError, zipfile.BadZipFile) as error:
            raise Refused(f"--layer {layer} cannot be read: {error}") from None
        return into

    def _refuse(self, reason: str) -> None:
        """Raises Refused; warns only if the user has said --force."""
        if not self.options.force:
            raise Refused(reason)
        _warn(f"{reason}\n(made all the same: --force)")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does: a child that it waits for is killed, and nothing is left."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = [(number, signal.signal(number, interrupt)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    """A folder for the work, inside the output folder so that a rename is enough. Leaves nothing but a result."""
    new = [folder for folder in (output, *output.parents) if not folder.exists()]
    output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".package-", dir=output) as work:
            yield Path(work)
    finally:
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _is_context(folder: Path) -> bool:
    file = folder / "Dockerfile"
    return file.is_file() and file.read_text(encoding="utf-8").startswith(_CONTEXT_MARK)


def _size(size: int) -> str:
    return f"{size / MB:.1f} MB"


def _tell(label: str, text: str) -> None:
    print(f"{label:<13} {text}", flush=True)


def _warn(text: str) -> None:
    print(f"asgi-stream package: warning: {text}", file=sys.stderr, flush=True)
