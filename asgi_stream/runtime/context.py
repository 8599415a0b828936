"""The context object of an invocation, with the names that AWS documents for Python.

Source: "Using the Lambda context object to retrieve Python function information", Lambda Developer Guide.
"""

from __future__ import annotations

import contextvars
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_stream.runtime.caller import ClientContext, CognitoIdentity
    from asgi_stream.runtime.requests import Invocation

__all__ = ["LambdaContext", "trace_id"]

# The X-Ray trace of the invocation that runs in this task. On Managed Instances, where many run at once, the
# environment variable _X_AMZN_TRACE_ID cannot tell.
trace_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("trace_id", default=None)


class LambdaContext:
    """One invocation's context.

    ``memory_limit_in_mb`` is a string, as in AWS's own Python runtime; names that Lambda did not supply are None.
    Beyond AWS's names: ``trace_id``, the X-Ray header, and ``deadline_ms``, in milliseconds since the epoch.
    """

    __slots__ = (
        "_client_context",
        "_environ",
        "_identity",
        "aws_request_id",
        "deadline_ms",
        "invoked_function_arn",
        "tenant_id",
        "trace_id",
    )

    def __init__(self, invocation: Invocation, environ: Mapping[str, str] = os.environ) -> None:
        self.aws_request_id = invocation.request_id
        self.invoked_function_arn = invocation.function_arn
        self.tenant_id = invocation.tenant_id
        self.trace_id = invocation.trace_id
        self.deadline_ms = invocation.deadline_ms
        # Read when they are asked for: most invocations ask for none of them.
        self._environ = environ
        self._identity = invocation.cognito_identity
        self._client_context = invocation.client_context

    @property
    def function_name(self) -> str | None:
        """The function's name."""
        return self._environ.get("AWS_LAMBDA_FUNCTION_NAME")

    @property
    def function_version(self) -> str | None:
        """The function's version, ``$LATEST`` for the one that can be changed."""
        return self._environ.get("AWS_LAMBDA_FUNCTION_VERSION")

    @property
    def memory_limit_in_mb(self) -> str | None:
        """The function's memory, in MB."""
        return self._environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")

    @property
    def log_group_name(self) -> str | None:
        """Where its logs are."""
        return self._environ.get("AWS_LAMBDA_LOG_GROUP_NAME")

    @property
    def log_stream_name(self) -> str | None:
        """Where the logs of this execution environment are."""
        return self._environ.get("AWS_LAMBDA_LOG_STREAM_NAME")

    @property
    def identity(self) -> CognitoIdentity:
        """Who authorised the request, by Amazon Cognito."""
        from asgi_stream.runtime.caller import read_identity

        return read_identity(self._identity)

    @property
    def client_context(self) -> ClientContext | None:
        """What the invoker sent as its client context."""
        from asgi_stream.runtime.caller import read_client_context

        return read_client_context(self._client_context)

    def get_remaining_time_in_millis(self) -> int:
        """Returns the milliseconds until Lambda ends this invocation, never less than 0.

        Where Lambda gave no deadline, it is the longest that a function can have: 15 minutes.
        """
        if self.deadline_ms is None:
            return 900_000
        return max(0, self.deadline_ms - int(time.time() * 1000))

    def log(self, message: object) -> None:
        """Writes ``message`` to the function's log as it is."""
        sys.stdout.write(str(message))
        sys.stdout.flush()

    def __repr__(self) -> str:
        return f"LambdaContext(aws_request_id={self.aws_request_id!r}, function_name={self.function_name!r})"
