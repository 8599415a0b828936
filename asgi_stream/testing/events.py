"""Events as AWS makes them of an HTTP request, one builder for each event source.

Each takes the request as its client sent it and does to it what the source does: what AWS decodes is decoded, what it
joins is joined, what it drops is gone. ``docs/event-sources.md`` has a table of that for each source.

What all builders take: ``method``; ``target``, the path with its query, percent-encoded (``/a%20b?x=1``); ``headers``,
(name, value) pairs whose text is Latin-1; ``body`` in bytes; ``source_ip``, the client's address; ``scheme``. A Host
header that is missing is the source's own domain.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, unquote

from asgi_stream.local.function_url import Request, build_event, is_hop_by_hop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["alb_event", "function_url_event", "http_api_event", "lambda_edge_event", "rest_api_event"]

SOURCE_IP = "192.0.2.7"
EXECUTE_API = "abcdefghij.execute-api.us-east-1.amazonaws.com"
LOAD_BALANCER = "example-1234567890.us-east-1.elb.amazonaws.com"
TARGET_GROUP = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/example/6d0ecf831eec9f09"
DISTRIBUTION = "d111111abcdef8.cloudfront.net"


def function_url_event(
    method: str = "GET",
    target: str = "/",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    source_ip: str = SOURCE_IP,
    scheme: str = "https",
) -> dict[str, Any]:
    """Returns a Function URL's event, payload 2.0. (AWS Lambda Developer Guide: "Invoking Lambda function URLs")"""
    path, _, query = target.partition("?")
    event = build_event(
        Request(
            method=method,
            raw_path=path.encode(),
            query=query.encode(),
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            body=body,
            source_ip=source_ip,
            port=443 if scheme == "https" else 80,
            scheme=scheme,
        )
    )
    event["headers"].setdefault("host", event["requestContext"]["domainName"])
    return event


def http_api_event(
    method: str = "GET",
    target: str = "/",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    version: Literal["2.0", "1.0"] = "2.0",
    stage: str = "$default",
    domain: str = EXECUTE_API,
    stage_in_path: bool = True,
    source_ip: str = SOURCE_IP,
    scheme: str = "https",
) -> dict[str, Any]:
    """Returns an HTTP API's event. A named ``stage`` is in front of its path where ``domain`` is API Gateway's own.

    On another domain both have been reported for payload 2.0: it is in the path too, unless ``stage_in_path`` is False.
    In payload 1.0 it is not.

    (AWS API Gateway Developer Guide: "Create AWS Lambda proxy integrations for HTTP APIs")
    """
    headers = _with_host(headers, domain)
    event = function_url_event(method, target, headers, body, source_ip=source_ip, scheme=scheme)
    has_stage = ".execute-api." in domain or (version == "2.0" and stage_in_path)
    prefix = f"/{stage}" if stage != "$default" and has_stage else ""
    # Decoded once, and cut at a question mark that comes of it.
    route = unquote(event["rawPath"]).partition("?")[0]
    path = prefix + route
    if version == "1.0":
        event = _payload_1(event, headers, stage, domain, route, path) | {"path": path}
        return {"version": "1.0"} | event
    context = event["requestContext"]
    context |= {"accountId": "123456789012", "apiId": "abcdefghij", "stage": stage}
    context |= {"domainName": domain, "domainPrefix": domain.partition(".")[0]}
    context["http"]["path"] = event["rawPath"] = path
    event["headers"].pop("cookie", None)
    return event


def rest_api_event(
    method: str = "GET",
    target: str = "/",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    stage: str = "prod",
    domain: str = EXECUTE_API,
    source_ip: str = SOURCE_IP,
    scheme: str = "https",
) -> dict[str, Any]:
    """Returns a REST API's proxy event; where ``domain`` is API Gateway's own, its ``requestContext.path`` has a stage.

    (AWS API Gateway Developer Guide: "Input format of a Lambda function for proxy integration")
    """
    headers = _with_host(headers, domain)
    event = function_url_event(method, target, headers, body, source_ip=source_ip, scheme=scheme)
    prefix = f"/{stage}" if ".execute-api." in domain else ""
    return _payload_1(event, headers, stage, domain, event["rawPath"], prefix + event["rawPath"])


def alb_event(
    method: str = "GET",
    target: str = "/",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    multi_value: bool = False,
    source_ip: str = SOURCE_IP,
    scheme: str = "https",
) -> dict[str, Any]:
    """Returns a load balancer's event; ``multi_value`` is its target group's ``lambda.multi_value_headers.enabled``.

    (AWS Elastic Load Balancing guide: "Use Lambda functions as targets of an Application Load Balancer")
    """
    headers = _with_host(headers, LOAD_BALANCER)
    base = function_url_event(method, target, headers, body, source_ip=source_ip, scheme=scheme)
    names = [(name.lower(), value) for name, value in _sent_headers(base, headers)]
    query = [part.partition("=")[::2] for part in base["rawQueryString"].split("&") if part]
    event: dict[str, Any] = {
        "requestContext": {
            "elb": {"targetGroupArn": TARGET_GROUP},
        },
        "httpMethod": method,
        "path": base["rawPath"],
        "body": base.get("body", ""),
        "isBase64Encoded": base["isBase64Encoded"],
    }
    if multi_value:
        return event | {"multiValueHeaders": _grouped(names), "multiValueQueryStringParameters": _grouped(query)}
    # The last value of a name is all that is left.
    return event | {"headers": dict(names), "queryStringParameters": dict(query)}


def lambda_edge_event(
    method: str = "GET",
    target: str = "/",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    event_type: Literal["viewer-request", "origin-request"] = "viewer-request",
    source_ip: str = SOURCE_IP,
) -> dict[str, Any]:
    """Returns a CloudFront event, its body included, up to the size where CloudFront cuts it.

    (AWS CloudFront Developer Guide: "Lambda@Edge event structure")
    """
    limit = 40_000 if event_type == "viewer-request" else 1_000_000
    headers = _with_host(headers, DISTRIBUTION)
    base = function_url_event(method, target, headers, body, source_ip=source_ip)
    entries: dict[str, list[dict[str, str]]] = {}
    for name, value in headers:
        if not is_hop_by_hop(name.lower()):
            entries.setdefault(name.lower(), []).append({"key": name, "value": value})
    request: dict[str, Any] = {
        "clientIp": source_ip,
        "headers": entries,
        "method": method,
        "querystring": base["rawQueryString"],
        "uri": base["rawPath"],
    }
    if event_type == "origin-request":
        entries["x-forwarded-for"] = [{"key": "X-Forwarded-For", "value": source_ip}]
        request["origin"] = {
            "custom": {
                "customHeaders": {},
                "domainName": "example.org",
                "keepaliveTimeout": 5,
                "path": "",
                "port": 443,
                "protocol": "https",
                "readTimeout": 30,
                "sslProtocols": ["TLSv1.2"],
            }
        }
    if body:
        request["body"] = {
            "inputTruncated": len(body) > limit,
            "action": "read-only",
            "encoding": "base64",
            "data": base64.b64encode(body[:limit]).decode("ascii"),
        }
    config = {
        "distributionDomainName": DISTRIBUTION,
        "distributionId": "EDFDVBD6EXAMPLE",
        "eventType": event_type,
        "requestId": base["requestContext"]["requestId"],
    }
    return {"Records": [{"cf": {"config": config, "request": request}}]}


def _payload_1(
    base: dict[str, Any], headers: Sequence[tuple[str, str]], stage: str, domain: str, path: str, context_path: str
) -> dict[str, Any]:
    sent = _sent_headers(base, headers)
    query = parse_qsl(base["rawQueryString"], keep_blank_values=True, errors="replace")
    http = base["requestContext"]["http"]
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": http["method"],
        "headers": dict(sent),
        "multiValueHeaders": _grouped(sent),
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": _grouped(query) or None,
        "pathParameters": {"proxy": path.removeprefix("/")} if path.strip("/") else None,
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "domainName": domain,
            "domainPrefix": domain.partition(".")[0],
            "httpMethod": http["method"],
            "identity": {"sourceIp": http["sourceIp"], "userAgent": http["userAgent"]},
            "path": context_path,
            "protocol": http["protocol"],
            "requestId": base["requestContext"]["requestId"],
            "requestTime": base["requestContext"]["time"],
            "requestTimeEpoch": base["requestContext"]["timeEpoch"],
            "resourcePath": "/{proxy+}",
            "stage": stage,
        },
        "body": base.get("body"),
        "isBase64Encoded": base["isBase64Encoded"],
    }


def _with_host(headers: Sequence[tuple[str, str]], host: str) -> Sequence[tuple[str, str]]:
    return headers if any(name.lower() == "host" for name, _ in headers) else [("Host", host), *headers]


def _sent_headers(base: dict[str, Any], headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The client's headers in its own letters, then what AWS adds: both as ``base`` has them, none joined."""
    added = {name: value for name, value in base["headers"].items() if name.startswith(("x-forwarded-", "x-amzn-"))}
    sent = [(name, value) for name, value in headers if name.lower() in base["headers"] and name.lower() not in added]
    if "content-length" in base["headers"] and not any(name.lower() == "content-length" for name, _ in sent):
        added["content-length"] = base["headers"]["content-length"]
    return sent + list(added.items())


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped
