"""The context object: AWS's names, and nothing that a missing or mangled header could break."""

from __future__ import annotations

import time

import pytest

from asgi_stream.runtime.caller import ClientContext, ClientInfo, CognitoIdentity
from asgi_stream.runtime.context import LambdaContext
from asgi_stream.runtime.requests import Invocation

ENVIRON = {
    "AWS_LAMBDA_FUNCTION_NAME": "f",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]abc",
}


def test_everything_that_lambda_tells() -> None:
    context = LambdaContext(
        Invocation(
            "id-1",
            b"",
            deadline_ms=int(time.time() * 1000) + 10_000,
            function_arn="arn:f",
            trace_id="Root=1",
            client_context='{"client":{"app_title":"t"},"custom":{"a":1},"env":{"b":2}}',
            cognito_identity='{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}',
            tenant_id="tenant",
        ),
        ENVIRON,
    )
    assert context.aws_request_id == "id-1"
    assert context.invoked_function_arn == "arn:f"
    assert context.function_name == "f"
    assert context.function_version == "$LATEST"
    assert context.memory_limit_in_mb == "512"
    assert context.log_group_name == "/aws/lambda/f"
    assert context.log_stream_name == "2026/01/01/[$LATEST]abc"
    assert context.trace_id == "Root=1"
    assert context.tenant_id == "tenant"
    assert context.identity == CognitoIdentity("i", "p")
    assert context.client_context == ClientContext(ClientInfo(app_title="t"), {"a": 1}, {"b": 2})
    assert 0 < context.get_remaining_time_in_millis() <= 10_000
    assert "id-1" in repr(context)


@pytest.mark.parametrize("header", [None, "", "not json", "[]", "7", "[" * 100_000])
def test_a_missing_or_mangled_header(header: str | None) -> None:
    context = LambdaContext(Invocation("id-1", b"", client_context=header, cognito_identity=header), {})
    assert context.client_context is None
    assert context.identity == CognitoIdentity(None, None)
    assert context.function_name is None
    assert context.get_remaining_time_in_millis() == 900_000


def test_a_deadline_that_has_passed() -> None:
    assert LambdaContext(Invocation("id-1", b"", deadline_ms=1), {}).get_remaining_time_in_millis() == 0


def test_log(capsys: pytest.CaptureFixture[str]) -> None:
    LambdaContext(Invocation("id-1", b""), {}).log("as it is\n")
    assert capsys.readouterr().out == "as it is\n"
