"""What the events of API Gateway, Function URLs and load balancers have in common.

Payload 2.0 is what Function URLs and HTTP APIs send; payload 1.0 is the older shape of REST APIs, which HTTP APIs can
send too and which load balancers follow in part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgi_stream.errors import EventError
from asgi_stream.sources.forwarded import read_client
from asgi_stream.sources.percent import quote_path, quote_query, unquote
from asgi_stream.sources.request import (
    as_text,
    build_request,
    encode,
    field,
    object_field,
    read_body,
    read_headers,
    read_method,
    text_field,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asgi_stream.sources.request import HttpRequest

__all__ = ["is_authorizer", "is_payload_2", "read_pairs", "request_1", "request_2"]


def is_payload_2(event: Mapping[str, Any]) -> bool:
    """True for a request in payload format 2.0, of a Function URL or an HTTP API."""
    context = event.get("requestContext")
    return (
        event.get("version") == "2.0" and isinstance(context, dict) and "http" in context and not is_authorizer(event)
    )


def is_function_url(event: Mapping[str, Any]) -> bool:
    """True where the domain is a Function URL's: nothing else in payload 2.0 tells it from an HTTP API."""
    context = event.get("requestContext")
    return isinstance(context, dict) and ".lambda-url." in str(context.get("domainName"))


def is_authorizer(event: Mapping[str, Any]) -> bool:
    """True for an event that asks a Lambda authorizer about a request: it looks like one, and wants a policy."""
    return "methodArn" in event or "routeArn" in event


def is_custom_domain(event: Mapping[str, Any]) -> bool:
    """True where API Gateway was called by a domain name that is not its own: the client's URL has no stage."""
    domain = field(event, "requestContext.domainName", str, "")
    return bool(domain) and ".execute-api." not in domain


def read_pairs(
    event: Mapping[str, Any], single: str, multi: str = "", *, fold: Callable[[str], str] = str
) -> list[tuple[str, str]]:
    """Returns (name, value) pairs of the object of lists ``multi``, then those that only the object ``single`` has.

    AWS's own documentation prints events whose objects hold different names. ``fold`` makes names comparable:
    ``str.lower`` for headers. A null is an empty text. Raises EventError that names the invalid field.
    """
    lists = object_field(event, multi) if multi else {}
    if not lists:
        pairs = list(object_field(event, single).items())
        if {type(value) for _, value in pairs} == {str}:  # as nearly always
            return pairs
    pairs = []
    for name, values in lists.items():
        if type(values) is list:
            pairs += [(name, as_text(value, f"{multi}.{name}")) for value in values]
        elif values is not None:
            raise EventError(f"the event's {multi}.{name} must be a list, not {type(values).__name__}")
    known = {fold(name) for name, _ in pairs}
    pairs += [
        (name, value if type(value) is str else as_text(value, f"{single}.{name}"))
        for name, value in object_field(event, single).items()
        if not known or fold(name) not in known
    ]
    if None in lists.values():
        known.update(fold(name) for name, _ in pairs)
        pairs += [(name, "") for name, values in lists.items() if values is None and fold(name) not in known]
    return pairs


def request_2(
    event: Mapping[str, Any], *, decoded: bool, root_path: str = "", root_path_in_url: bool = True
) -> HttpRequest:
    """Returns the request in a payload 2.0 event; ``decoded`` says that its rawPath is. Raises EventError."""
    context = object_field(event, "requestContext")
    http = object_field(context, "http", "requestContext.")
    raw_path = text_field(event, "rawPath") or "/"
    cookies: list[str] = field(event, "cookies", list, []) if "cookies" in event else []
    if cookies and not all(isinstance(cookie, str) for cookie in cookies):
        raise EventError("the event's cookies must be a list of str")
    source_ip = text_field(http, "sourceIp", "requestContext.http.")
    return build_request(
        method=read_method(http, "method", "requestContext.http."),
        path=raw_path if decoded or "%" not in raw_path else unquote(raw_path),
        raw_path=quote_path(raw_path) if decoded else encode(raw_path),
        query_string=encode(text_field(event, "rawQueryString")),
        headers=read_headers(read_pairs(event, "headers"), cookies),
        body=read_body(event),
        client=(source_ip, 0) if source_ip else None,
        host=text_field(context, "domainName", "requestContext."),
        protocol=text_field(http, "protocol", "requestContext.http."),
        root_path=root_path,
        root_path_in_url=root_path_in_url,
    )


def request_1(event: Mapping[str, Any], *, path: str, raw_path: bytes, root_path: str) -> HttpRequest:
    """Returns the request in a payload 1.0 event, whose paths the source has read. Raises EventError.

    Query parameters came decoded: they are encoded again, spaces as ``+``.
    """
    headers = read_headers(read_pairs(event, "headers", "multiValueHeaders", fold=str.lower))
    query = read_pairs(event, "queryStringParameters", "multiValueQueryStringParameters")
    source_ip = field(event, "requestContext.identity.sourceIp", str, "")
    return build_request(
        method=read_method(event, "httpMethod"),
        path=path,
        raw_path=raw_path,
        query_string="&".join(f"{quote_query(name)}={quote_query(value)}" for name, value in query).encode(),
        headers=headers,
        body=read_body(event),
        client=(source_ip, 0) if source_ip else read_client(headers.first.get("x-forwarded-for", "")),
        host=field(event, "requestContext.domainName", str, ""),
        protocol=field(event, "requestContext.protocol", str, ""),
        root_path=root_path,
    )


def stage_prefix(event: Mapping[str, Any], path: str, route: str = "") -> str:
    """Returns ``/stage`` where the event's named stage is the first segment of ``path``, else an empty str.

    ``route`` is the path of the route that API Gateway chose, such as ``/items/{id}``: no route has the stage, so that
    it decides where it fits ``path`` with its first segment or without, and not both.
    """
    stage = field(event, "requestContext.stage", str, "")
    prefix = f"/{stage}"
    if not stage or stage == "$default" or not (path == prefix or path.startswith(f"{prefix}/")):
        return ""
    rest = path[len(prefix) :] or "/"
    if route:
        parameters = field(event, "pathParameters", dict, {})
        chosen = "/".join(_value_of(segment, parameters) for segment in route.split("/"))
        if chosen in (path, rest):
            return prefix if chosen == rest else ""
        if _fits(path, route) != _fits(rest, route):
            return prefix if _fits(rest, route) else ""
    return prefix


def _value_of(segment: str, parameters: Mapping[str, Any]) -> str:
    """The part of a path that a segment of its route stands for: ``{id}``, ``{proxy+}``, or itself."""
    if segment.startswith("{") and segment.endswith("}"):
        return str(parameters.get(segment[1:-1].removesuffix("+"), segment))
    return segment


def _fits(path: str, route: str) -> bool:
    """True for a path that the route takes: ``{id}`` is one segment, ``{proxy+}`` at the end one or more."""
    segments, wanted = path.strip("/").split("/"), route.strip("/").split("/")
    if wanted[-1].endswith("+}"):
        segments[len(wanted) - 1 :] = ["/".join(segments[len(wanted) - 1 :])]
    return len(segments) == len(wanted) and all(
        segment == want or (segment and want.startswith("{")) for segment, want in zip(segments, wanted, strict=True)
    )


def context_prefix(event: Mapping[str, Any], path: str) -> str:
    """Returns what ``requestContext.path`` has in front of ``path``, an empty str for nothing.

    Both are decoded. ``path`` begins with a slash, so that what is cut off is whole segments; for the path ``/`` it
    has to be the stage. On a domain other than API Gateway's own there is no stage.
    """
    full = unquote(field(event, "requestContext.path", str, ""))
    if is_custom_domain(event):
        return ""
    if path == "/":
        stage = field(event, "requestContext.stage", str, "")
        prefix = f"/{stage}" if stage and full.removesuffix("/") == f"/{stage}" else ""
    elif path.startswith("/") and full.endswith(path):
        prefix = full[: -len(path)].rstrip("/")
    else:
        prefix = ""
    return prefix if prefix.startswith("/") else ""
