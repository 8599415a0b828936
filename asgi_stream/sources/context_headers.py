"""Event and context as request headers, for apps that were written for Lambda Web Adapter.

Source: the guide of AWS's Lambda Web Adapter, "Request & Lambda Context" and "Multi-Tenancy", and what the adapter
sends: the names in the Lambda context are those of the Rust runtime's ``Context``. Imported only if the setting is on.
"""

from __future__ import annotations

import json
import time
from typing import Any

__all__ = ["context_headers"]


def context_headers(event: object, context: Any, trace: bytes | None) -> list[tuple[bytes, bytes]]:
    """Returns ``x-amzn-request-context``, ``x-amzn-lambda-context`` and, with a tenant, ``x-amz-tenant-id``.

    The first two are JSON: the event's ``requestContext`` as it came (``null`` where there is none), and the Lambda
    context. ``trace`` is the invocation's X-Ray header.
    """
    # An event that is passed through may be of any kind.
    request_context = event.get("requestContext") if isinstance(event, dict) else None
    headers = [
        (b"x-amzn-request-context", _json(request_context)),
        (b"x-amzn-lambda-context", _json(_lambda_context(context, trace))),
    ]
    tenant = getattr(context, "tenant_id", None)
    if isinstance(tenant, str) and tenant.isascii() and tenant.isprintable():
        headers.append((b"x-amz-tenant-id", tenant.encode("ascii")))
    return headers


def _json(value: object) -> bytes:
    # ASGI's headers are Latin-1 to most apps: escapes are read right by them all. Lambda Web Adapter sends UTF-8.
    return json.dumps(value, separators=(",", ":"), default=str).encode("ascii")


def _lambda_context(context: Any, trace: bytes | None) -> dict[str, Any]:
    return {
        "request_id": _text(context, "aws_request_id"),
        "deadline": _deadline(context),  # milliseconds since the epoch
        "invoked_function_arn": _text(context, "invoked_function_arn"),
        "xray_trace_id": None if trace is None else trace.decode("latin-1"),
        "client_context": _client_context(getattr(context, "client_context", None)),
        "identity": _identity(getattr(context, "identity", None)),
        "tenant_id": getattr(context, "tenant_id", None),
        "env_config": {
            "function_name": _text(context, "function_name"),
            "memory": _number(_text(context, "memory_limit_in_mb")),
            "version": _text(context, "function_version"),
            "log_stream": _text(context, "log_stream_name"),
            "log_group": _text(context, "log_group_name"),
        },
    }


def _text(part: Any, name: str) -> str:
    value = getattr(part, name, None)
    return "" if value is None else str(value)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _deadline(context: Any) -> int:
    deadline = getattr(context, "deadline_ms", None)
    if isinstance(deadline, int):
        return deadline
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    return int(time.time() * 1000) + int(remaining()) if callable(remaining) else 0


def _identity(identity: Any) -> dict[str, str] | None:
    if getattr(identity, "cognito_identity_id", None) is None:
        return None
    return {
        "identityId": _text(identity, "cognito_identity_id"),
        "identityPoolId": _text(identity, "cognito_identity_pool_id"),
    }


def _client_context(client_context: Any) -> dict[str, Any] | None:
    if client_context is None:
        return None
    client = getattr(client_context, "client", None)
    return {
        "client": {
            "installationId": _text(client, "installation_id"),
            "appTitle": _text(client, "app_title"),
            "appVersionName": _text(client, "app_version_name"),
            "appVersionCode": _text(client, "app_version_code"),
            "appPackageName": _text(client, "app_package_name"),
        },
        "custom": getattr(client_context, "custom", None) or {},
        "environment": getattr(client_context, "env", None) or {},
    }
