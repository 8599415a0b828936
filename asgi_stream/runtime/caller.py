"""Who called, where a mobile app did: two parts of the context that few functions ask for, and no start waits for.

Source: "Using the Lambda context object to retrieve Python function information", Lambda Developer Guide.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ClientContext", "ClientInfo", "CognitoIdentity", "read_client_context", "read_identity"]


class CognitoIdentity(NamedTuple):
    """Who authorised the request, by Amazon Cognito; both None for everyone else."""

    cognito_identity_id: str | None = None
    cognito_identity_pool_id: str | None = None


class ClientInfo(NamedTuple):
    """The mobile app that invoked the function, as its SDK describes itself."""

    installation_id: str | None = None
    app_title: str | None = None
    app_version_name: str | None = None
    app_version_code: str | None = None
    app_package_name: str | None = None


class ClientContext(NamedTuple):
    """What the invoker sent as its client context."""

    client: ClientInfo
    custom: Mapping[str, Any]
    env: Mapping[str, Any]


def _object(text: str | None) -> dict[str, Any] | None:
    """The JSON object in a header, or None: a missing or mangled header fails no invocation."""
    try:
        value = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_identity(header: str | None) -> CognitoIdentity:
    """Returns the identity in the header ``Lambda-Runtime-Cognito-Identity``."""
    fields = _object(header) or {}
    return CognitoIdentity(fields.get("cognitoIdentityId"), fields.get("cognitoIdentityPoolId"))


def read_client_context(header: str | None) -> ClientContext | None:
    """Returns what the header ``Lambda-Runtime-Client-Context`` says; None where it says nothing."""
    fields = _object(header)
    if fields is None:
        return None
    client = fields.get("client")
    info = client if isinstance(client, dict) else {}
    return ClientContext(
        client=ClientInfo(*(info.get(name) for name in ClientInfo._fields)),
        custom=fields.get("custom") or {},
        env=fields.get("env") or {},
    )
