"""The differences from uvicorn that are not faults. A difference that no row here excuses fails the suite.

README.md in the folder above shows the same rows; a test compares the two.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from typing import TYPE_CHECKING

from tests.differential.harness.client import HOST
from tests.differential.harness.targets import BUFFERED

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.differential.harness.records import Response

__all__ = ["DIFFERENCES", "EXCEPTION", "Difference", "Finding", "explain", "table"]

# RFC 9110, 7.6.1, and what a Function URL drops besides.
HOP_BY_HOP = ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
OF_THE_FRONT_END = tuple(
    f"request header {name}" for name in ("x-forwarded-for", "x-forwarded-port", "x-forwarded-proto", "x-amzn-trace-id")
)
# Of uvicorn's socket; and of the local Lambda's, whose port is in the event.
ADDRESS = re.compile(rf"127\.0\.0\.1:\d+|{re.escape(HOST)}:\d+")
EXCEPTION = "exception that left the app"
OF_THE_SERVER = ("date", "server")
REMAPPED = "x-amzn-remapped-"
RENAMED = ("authorization", "content-md5", "max-forwards", "user-agent", "www-authenticate")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One field of a response that differs: what uvicorn gave, and what came through Lambda (None: nothing)."""

    field: str
    uvicorn: str | None
    ours: str | None
    target: str
    one: Response  # uvicorn's
    other: Response

    @property
    def header(self) -> str | None:
        """The name of the header that differs, None if it is something else."""
        return self.field.removeprefix("header ") if self.field.startswith("header ") else None


@dataclasses.dataclass(frozen=True)
class Difference:
    """A row: what differs, why that is right, where that is written, and which findings it is."""

    name: str
    reason: str
    source: str
    excuses: Callable[[Finding], bool]


def explain(finding: Finding) -> Difference | None:
    """Returns the row that a finding belongs to, None for a fault."""
    return next((row for row in DIFFERENCES if row.excuses(finding)), None)


def _streamed_length(finding: Finding) -> bool:
    """The same number under the other name."""
    if finding.target in BUFFERED or finding.header not in ("content-length", "x-amzn-remapped-content-length"):
        return False
    lengths = finding.one.header("content-length"), finding.other.header("x-amzn-remapped-content-length")
    whole = str(len(finding.one.body)), str(len(finding.other.body))
    return lengths[0] == lengths[1] or lengths == whole


def _renamed(finding: Finding) -> bool:
    """The same value under the other name."""
    name = (finding.header or "").removeprefix(REMAPPED)
    if name not in RENAMED or not finding.target.startswith("rest_api"):
        return False
    return finding.one.values(name) == finding.other.values(REMAPPED + name) and not finding.other.values(name)


def _address(finding: Finding) -> bool:
    """An app shows the address of uvicorn's socket where it shows the Host header's here."""
    if finding.field.endswith("scope[server]"):
        return finding.ours is not None and bool(json.loads(finding.ours)[0] == HOST)
    one, other = (ADDRESS.sub(HOST, text or "") for text in (finding.uvicorn, finding.ours))
    return finding.field == "body" and one == other


def _client_port(finding: Finding) -> bool:
    if not finding.field.endswith("scope[client]") or not finding.uvicorn or not finding.ours:
        return False
    one, other = json.loads(finding.uvicorn), json.loads(finding.ours)
    return bool(one[0] == other[0] and other[1] == 0)


def _length_of_a_page(finding: Finding) -> bool:
    """A buffered answer has the length of its body, or leaves it to the gateway."""
    return finding.target in BUFFERED and finding.header == "content-length" and finding.uvicorn is None


def _failed_stream(finding: Finding) -> bool:
    return (
        finding.target == "local"
        and finding.field == "end"
        and (finding.uvicorn, finding.ours) == ("cut", "complete")
        and finding.one.body == finding.other.body
    )


def _failed_buffered(finding: Finding) -> bool:
    """Nothing has been sent when the app fails, so the client gets the error instead of a part."""
    failed = finding.target in BUFFERED and finding.one.ended == "cut"
    return failed and finding.other.status == 500 and finding.other.body == b"Internal Server Error"


DIFFERENCES = (
    Difference(
        "`date` and `server` are missing, or another server's",
        "They belong to the server that answers the client: on Lambda that is AWS's front end, which writes its own.",
        "RFC 9110, 6.6.1 and 10.2.4",
        lambda finding: (finding.header or "").removeprefix(REMAPPED) in OF_THE_SERVER,
    ),
    Difference(
        "`transfer-encoding` and other hop-by-hop headers are missing",
        "They describe one connection, and the app's response is not framed on the client's connection.",
        "RFC 9110, 7.6.1",
        lambda finding: finding.header in HOP_BY_HOP,
    ),
    Difference(
        "`content-length` of a streamed response is named `x-amzn-remapped-content-length`",
        "Lambda streams each response in chunks and renames the header.",
        "AWS Lambda Developer Guide, Function URLs, response headers",
        _streamed_length,
    ),
    Difference(
        "Behind a REST API some response headers are named `x-amzn-remapped-`, such as `www-authenticate`",
        "API Gateway renames them on their way to the client.",
        "Amazon API Gateway Developer Guide, Important notes for REST APIs; docs/event-sources.md",
        _renamed,
    ),
    Difference(
        "`server` in the scope is the Host header, not the address of a socket",
        "A function listens on no port; what the client asked for is all that an event has.",
        "ASGI specification, HTTP, Connection Scope (`server`); docs/event-sources.md",
        _address,
    ),
    Difference(
        "The port of `client` in the scope is 0",
        "An event has the client's address without its port.",
        "AWS Lambda Developer Guide, Function URLs, request payload; docs/event-sources.md",
        _client_port,
    ),
    Difference(
        "An app gets `x-forwarded-for`, `-port`, `-proto` and `x-amzn-trace-id`",
        "Lambda's front end and the gateways write them, in place of what a client sends under these names.",
        "AWS Lambda Developer Guide, Function URLs, request payload; docs/event-sources.md, Tracing",
        lambda finding: finding.field.endswith(OF_THE_FRONT_END) and finding.uvicorn == "null",
    ),
    Difference(
        "The scope has `extensions`, `aws.event` and `aws.context`",
        "`extensions` is optional and empty here; the other two are for apps that are made for Lambda.",
        "ASGI specification, Extensions; docs/behavior.md, The request",
        lambda finding: (
            finding.field.endswith(("scope[aws.event]", "scope[aws.context]"))
            or (finding.field.endswith("scope[extensions]") and (finding.uvicorn, finding.ours) == ("null", "{}"))
        ),
    ),
    Difference(
        "The white space between two cookies of a request is one space",
        "An event has a list of cookies.",
        "AWS Lambda Developer Guide, Function URLs, request payload; docs/event-sources.md",
        lambda finding: (
            finding.field.endswith("request header cookie")
            and re.sub(r";\s*", "; ", finding.uvicorn or "") == finding.ours
        ),
    ),
    Difference(
        "A buffered response may have a `content-length` where uvicorn sends chunks",
        "The whole body is known before its first byte is sent.",
        "RFC 9110, 8.6",
        _length_of_a_page,
    ),
    Difference(
        "A response of status 204 has no `content-length`",
        "It must not have one, and uvicorn passes on what the app sends.",
        "RFC 9110, 8.6",
        lambda finding: (
            finding.one.status == finding.other.status == 204
            and finding.header == "content-length"
            and not finding.ours
        ),
    ),
    Difference(
        "A message that ASGI does not allow raises `AppError`, where uvicorn raises `RuntimeError`",
        "`AppError` is a `RuntimeError`, whose sentence names the rule.",
        "ASGI specification, HTTP; docs/behavior.md, The app's messages",
        lambda finding: finding.field == EXCEPTION and (finding.uvicorn, finding.ours) == ("RuntimeError", "AppError"),
    ),
    Difference(
        "An app that returns in mid-stream has failed with `AppError`",
        "Lambda gets an error for a response that is not whole; uvicorn writes a line into its log.",
        "ASGI specification, HTTP, Response Body; docs/behavior.md, Errors",
        lambda finding: (
            finding.field == EXCEPTION
            and (finding.uvicorn, finding.ours) == ("none", "AppError")
            and finding.one.ended == finding.other.ended == "cut"
        ),
    ),
    Difference(
        "A stream that fails ends cleanly for the client of the local Lambda",
        "A Function URL ends a failed stream as if it were complete; the error is in the trailers and the log.",
        "AWS Lambda Developer Guide, response streaming; docs/behavior.md, Errors",
        _failed_stream,
    ),
    Difference(
        "A buffered response that fails in mid-stream is a page of status 500",
        "Nothing has reached the client when the app fails.",
        "docs/behavior.md, Where the answer is buffered",
        _failed_buffered,
    ),
)


def table() -> str:
    """Returns the rows as Markdown, for README.md."""
    rows = [f"| {row.name} | {row.reason} | {row.source} |\n" for row in DIFFERENCES]
    return "".join(["| difference | reason | source |\n", "|---|---|---|\n", *rows])


if __name__ == "__main__":
    sys.stdout.write(table())
