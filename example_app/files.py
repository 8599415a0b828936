"""Large files from S3: downloads that are larger than the 6 MB of a buffered response, with flat memory.

Each piece is read in a thread and sent before the next is read. Ranges and conditions are worked out here, as RFC 9110
says, since S3 knows no `If-Range`; the object is then asked for by its ETag, so that all bytes are of one version.
Lambda streams 200 MB at most: what is larger has to be fetched range by range.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from example_app.buckets import Body, BucketDependency, Entry, ReplacedError
from example_app.pages import page

PIECE = 256 * 1024  # bytes

router = APIRouter()


class Plan(NamedTuple):
    """What to answer: a status and the bytes from `first` up to `end`, which is not among them."""

    status: int
    first: int
    end: int


@router.get("/files")
async def files_page(bucket: BucketDependency) -> StreamingResponse:
    return page("files.html", files=await asyncio.to_thread(bucket.list))


@router.api_route("/files/{name:path}", methods=["GET", "HEAD"])
async def download(request: Request, name: str, bucket: BucketDependency) -> Response:
    entry = await asyncio.to_thread(bucket.find, name) if name else None
    if entry is None:
        raise HTTPException(404, f"there is no file {name}")
    plan = plan_answer(request.method, request.headers, entry)
    headers = {
        "etag": entry.etag,
        "last-modified": format_datetime(entry.modified, usegmt=True),
        "cache-control": "no-cache",
        "accept-ranges": "bytes",
    }
    if plan.status == 304:
        return Response(status_code=304, headers=headers)
    if plan.status == 416:
        return Response(status_code=416, headers={"content-range": f"bytes */{entry.size}"})
    headers["content-length"] = str(plan.end - plan.first)
    headers["content-type"] = entry.content_type
    headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(name.rpartition('/')[2])}"
    if plan.status == 206:
        headers["content-range"] = f"bytes {plan.first}-{plan.end - 1}/{entry.size}"
    if request.method == "HEAD" or plan.first == plan.end:
        return Response(status_code=plan.status, headers=headers)
    try:
        body = await asyncio.to_thread(bucket.open, entry, plan.first, plan.end)
    except ReplacedError:
        raise HTTPException(503, f"{name} is being replaced", {"retry-after": "1"}) from None
    return BodyResponse(body, plan, headers)


class BodyResponse(StreamingResponse):
    """Streams a body, and closes it however the stream ends: by its last byte, an error, or the deadline."""

    def __init__(self, body: Body, plan: Plan, headers: Mapping[str, str]) -> None:
        super().__init__(self._pieces(body, plan.end - plan.first), plan.status, headers)
        self._body = body

    @staticmethod
    async def _pieces(body: Body, left: int) -> AsyncIterator[bytes]:
        while left:
            piece = await asyncio.to_thread(body.read, min(PIECE, left))
            if not piece:
                raise EOFError(f"the file ended {left} bytes too early")
            left -= len(piece)
            yield piece

    async def __call__(self, *args: Any) -> None:
        try:
            await super().__call__(*args)
        finally:
            self._body.close()


def plan_answer(method: str, headers: Mapping[str, str], entry: Entry) -> Plan:
    """RFC 9110, sections 13.2.2 and 14.2, for GET and HEAD. A range that is not understood is no range."""
    if not _modified(headers, entry):
        return Plan(304, 0, 0)
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", headers.get("range", "").replace(" ", ""), re.ASCII)
    whole = Plan(200, 0, entry.size)
    if method != "GET" or not found or found[0] == "bytes=-" or not _range_is_valid(headers, entry):
        return whole
    if not found[1]:  # the last so many bytes
        first, end = max(0, entry.size - int(found[2])), entry.size
    else:
        first, end = int(found[1]), min(int(found[2] or entry.size) + 1, entry.size)
        if found[2] and int(found[2]) < first:
            return whole
    return Plan(206, first, end) if first < end else Plan(416, 0, 0)


def _modified(headers: Mapping[str, str], entry: Entry) -> bool:
    """False where the client has this version already."""
    if (tags := headers.get("if-none-match")) is not None:
        known = re.findall(r'"[^"]*"', tags)
        return tags.strip() != "*" and entry.etag.removeprefix("W/") not in known
    since = _date(headers.get("if-modified-since"))
    return since is None or entry.modified > since


def _range_is_valid(headers: Mapping[str, str], entry: Entry) -> bool:
    """False where `If-Range` names another version than this one."""
    value = headers.get("if-range")
    return value is None or value == entry.etag or _date(value) == entry.modified


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
