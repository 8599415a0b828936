"""The command line: `asgi-stream dev` and `asgi-stream invoke`.

Exit codes: 0, 1 (it failed), 2 (wrong usage), 130 (`invoke` was ended by a signal).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from asgi_stream._version import __version__
from asgi_stream.local.handler import lambda_handler

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXTRA = ("h11", "starlette", "uvicorn")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command in `arguments` (`sys.argv` without the program if None); returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _dev(options) if options.command == "dev" else _invoke(options)
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
    return parser


def _dev(options: argparse.Namespace) -> int:
    from asgi_stream.local import dev

    return dev.run(options.handler, host=options.host, port=options.port, concurrency=options.concurrency)


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
    return invoke.run(options.handler, request)


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


def _header(text: str) -> tuple[bytes, bytes]:
    name, separator, value = text.partition(":")
    if not separator or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not a header: write 'name: value'")
    return name.strip().encode("latin-1", "replace"), value.strip().encode("latin-1", "replace")


def _data(text: str) -> bytes:
    if not text.startswith("@"):
        return text.encode()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text[1:]!r}: {error.strerror}") from None
