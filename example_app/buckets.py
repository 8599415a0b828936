"""Where the large files are: an S3 bucket, or a folder with the same few operations. All of them block."""

import contextlib
import functools
import hashlib
import mimetypes
import os
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

from fastapi import Depends

LISTED = 100  # objects


class Entry(NamedTuple):
    """An object. `etag` has its quotes; `modified` is in whole seconds, as HTTP's dates are."""

    name: str
    size: int
    etag: str
    modified: datetime
    content_type: str


class Body(Protocol):
    """An object's bytes, or a range of them."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class ReplacedError(Exception):
    """Raised by `open` where the object is no longer the one of the entry."""


class Bucket(Protocol):
    def list(self) -> list[tuple[str, int]]:
        """Names and sizes, in bytes, of the first objects."""

    def find(self, name: str) -> Entry | None: ...

    def open(self, entry: Entry, first: int, end: int) -> Body:
        """The bytes from `first` up to `end`, which is not among them. Raises ReplacedError."""


class S3Bucket:
    def __init__(self, name: str) -> None:
        import boto3

        self._name = name
        self._client = boto3.client("s3")

    def list(self) -> list[tuple[str, int]]:
        page = self._client.list_objects_v2(Bucket=self._name, MaxKeys=LISTED)
        return [(found["Key"], found["Size"]) for found in page.get("Contents", [])]

    def find(self, name: str) -> Entry | None:
        try:
            found = self._client.head_object(Bucket=self._name, Key=name)
        except self._client.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        modified = found["LastModified"].astimezone(UTC).replace(microsecond=0)
        return Entry(name, found["ContentLength"], found["ETag"], modified, found["ContentType"])

    def open(self, entry: Entry, first: int, end: int) -> Body:
        try:
            return self._client.get_object(
                Bucket=self._name, Key=entry.name, Range=f"bytes={first}-{end - 1}", IfMatch=entry.etag
            )["Body"]
        except self._client.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 412):
                raise ReplacedError(entry.name) from error
            raise

    def close(self) -> None:
        self._client.close()


class FolderBucket:
    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def list(self) -> list[tuple[str, int]]:
        files = sorted(path for path in self._folder.iterdir() if path.is_file())
        return [(path.name, path.stat().st_size) for path in files[:LISTED]]

    def find(self, name: str) -> Entry | None:
        path = self._folder / name
        # One level, and no way out of it.
        if "\0" in name or path.resolve().parent != self._folder or not os.path.isfile(path):
            return None
        return self._entry(name, path.stat())

    @staticmethod
    def _entry(name: str, found: os.stat_result) -> Entry:
        tag = hashlib.sha256(f"{found.st_mtime_ns} {found.st_size} {found.st_ino}".encode()).hexdigest()[:32]
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Entry(name, found.st_size, f'"{tag}"', datetime.fromtimestamp(int(found.st_mtime), UTC), content_type)

    def open(self, entry: Entry, first: int, end: int) -> Body:
        try:
            file = (self._folder / entry.name).open("rb")
        except FileNotFoundError as error:
            raise ReplacedError(entry.name) from error
        if self._entry(entry.name, os.fstat(file.fileno())) != entry:
            file.close()
            raise ReplacedError(entry.name)
        file.seek(first)
        return file


@functools.cache
def get_bucket() -> Bucket:
    """The S3 bucket that `EXAMPLE_BUCKET` names; without it a temporary folder with one file of 20 MiB."""
    if name := os.environ.get("EXAMPLE_BUCKET"):
        return S3Bucket(name)
    folder = Path(tempfile.gettempdir()) / "asgi-stream-example-files"
    folder.mkdir(exist_ok=True)
    _write_numbers(folder / "numbers.txt")
    return FolderBucket(folder)


def _write_numbers(path: Path) -> None:
    """20 MiB of lines of 16 bytes that each say where in the file they stand."""
    if path.exists():
        return
    draft = path.parent.parent / f"{path.name}.{os.getpid()}.{threading.get_ident()}"
    with draft.open("w") as file:
        file.writelines(f"byte {number * 16:>10}\n" for number in range(20 * 1024 * 1024 // 16))
    # Whoever was first has made the file.
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


BucketDependency = Annotated[Bucket, Depends(get_bucket)]
