"""Downloads over the local Lambda: from S3, and from the folder that stands in for it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
import pytest

from example_app.buckets import Entry, FolderBucket, ReplacedError, S3Bucket, get_bucket
from example_app.files import Plan, plan_answer
from example_app.main import app, handler
from tests.example.conftest import BUCKET, options
from tests.support.events import function_url_event
from tests.support.wire import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.dev import Dev

SIZE = 9_000_001  # more than the 6 MB of a buffered response


class Stored(NamedTuple):
    site: Dev
    path: str
    content: bytes


@pytest.fixture(scope="module")
def objects(cloud: dict[str, str]) -> Iterator[Any]:
    with contextlib.closing(boto3.client("s3", **options(cloud))) as s3:
        yield s3


@pytest.fixture(scope="module", params=["s3", "folder"])
def stored(request: pytest.FixtureRequest) -> Stored:
    """A file, and where it is served."""
    content = os.urandom(SIZE)
    if request.param == "s3":
        request.getfixturevalue("objects").put_object(
            Bucket=BUCKET, Key="a folder/ä file.bin", Body=content, ContentType="application/x-noise"
        )
        return Stored(request.getfixturevalue("cloud_site"), "/files/a%20folder/%C3%A4%20file.bin", content)
    site: Dev = request.getfixturevalue("site")
    site.client.get("/files").raise_for_status()
    folder = Path(next(iter(request.getfixturevalue("tmp_path_factory").getbasetemp().glob("site*/asgi-stream*"))))
    (folder / "ä file.bin").write_bytes(content)
    (folder.parent / "secret").write_text("outside")
    return Stored(site, "/files/%C3%A4%20file.bin", content)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_whole_file_in_pieces(stored: Stored) -> None:
    found, pieces = hashlib.sha256(), 0
    with stored.site.client.stream("GET", stored.path) as response:
        for piece in response.iter_raw():
            found.update(piece)
            pieces += 1
    assert response.status_code == 200
    assert found.hexdigest() == digest(stored.content)
    assert pieces > SIZE / (256 * 1024)
    # A Function URL renames it; behind API Gateway it keeps its name.
    assert response.headers["x-amzn-remapped-content-length"] == str(SIZE)
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A4%20file.bin"
    expected = "application/x-noise" if "folder" in stored.path else "application/octet-stream"
    assert response.headers["content-type"] == expected


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-8000000", 1_000_000, 8_000_001),
        ("bytes=8999999-", 8_999_999, SIZE),
        ("bytes=-3", SIZE - 3, SIZE),
        ("bytes=5-99999999", 5, SIZE),
    ],
)
def test_a_range(stored: Stored, wanted: str, first: int, end: int) -> None:
    response = stored.site.client.get(stored.path, headers={"range": wanted})
    assert response.status_code == 206
    assert response.headers["content-range"] == f"bytes {first}-{end - 1}/{SIZE}"
    assert response.headers["x-amzn-remapped-content-length"] == str(end - first)
    assert digest(response.content) == digest(stored.content[first:end])


def test_a_range_that_is_not_there(stored: Stored) -> None:
    response = stored.site.client.get(stored.path, headers={"range": f"bytes={SIZE}-"})
    assert (response.status_code, response.content) == (416, b"")
    assert response.headers["content-range"] == f"bytes */{SIZE}"


def test_head_and_conditions(stored: Stored) -> None:
    client = stored.site.client
    head = client.head(stored.path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["x-amzn-remapped-content-length"] == str(SIZE)
    etag, modified = head.headers["etag"], head.headers["last-modified"]
    for condition in ({"if-none-match": etag}, {"if-modified-since": modified}):
        response = client.get(stored.path, headers=condition)
        assert (response.status_code, response.content) == (304, b"")
        assert (response.headers["etag"], response.headers["last-modified"]) == (etag, modified)
    for version, status, size in ((etag, 206, 10), (modified, 206, 10), ('"another"', 200, SIZE)):
        response = client.get(stored.path, headers={"range": "bytes=0-9", "if-range": version})
        assert (response.status_code, len(response.content)) == (status, size)


def test_what_is_not_there(stored: Stored) -> None:
    for name in ("nothing", "..%2Fsecret", "%00", "%2E", "", 300 * "x"):
        assert stored.site.client.get(f"/files/{name}").status_code == 404


def test_an_empty_file(cloud_site: Dev, objects: Any) -> None:
    objects.put_object(Bucket=BUCKET, Key="empty", Body=b"")
    response = cloud_site.client.get("/files/empty")
    assert (response.status_code, response.content) == (200, b"")
    assert cloud_site.client.get("/files/empty", headers={"range": "bytes=0-"}).status_code == 416


def test_the_page_lists_files_with_links_that_lead_to_them(stored: Stored) -> None:
    page = stored.site.client.get("/files").text
    links = {f"/{link}" for link in re.findall(r'href="(files/[^"]+)"', page)}
    assert stored.path in links
    for link in links:
        assert stored.site.client.head(link).status_code == 200


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process's memory is read from /proc")
def test_memory_stays_flat_for_150_megabytes(cloud_site: Dev, objects: Any) -> None:
    block = os.urandom(15_000_000)
    objects.put_object(Bucket=BUCKET, Key="large", Body=block * 10)
    # What is imported at the first download is no part of it.
    assert cloud_site.client.get("/files/large", headers={"range": "bytes=0-9999999"}).status_code == 206
    before = {pid: peak_memory(pid) for pid in processes(cloud_site.process.pid)}
    found, size = hashlib.sha256(), 0
    with cloud_site.client.stream("GET", "/files/large") as response:
        for piece in response.iter_raw():
            found.update(piece)
            size += len(piece)
    assert size == 150_000_000
    assert found.hexdigest() == digest(block * 10)
    growth = {pid: peak_memory(pid) - start for pid, start in before.items()}
    assert len(growth) > 1
    assert max(growth.values()) < 20_000_000, growth


def processes(pid: int) -> list[int]:
    """A process and its children: the front end, and the function's environments."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *map(int, children.read_text().split())]


def peak_memory(pid: int) -> int:
    """The most that a process has held in memory so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


class Recorder:
    """A bucket of one file whose body breaks off, or never ends, and says when it is closed."""

    def __init__(self, *, breaks: bool, read: Callable[[], object] = int) -> None:
        self.breaks = breaks
        self.has_read = read
        self.closed = False

    def find(self, name: str) -> Entry:
        return Entry(name, 10**12, '"x"', datetime(2026, 1, 1, tzinfo=UTC), "text/plain")

    def open(self, entry: Entry, first: int, end: int) -> Recorder:
        return self

    def read(self, size: int) -> bytes:
        self.has_read()
        return b"" if self.breaks else b"x"

    def close(self) -> None:
        self.closed = True


@pytest.mark.anyio
@pytest.mark.parametrize(("breaks", "error"), [(True, "EOFError"), (False, "DeadlineExceeded")])
async def test_the_body_is_closed_when_the_stream_ends_early(
    *, breaks: bool, error: str, time_runs_out: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()
    ends = iter([] if breaks else [time_runs_out])  # once

    def has_read() -> None:
        for end in ends:
            loop.call_soon_threadsafe(end)

    bucket = Recorder(breaks=breaks, read=has_read)
    app.dependency_overrides[get_bucket] = lambda: bucket
    try:
        due = str(int((datetime.now(UTC).timestamp() + 900) * 1000))
        api = await serve(handler, function_url_event(path="/files/any"), Lambda_Runtime_Deadline_Ms=due)
    finally:
        app.dependency_overrides.clear()
    assert bucket.closed
    assert api.answers[0].prelude["statusCode"] == 200
    assert error in api.answers[0].trailers["lambda-runtime-function-error-type"]


@pytest.mark.anyio
async def test_no_byte_is_asked_for_where_there_is_none() -> None:
    class Empty(Recorder):
        def find(self, name: str) -> Entry:
            return super().find(name)._replace(size=0)

        def open(self, entry: Entry, first: int, end: int) -> Recorder:
            raise AssertionError("S3 knows no empty range")

    app.dependency_overrides[get_bucket] = lambda: Empty(breaks=True)
    try:
        api = await serve(handler, function_url_event(path="/files/any"))
    finally:
        app.dependency_overrides.clear()
    assert (api.answers[0].prelude["statusCode"], api.answers[0].content) == (200, b"")


@pytest.mark.parametrize("kind", ["s3", "folder"])
def test_a_file_that_was_replaced_after_it_was_found(
    kind: str, tmp_path: Path, cloud: dict[str, str], objects: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cloud.items():
        monkeypatch.setenv(name, value)
    with contextlib.ExitStack() as stack:
        bucket: S3Bucket | FolderBucket = FolderBucket(tmp_path)
        if kind == "s3":
            bucket = stack.enter_context(contextlib.closing(S3Bucket(BUCKET)))

        def write(content: bytes) -> None:
            if kind == "s3":
                objects.put_object(Bucket=BUCKET, Key="file", Body=content)
            else:
                (tmp_path / "file").write_bytes(content)

        write(b"first")
        entry = bucket.find("file")
        assert entry is not None
        with contextlib.closing(bucket.open(entry, 1, 3)) as body:
            assert body.read(2) == b"ir"
        write(b"second")
        with pytest.raises(ReplacedError):
            bucket.open(entry, 0, 5)
        monkeypatch.setattr(bucket, "find", lambda _: entry)
        app.dependency_overrides[get_bucket] = lambda: bucket
        try:
            api = asyncio.run(serve(handler, function_url_event(path="/files/file")))
        finally:
            app.dependency_overrides.clear()
    assert api.answers[0].prelude["statusCode"] == 503
    assert api.answers[0].prelude["headers"]["retry-after"] == "1"


MODIFIED = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENTRY = Entry("name", 100, '"tag"', MODIFIED, "text/plain")
EARLIER, SAME, LATER = (format_datetime(MODIFIED.replace(hour=hour), usegmt=True) for hour in (11, 12, 13))
WHOLE, PART, KNOWN = Plan(200, 0, 100), Plan(206, 0, 10), Plan(304, 0, 0)
FIRST = {"range": "bytes=0-9"}


@pytest.mark.parametrize(
    ("headers", "plan"),
    [
        ({}, WHOLE),
        # RFC 9110, 14.2: what is not understood, and several ranges, may be ignored; 14.1.1: so must be an invalid one
        ({"range": "bytes=0-9,20-29"}, WHOLE),
        ({"range": "lines=0-9"}, WHOLE),
        ({"range": "bytes=9-0"}, WHOLE),
        ({"range": "bytes=-"}, WHOLE),
        ({"range": "bytes=x-9"}, WHOLE),
        ({"range": "bytes=0-٣"}, WHOLE),
        ({"range": "bytes=" + "9" * 30 + "-"}, WHOLE),
        (FIRST, PART),
        ({"range": "bytes= 0-9"}, PART),
        ({"range": "bytes=-1000"}, Plan(206, 0, 100)),
        ({"range": "bytes=-0"}, Plan(416, 0, 0)),
        ({"range": "bytes=100-"}, Plan(416, 0, 0)),
        # 13.1.2: weak comparison, a list, any
        ({"if-none-match": '"tag"'}, KNOWN),
        ({"if-none-match": 'W/"tag"'}, KNOWN),
        ({"if-none-match": '"other", "tag"'}, KNOWN),
        ({"if-none-match": "*"}, KNOWN),
        ({"if-none-match": '"other"'}, WHOLE),
        # 13.1.3: of no account beside If-None-Match, nor where it is no date
        ({"if-modified-since": SAME}, KNOWN),
        ({"if-modified-since": LATER}, KNOWN),
        ({"if-modified-since": EARLIER}, WHOLE),
        ({"if-modified-since": "yesterday"}, WHOLE),
        ({"if-modified-since": "Sun, 01 Mar 99999999999999999999 12:00:00 GMT"}, WHOLE),
        ({"if-none-match": '"other"', "if-modified-since": LATER}, WHOLE),
        # 13.1.5: strong comparison, a date only if it is the same
        ({**FIRST, "if-range": '"tag"'}, PART),
        ({**FIRST, "if-range": 'W/"tag"'}, WHOLE),
        ({**FIRST, "if-range": '"other"'}, WHOLE),
        ({**FIRST, "if-range": SAME}, PART),
        ({**FIRST, "if-range": LATER}, WHOLE),
        ({**FIRST, "if-none-match": '"tag"'}, KNOWN),
    ],
)
def test_conditions_and_ranges(headers: dict[str, str], plan: Plan) -> None:
    assert plan_answer("GET", headers, ENTRY) == plan


def test_head_knows_no_ranges() -> None:
    assert plan_answer("HEAD", FIRST, ENTRY) == WHOLE
    assert plan_answer("HEAD", {"if-none-match": '"tag"'}, ENTRY) == KNOWN
