"""What the tests of this folder ask of an outcome, as far as its platform shows it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from tests.apps.matrix import PAGE, PAGE_HEADERS
from tests.support.platforms import OwnPlatform

if TYPE_CHECKING:
    from tests.apps.matrix import Row
    from tests.support.platforms import Outcome, Platform

DELIMITER = bytes(8)


def split(outcome: Outcome) -> tuple[Any, bytes]:
    """The prelude, and every byte behind the eight NULs."""
    assert outcome.error is None, outcome.error
    return split_stream(outcome.body)


def split_stream(stream: bytes) -> tuple[Any, bytes]:
    prelude, delimiter, body = stream.partition(DELIMITER)
    assert delimiter == DELIMITER, stream[:1000]
    return json.loads(prelude), body


def check_error(outcome: Outcome, name: str, message: str) -> None:
    """The documented JSON, and the platform's error type where it is shown."""
    assert outcome.error is not None, outcome.body
    assert set(outcome.error) == {"errorType", "errorMessage", "stackTrace"}
    assert outcome.error["errorType"] == name
    assert message in outcome.error["errorMessage"]
    assert isinstance(outcome.error["stackTrace"], list)


def check_broken_stream(
    platform: Platform, outcome: Outcome, expected: tuple[Any, bytes], name: str, text: str
) -> None:
    """A stream that ends in error trailers, as far as the platform shows body and trailers."""
    if platform.shows_broken_body:
        assert split_stream(outcome.body) == expected
    else:
        assert outcome.body == b""
    if platform.shows_trailers:
        check_error(outcome, name, text)
        assert outcome.error_type == f"Function.{name}"
    else:
        assert (outcome.error, outcome.error_type) == (None, None)
    if isinstance(platform, OwnPlatform):
        assert (outcome.mode, outcome.reported_by) == ("streaming", "response")


def buffered(row: Row) -> tuple[dict[str, Any], bytes]:
    """Prelude and body of a row where they travel as one answer: a page stands for what is not complete."""
    if row.error is None or row.complete:
        return row.prelude, row.body
    return {"statusCode": 500, "headers": PAGE_HEADERS}, PAGE if row.method != "HEAD" else b""


def read_answer(answer: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """A payload 2.0 answer in the two parts of a stream."""
    text = answer.pop("body")
    return answer, base64.b64decode(text, validate=True) if answer.pop("isBase64Encoded") else text.encode()
