"""Compares what uvicorn's client and Lambda's client have seen, and writes down each difference with both responses."""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING

from tests.differential.harness.differences import EXCEPTION, Finding, explain
from tests.differential.harness.records import Response
from tests.differential.harness.targets import BUFFERED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.differential.harness.records import Recording

__all__ = ["compare"]

MAX_RAW = 3000  # bytes of a raw response in a report, and its lines
MAX_RAW_LINES = 30
MAX_LINES = 40  # of a diff

LENGTHS = ("content-length", "x-amzn-remapped-content-length")

# The date of a response; and when a cookie or a page expires, where that is a date.
ALWAYS_VOLATILE = (r"^(?:x-amzn-remapped-)?date: \w{3}, [^,;]+ GMT$", r"(?i:expires)(?:=|: )\w{3}, [^;]+ GMT")


def compare(
    one: Recording,
    other: Recording,
    *,
    target: str,
    volatile: Sequence[str] = (),
    excused: list[str] | None = None,
) -> list[str]:
    """Returns a report for each response or note that differs. ``one`` is uvicorn's recording.

    The names of the documented differences that were met are added to ``excused``.
    """
    scrub = _Scrub(volatile)
    reports = []
    labels = [[response.label for response in recording.responses] for recording in (one, other)]
    if labels[0] != labels[1]:
        reports.append("The requests differ:\n" + _diff("\n".join(labels[0]), "\n".join(labels[1]), target))
    reports += [
        f"{response.label}: uvicorn's client has not read {response.withheld} while the app waited"
        for response in one.responses
        if response.withheld
    ]
    for theirs, ours in zip(one.responses, other.responses, strict=False):
        findings = [finding for finding in _findings(theirs, ours, target, scrub) if not _is_excused(finding, excused)]
        if findings:
            reports.append(_report(theirs, ours, target, findings))
    notes = [dict(recording.notes) for recording in (one, other)]
    for label in dict.fromkeys([*notes[0], *notes[1]]):
        texts = [scrub(json.dumps(note.get(label), indent=1, sort_keys=True, ensure_ascii=False)) for note in notes]
        finding = Finding(label, texts[0], texts[1], target, Response(label=label), Response(label=label))
        if texts[0] != texts[1] and not _is_excused(finding, excused):
            reports.append(f"{label}: what the client got differs\n" + _diff(texts[0], texts[1], target))
    return reports


def _is_excused(finding: Finding, excused: list[str] | None) -> bool:
    row = explain(finding)
    if row is not None and excused is not None:
        excused.append(row.name)
    return row is not None


class _Scrub:
    """Puts the same word in the place of everything that may differ from one run to the next."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._pattern = re.compile("|".join(f"(?:{pattern})" for pattern in [*ALWAYS_VOLATILE, *patterns]))

    def __call__(self, text: str) -> str:
        return self._pattern.sub("<volatile>", text)


def _findings(one: Response, other: Response, target: str, scrub: _Scrub) -> Iterator[Finding]:
    def finding(field: str, uvicorn: object, ours: object) -> Finding:
        texts = [None if value is None else str(value) for value in (uvicorn, ours)]
        return Finding(field, texts[0], texts[1], target, one, other)

    if one.status != other.status:
        yield finding("status", one.status, other.status)
    headers = _headers(one, scrub), _headers(other, scrub)
    for name in dict.fromkeys([*headers[0], *headers[1]]):
        values = headers[0].get(name), headers[1].get(name)
        if values[0] != values[1]:
            yield finding(f"header {name}", *values)
    bodies = [scrub(response.content.decode("latin-1")) for response in (one, other)]
    if bodies[0] != bodies[1]:
        yield finding("body", *bodies)
    elif target not in (*BUFFERED, "local") and one.pieces is not None and other.pieces is not None:
        sizes = [_sizes(response, scrub) for response in (one, other)]
        if sizes[0] != sizes[1]:
            yield finding("chunks (bytes of each)", *sizes)
    if target not in BUFFERED and (one.arrived, one.withheld) != (other.arrived, other.withheld):
        yield finding("arrival while the app waited", _arrival(one), _arrival(other))
    if one.ended != other.ended:
        yield finding("end", one.ended, other.ended)
    if one.raised is not None and other.raised is not None and one.raised != other.raised:
        yield finding(EXCEPTION, one.raised or "none", other.raised or "none")


def _sizes(response: Response, scrub: _Scrub) -> list[int] | int:
    """The size of each chunk; of a compressed body only their number, for its bytes may hold the time."""
    pieces = response.pieces or []
    if response.header("content-encoding"):
        return len(pieces)
    return [len(scrub(piece.decode("latin-1"))) for piece in pieces]


def _headers(response: Response, scrub: _Scrub) -> dict[str, str]:
    """Values by name; several of a name are joined as RFC 9110, 5.3, allows, and cookies stay apart."""
    grouped: dict[str, list[str]] = {}
    for name, value in response.headers:
        if name in LENGTHS and value == str(len(response.body)):
            value = "that of the body"  # what is volatile in a body may be longer or shorter
        grouped.setdefault(name, []).append(scrub(f"{name}: {value}").removeprefix(f"{name}: "))
    return {name: ("\n" if name == "set-cookie" else ", ").join(values) for name, values in grouped.items()}


def _arrival(response: Response) -> str:
    late = f", and {response.withheld} only afterwards" if response.withheld else ""
    return f"{response.arrived} were read{late}"


def _report(one: Response, other: Response, target: str, findings: Sequence[Finding]) -> str:
    lines = [f"{one.label}: {', '.join(finding.field for finding in findings)}"]
    for finding in findings:
        if finding.field == "body":
            lines += ["  body:", _indent(_body_diff(finding.uvicorn or "", finding.ours or "", target))]
        else:
            lines += [f"  {finding.field}:", f"    uvicorn: {_shown(finding.uvicorn)}"]
            lines += [f"    {target}: {_shown(finding.ours)}"]
    lines += ["  uvicorn's response, as it came:", _indent(_raw(one)), f"  {target}'s response:", _indent(_raw(other))]
    return "\n".join(lines)


def _body_diff(one: str, other: str, target: str) -> str:
    if _is_text(one) and _is_text(other):
        return _diff(one, other, target)
    place = next((index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    place = min(len(one), len(other)) if place is None else place
    return f"uvicorn: {len(one)} bytes\n{target}: {len(other)} bytes\nthe first difference is at byte {place}"


def _is_text(body: str) -> bool:
    return all(char.isprintable() or char in "\r\n\t" for char in body)


def _shown(value: str | None) -> str:
    return "(none)" if value is None else value.replace("\n", " | ")


def _raw(response: Response) -> str:
    text = response.raw[:MAX_RAW].decode("latin-1")
    more = max(0, len(response.raw) - MAX_RAW)
    lines = "".join(char if char.isprintable() or char == "\n" else _escape(char) for char in text).splitlines()
    more += max(0, sum(len(line) + 1 for line in lines[MAX_RAW_LINES:]))
    return "\n".join([line[:400] for line in lines[:MAX_RAW_LINES]] + [f"… and about {more} more bytes"] * (more > 0))


def _escape(char: str) -> str:
    return "" if char == "\r" else f"\\x{ord(char):02x}"


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _diff(one: str, other: str, target: str) -> str:
    lines = list(difflib.unified_diff(one.splitlines(), other.splitlines(), "uvicorn", target, lineterm="", n=2))
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"… and {len(lines) - MAX_LINES} more lines"]
    return "\n".join(line[:400] for line in lines) or "(they differ in line ends only)"
