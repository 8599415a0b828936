"""The command line: `asgi-stream dev`, `asgi-stream invoke` and `asgi-stream package`.

Exit codes: 0, 1 (it failed), 2 (wrong usage), 130 (`invoke` was ended by a signal).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from asgi_stream import __version__
from asgi_stream.local.handler import lambda_handler
from asgi_stream.local.limits import LONGEST_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXTRA = ("h11", "starlette", "uvicorn")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command in `arguments` (`sys.argv` without the program if None); returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return {"dev": _dev, "invoke": _invoke, "package": _package}[options.command](options)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(
            f"asgi-stream: {error.name} is not installed: pip install 'asgi-stream[local]'",
            file=sys.stderr,
        )
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="asgi-stream", description="Run an ASGI app as on AWS Lambda, streaming.")
    parser.add_argument("--version", action="version", version=f"asgi-stream {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    dev = commands.add_parser("dev", help="serve a handler in a local Lambda behind a Function URL")
    dev.add_argument("handler", type=_handler, metavar="HANDLER", help="module.path:attribute")
    dev.add_argument("--port", type=_port, default=9000, help="0 chooses a free one (default: %(default)s)")
    dev.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    dev.add_argument(
        "--concurrency",
        type=_positive,
        default=10,
        metavar="N",
        help="execution environments at most (default: %(default)s)",
    )

    invoke = commands.add_parser("invoke", help="run one request and show each chunk as it arrives")
    invoke.add_argument("handler", type=_handler, metavar="HANDLER", help="module.path:attribute")
    invoke.add_argument("path", metavar="PATH", help="path, with its query, as in /search?q=1")
    invoke.add_argument("--method", default=None, help="default: GET, or POST with --data")
    invoke.add_argument("--header", action="append", default=[], type=_header, metavar="'NAME: VALUE'")
    invoke.add_argument("--data", default=None, type=_data, metavar="TEXT|@FILE", help="the request's body")

    for command in (dev, invoke):
        command.add_argument(
            "--timeout",
            type=_timeout,
            default=LONGEST_TIMEOUT,
            metavar="SECONDS",
            help=f"the function's timeout, after which it is killed as on Lambda (default: {LONGEST_TIMEOUT:g}, "
            "the longest; a function on Lambda has 3 where none is set)",
        )
    _add_package(commands.add_parser("package", help="make what Lambda wants: a zip, a layer, a container's context"))
    return parser


def _add_package(package: argparse.ArgumentParser) -> None:
    package.add_argument(
        "handler", type=_handler, nargs="?", metavar="HANDLER", help="module.path:attribute; none for a layer"
    )
    package.add_argument("-o", "--output", default="build", metavar="DIR", help="default: %(default)s")
    package.add_argument(
        "--kind",
        choices=("zip", "provided", "layer", "container"),
        default="zip",
        help="for a managed Python, for provided.al2023, for many functions, for an image (default: %(default)s)",
    )
    package.add_argument("--python-version", metavar="3.X", help="default: that of the Python which runs this")
    package.add_argument("--arch", choices=("x86_64", "arm64"), default="x86_64", help="default: %(default)s")
    package.add_argument(
        "--requirements", metavar="FILE", help="default: requirements.txt, else the dependencies in pyproject.toml"
    )
    package.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PATH",
        help="a file or folder beside the handler's top-level package or module; may be repeated",
    )
    package.add_argument("--python", metavar="DIR", help="a relocatable CPython, for provided")
    package.add_argument(
        "--layer",
        action="append",
        default=[],
        metavar="FILE",
        help="a layer's zip that goes with the function: its dependencies are left out; may be repeated",
    )
    package.add_argument("--installer", choices=("pip", "uv"), help="default: pip, or uv where there is no pip")
    package.add_argument("--force", action="store_true", help="make the package though it would fail on Lambda")


def _dev(options: argparse.Namespace) -> int:
    from asgi_stream.local import dev

    return dev.run(
        options.handler,
        host=options.host,
        port=options.port,
        concurrency=options.concurrency,
        timeout=options.timeout,
    )


def _invoke(options: argparse.Namespace) -> int:
    from asgi_stream.local import invoke
    from asgi_stream.local.function_url import Request

    path, _, query = options.path.partition("?")
    body = b"" if options.data is None else options.data
    headers = list(options.header)
    present = {name.lower() for name, _ in headers}
    if b"host" not in present:
        headers.append((b"host", b"localhost"))
    if body and b"content-length" not in present:
        headers.append((b"content-length", str(len(body)).encode("ascii")))
    request = Request(
        method=options.method or ("GET" if options.data is None else "POST"),
        raw_path=_target(path if path.startswith("/") else f"/{path}"),
        query=_target(query),
        headers=headers,
        body=body,
    )
    return invoke.run(options.handler, request, options.timeout)


def _package(options: argparse.Namespace) -> int:
    from asgi_stream.packaging import command

    return command.run(
        command.Options(
            handler=lambda_handler(options.handler) if options.handler else None,
            output=options.output,
            kind=options.kind,
            version=options.python_version,
            arch=options.arch,
            requirements=options.requirements,
            include=options.include,
            python=options.python,
            layers=options.layer,
            installer=options.installer,
            force=options.force,
        )
    )


def _target(text: str) -> bytes:
    """Encodes what may not stand in a request line, and leaves what is encoded."""
    return quote(text, safe="!$%&'()*+,/:;=?@[]~-._").encode("ascii")


def _handler(text: str) -> str:
    try:
        lambda_handler(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_TIMEOUT:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a timeout (seconds, above 0 and at most {LONGEST_TIMEOUT:g})"
        )
    return seconds


def _header(text: str) -> tuple[bytes, bytes]:
    name, separator, value = text.partition(":")
    if not separator or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not a header: write 'name: value'")
    return name.strip().encode("latin-1", "replace"), value.strip(" \t").encode("latin-1", "replace")


def _data(text: str) -> bytes:
    if not text.startswith("@"):
        return text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text[1:]!r}: {error.strerror}") from None
