"""Each request of the Runtime API, byte for byte, and what replies mean."""

from __future__ import annotations

import base64
import json
import sys

import pytest

from asgi_stream import __version__
from asgi_stream.runtime.http11 import ProtocolError, Reply
from asgi_stream.runtime.reports import ErrorReport
from asgi_stream.runtime.requests import (
    Invocation,
    Verdict,
    buffered_response,
    init_error,
    invocation_error,
    next_extension_event,
    next_invocation,
    parse_invocation,
    parse_registration,
    register_extension,
    restore_error,
    restore_next,
    stream_end,
    stream_response,
    verdict,
)
from tests.support.values import fields

HOST = "127.0.0.1:9001"
AGENT = f"asgi-stream/{__version__} Python/{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}"
START = f"Host: {HOST}\r\nUser-Agent: {AGENT}\r\n"
REPORT = ErrorReport("Function.ValueError", "ValueError", "boom", ('  File "app.py", line 1, in app\n',))
REPORT_JSON = (
    b'{"errorMessage":"boom","errorType":"ValueError","stackTrace":["  File \\"app.py\\", line 1, in app\\n"]}'
)


def test_next() -> None:
    assert next_invocation().encode(HOST) == (
        f"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n{START}\r\n".encode()
    )


def test_response() -> None:
    assert (
        stream_response(Invocation("id-1", b"")).encode(HOST)
        == (
            f"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\n{START}"
            "Content-Type: application/vnd.awslambda.http-integration-response\r\n"
            "Lambda-Runtime-Function-Response-Mode: streaming\r\n"
            "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        ).encode()
    )


def test_a_buffered_response() -> None:
    assert (
        buffered_response(Invocation("id-1", b""), b'{"a":1}').encode(HOST)
        == (
            f"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\n{START}"
            "Content-Type: application/json\r\nContent-Length: 7\r\n\r\n"
            '{"a":1}'
        ).encode()
    )


def test_the_invocation_id_is_echoed_where_it_came() -> None:
    invocation = Invocation("id-1", b"", invocation_id="inv-7")
    assert b"\r\nLambda-Runtime-Invocation-Id: inv-7\r\n" in stream_response(invocation).encode(HOST)
    assert b"\r\nLambda-Runtime-Invocation-Id: inv-7\r\n" in invocation_error(invocation, REPORT).encode(HOST)
    without = Invocation("id-1", b"")
    assert b"Invocation-Id" not in stream_response(without).encode(HOST)
    assert b"Invocation-Id" not in invocation_error(without, REPORT).encode(HOST)


def test_the_end_of_a_response() -> None:
    assert stream_end() == b"0\r\n\r\n"


def test_the_end_in_an_error() -> None:
    assert stream_end(REPORT) == (
        b"0\r\n"
        b"Lambda-Runtime-Function-Error-Type: Function.ValueError\r\n"
        b"Lambda-Runtime-Function-Error-Body: " + base64.b64encode(REPORT_JSON) + b"\r\n\r\n"
    )


def test_error() -> None:
    assert (
        invocation_error(Invocation("id-1", b""), REPORT).encode(HOST)
        == (
            f"POST /2018-06-01/runtime/invocation/id-1/error HTTP/1.1\r\n{START}"
            "Content-Type: application/vnd.aws.lambda.error+json\r\n"
            "Lambda-Runtime-Function-Error-Type: Function.ValueError\r\n"
            f"Content-Length: {len(REPORT_JSON)}\r\n\r\n"
        ).encode()
        + REPORT_JSON
    )


def test_init_error() -> None:
    assert (
        init_error(REPORT).encode(HOST)
        == (
            f"POST /2018-06-01/runtime/init/error HTTP/1.1\r\n{START}"
            "Content-Type: application/vnd.aws.lambda.error+json\r\n"
            "Lambda-Runtime-Function-Error-Type: Function.ValueError\r\n"
            f"Content-Length: {len(REPORT_JSON)}\r\n\r\n"
        ).encode()
        + REPORT_JSON
    )


@pytest.mark.parametrize("request_id", ["a b", "a\r\nX: y", "\x00"])
def test_a_request_id_cannot_break_out(request_id: str) -> None:
    with pytest.raises(ProtocolError):
        stream_response(Invocation(request_id, b"")).encode(HOST)


def test_an_invocation_with_everything() -> None:
    headers = {
        "lambda-runtime-aws-request-id": "id-1",
        "lambda-runtime-deadline-ms": "1773342238390",
        "lambda-runtime-invoked-function-arn": "arn:aws:lambda:eu-central-1:123456789012:function:f",
        "lambda-runtime-trace-id": "Root=1-2-3",
        "lambda-runtime-client-context": "{}",
        "lambda-runtime-cognito-identity": '{"cognitoIdentityId":"i"}',
        "lambda-runtime-aws-tenant-id": "t",
        "lambda-runtime-invocation-id": "inv-7",
    }
    assert fields(parse_invocation(Reply(200, headers, b"{}", True))) == fields(
        Invocation(
            "id-1",
            b"{}",
            1773342238390,
            "arn:aws:lambda:eu-central-1:123456789012:function:f",
            "Root=1-2-3",
            "{}",
            '{"cognitoIdentityId":"i"}',
            "t",
            "inv-7",
        )
    )


@pytest.mark.parametrize("value", [None, ""])
def test_all_but_the_request_id_may_be_absent_or_empty(value: str | None) -> None:
    names = ("deadline-ms", "invoked-function-arn", "trace-id", "client-context", "aws-tenant-id", "invocation-id")
    headers = {} if value is None else {f"lambda-runtime-{name}": value for name in names}
    headers["lambda-runtime-aws-request-id"] = "id-1"
    assert fields(parse_invocation(Reply(200, headers, b"", True))) == fields(Invocation("id-1", b""))


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "٣", "²", "9" * 400, "9" * 5000])
def test_a_mangled_deadline_fails_no_invocation(value: str) -> None:
    headers = {"lambda-runtime-aws-request-id": "id-1", "lambda-runtime-deadline-ms": value}
    assert parse_invocation(Reply(200, headers, b"", True)).deadline_ms is None


@pytest.mark.parametrize(
    "headers", [{}, *({"lambda-runtime-aws-request-id": odd} for odd in ("", "a b", "a\tb", "\xfc"))]
)
def test_an_invocation_without_a_usable_id(headers: dict[str, str]) -> None:
    with pytest.raises(ProtocolError, match="Request-Id"):
        parse_invocation(Reply(200, headers, b"{}", True))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Verdict.ACCEPTED),
        (202, Verdict.ACCEPTED),
        (400, Verdict.REFUSED),
        (403, Verdict.REFUSED),
        (410, Verdict.REFUSED),
        (413, Verdict.REFUSED),
        (500, Verdict.FATAL),
        (503, Verdict.FATAL),
        (302, Verdict.FATAL),
    ],
)
def test_verdicts(status: int, expected: str) -> None:
    assert verdict(Reply(status, {}, b"", True)) is expected


class TestReportSizes:
    @pytest.mark.parametrize("message", ["x" * 100_000, "€" * 50_000, '"' * 50_000, "\U0001f600" * 20_000])
    @pytest.mark.parametrize("frames", [0, 1, 2_000])
    def test_trailers_stay_below_what_the_server_takes(self, message: str, frames: int) -> None:
        stack = tuple(f'  File "app.py", line {n}, in function\n    call("{n}")\n' for n in range(frames))
        report = ErrorReport("Function." + "E" * 100, "E" * 100, message, stack)
        block = stream_end(report).removeprefix(b"0\r\n")
        assert len(block) <= 3_500
        body = json.loads(base64.b64decode(report.to_trailers()[1][1]))
        assert body["errorType"] == "E" * 100
        assert body["errorMessage"].startswith(message[:50])
        if frames:
            assert body["stackTrace"][-1] == stack[-1]  # the innermost frame is the one to keep

    def test_a_long_stack_says_what_is_missing(self) -> None:
        stack = tuple(f"  frame {n}\n" for n in range(1_000))
        body = json.loads(ErrorReport("Function.E", "E", "m", stack).to_json(1_000))
        left_out = 1_000 - (len(body["stackTrace"]) - 1)
        assert body["stackTrace"][0] == f"  ({left_out} outer frames left out)\n"
        assert body["stackTrace"][1:] == list(stack[left_out:])

    def test_a_frame_that_is_too_long_by_itself(self) -> None:
        body = ErrorReport("Function.E", "E", "m", ("x" * 10_000,)).to_json(500)
        assert json.loads(body)["stackTrace"] == ["  (1 outer frames left out)\n"]

    def test_a_short_report_is_whole(self) -> None:
        assert REPORT.to_json(500) == REPORT_JSON


def test_the_restore_from_a_snapshot() -> None:
    assert restore_next().encode(HOST) == f"GET /2018-06-01/runtime/restore/next HTTP/1.1\r\n{START}\r\n".encode()
    assert (
        restore_error(REPORT._replace(kind="Runtime.AfterRestoreError")).encode(HOST)
        == (
            f"POST /2018-06-01/runtime/restore/error HTTP/1.1\r\n{START}"
            "Content-Type: application/vnd.aws.lambda.error+json\r\n"
            "Lambda-Runtime-Function-Error-Type: Runtime.AfterRestoreError\r\n"
            f"Content-Length: {len(REPORT_JSON)}\r\n\r\n"
        ).encode()
        + REPORT_JSON
    )


def test_the_registration_of_an_extension() -> None:
    assert (
        register_extension().encode(HOST)
        == (
            f"POST /2020-01-01/extension/register HTTP/1.1\r\n{START}"
            "Content-Type: application/json\r\nLambda-Extension-Name: asgi-stream\r\nContent-Length: 13\r\n\r\n"
            '{"events":[]}'
        ).encode()
    )
    assert next_extension_event("id-1").encode(HOST) == (
        f"GET /2020-01-01/extension/event/next HTTP/1.1\r\n{START}Lambda-Extension-Identifier: id-1\r\n\r\n".encode()
    )


def test_the_reply_to_a_registration() -> None:
    assert parse_registration(Reply(200, {"lambda-extension-identifier": "id-1"}, b"{}", True)) == "id-1"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(403, {}, b"closed", True),
        Reply(403, {"lambda-extension-identifier": "id-1"}, b"closed", True),
        Reply(200, {}, b"{}", True),
        Reply(200, {"lambda-extension-identifier": ""}, b"{}", True),
    ],
)
def test_a_registration_without_an_identifier(reply: Reply) -> None:
    with pytest.raises(ProtocolError, match=f"no extension identifier: status {reply.status}"):
        parse_registration(reply)


def test_an_identifier_that_would_not_stay_in_its_header() -> None:
    with pytest.raises(ProtocolError, match="Lambda-Extension-Identifier"):
        next_extension_event("id-1\r\nEvil: 1").encode(HOST)
