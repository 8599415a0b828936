"""Function URL events, in the shape that AWS documents."""

from __future__ import annotations

from typing import Any


def function_url_event(method: str = "GET", path: str = "/", query: str = "", **changes: Any) -> dict[str, Any]:
    """A payload 2.0 event; ``changes`` replace top-level keys."""
    host = "abcdefgh.lambda-url.eu-central-1.on.aws"
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {
            "accept": "*/*",
            "host": host,
            "user-agent": "test",
            "x-amzn-trace-id": "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e",
            "x-forwarded-for": "192.0.2.7",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefgh",
            "domainName": host,
            "domainPrefix": "abcdefgh",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.7",
                "userAgent": "test",
            },
            "requestId": "5f0e0d6c-8f3a-4f5e-9a58-1c4f2f3a9d11",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1773342238390,
        },
        "isBase64Encoded": False,
    }
    event.update(changes)
    return event
