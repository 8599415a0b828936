"""What becomes of the events that AWS documents, field by field; and which source each belongs to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asgi_stream import StreamingAdapter
from asgi_stream.errors import UnknownEventError
from asgi_stream.sources import HttpRequest, can_stream, find_source, function_url, http_api, sources
from tests.sources.recorded import NAMES, recorded
from tests.support.wire import serve

EXECUTE_API = "abcdefghij.execute-api.us-east-1.amazonaws.com"
ELB = "example-1234567890.us-east-1.elb.amazonaws.com"
LATTICE = "orders-0a40eebed65f8d69c.7d67968.vpc-lattice-svcs.us-east-2.on.aws"
FORWARDED = [(b"x-forwarded-for", b"192.0.2.7"), (b"x-forwarded-port", b"443"), (b"x-forwarded-proto", b"https")]
COOKIE = (b"cookie", b"cookie1=a; cookie2=b")

REQUESTS = {
    "function_url": HttpRequest(
        method="POST",
        path="/my/path with/slash",
        raw_path=b"/my/path%20with%2Fslash",
        query_string=b"parameter1=value1&parameter1=value2&parameter2=a+b%2B",
        headers=[
            (b"header1", b"value1"),
            (b"header2", b"value1,value2"),
            (b"host", b"abcdefgh.lambda-url.us-west-2.on.aws"),
            *FORWARDED,
            COOKIE,
        ],
        body=b"Hello from client!",
        client=("192.0.2.7", 0),
        server=("abcdefgh.lambda-url.us-west-2.on.aws", 443),
        scheme="https",
        http_version="1.1",
    ),
    "http_api_2": HttpRequest(
        method="POST",
        path="/prod/my/path with space",
        raw_path=b"/prod/my/path%20with%20space",
        query_string=b"parameter1=value1&parameter1=value2&parameter2=a+b%2B",
        headers=[
            (b"header1", b"value1"),
            (b"header2", b"value1,value2"),
            (b"host", EXECUTE_API.encode()),
            *FORWARDED,
            COOKIE,
        ],
        body=b"Hello",
        client=("192.0.2.7", 0),
        server=(EXECUTE_API, 443),
        scheme="https",
        http_version="1.1",
        root_path="/prod",
    ),
    "http_api_1": HttpRequest(
        method="GET",
        path="/my/path",
        raw_path=b"/my/path",
        query_string=b"parameter1=value1&parameter1=value2&parameter2=value",
        headers=[
            (b"header1", b"value1"),
            (b"header2", b"value1"),
            (b"header2", b"value2"),
            (b"host", EXECUTE_API.encode()),
            (b"x-forwarded-proto", b"https"),
        ],
        body=b"Hello from Lambda!",
        client=("192.0.2.7", 0),
        server=(EXECUTE_API, 443),
        scheme="https",
        http_version="1.1",
    ),
    "rest_api": HttpRequest(
        method="POST",
        path="/prod/my/path with/slash",
        raw_path=b"/prod/my/path%20with%2Fslash",
        query_string=b"name=me&multi+value=a+b&multi+value=b%2Bc",
        headers=[
            (b"accept", b"*/*"),
            (b"host", EXECUTE_API.encode()),
            (b"x-forwarded-for", b"192.0.2.7, 198.51.100.9"),
            (b"x-forwarded-port", b"443"),
            (b"x-forwarded-proto", b"https"),
            (b"header2", b"value1"),
            (b"header2", b"value2"),
            COOKIE,
        ],
        body=b'{"a":1}',
        client=("192.0.2.7", 0),
        server=(EXECUTE_API, 443),
        scheme="https",
        http_version="1.1",
        root_path="/prod",
    ),
    "rest_api_two_maps": HttpRequest(
        method="POST",
        path="/prod/my/path",
        raw_path=b"/prod/my/path",
        query_string=b"name=you&name=me&multi=c&single=a+b&nothing=",
        headers=[
            (b"header2", b"value1"),
            (b"header2", b"value2"),
            (b"x-only-multi", b"many"),
            (b"content-type", b"application/octet-stream"),
            (b"host", EXECUTE_API.encode()),
            (b"x-forwarded-proto", b"https"),
            (b"x-only-single", b"one"),
            (b"x-null", b""),
            (b"x-nothing", b""),
        ],
        body=b"Hello from Lambda!",
        client=("192.0.2.7", 0),
        server=(EXECUTE_API, 443),
        scheme="https",
        http_version="1.1",
        root_path="/prod",
    ),
    "alb": HttpRequest(
        method="GET",
        path="/my/path with/slash",
        raw_path=b"/my/path%20with%2Fslash",
        query_string=b"parameter1=a+b%2B&caf%C3%A9=2",
        headers=[
            (b"accept", b"text/html"),
            (b"host", ELB.encode()),
            (b"x-amzn-trace-id", b"Root=1-5bdb40ca-556d8b0c50dc66f0511bf520"),
            *FORWARDED,
            COOKIE,
        ],
        body=b"",
        client=("192.0.2.7", 0),
        server=(ELB, 443),
        scheme="https",
        http_version="1.1",
    ),
    "alb_multi_value": HttpRequest(
        method="POST",
        path="/",
        raw_path=b"/",
        query_string=b"myKey=val1&myKey=a+b%2B&other=x",
        headers=[
            (b"accept", b"text/html"),
            (b"accept", b"application/json"),
            (b"host", ELB.encode()),
            (b"x-forwarded-for", b"192.0.2.7"),
            (b"x-forwarded-port", b"80"),
            (b"x-forwarded-proto", b"http"),
            COOKIE,
        ],
        body=b"\x00\xff",
        client=("192.0.2.7", 0),
        server=(ELB, 80),
        scheme="http",
        http_version="1.1",
    ),
    "alb_health_check": HttpRequest(
        method="GET",
        path="/health",
        raw_path=b"/health",
        query_string=b"",
        headers=[(b"user-agent", b"ELB-HealthChecker/2.0")],
        body=b"",
        client=None,
        server=None,
        scheme="https",
        http_version="1.1",
    ),
    "vpc_lattice_v1": HttpRequest(
        method="POST",
        path="/my/path with/slash",
        raw_path=b"/my/path%20with%2Fslash",
        query_string=b"parameter1=value1&parameter1=value2&parameter2=a+b%2B",
        headers=[
            (b"accept", b"*/*"),
            (b"header1", b"value1"),
            (b"header2", b"value1, value2"),
            (b"content-type", b"application/octet-stream"),
            (b"host", LATTICE.encode()),
            (
                b"x-amzn-lattice-network",
                b"SourceVpcArn=arn:aws:ec2:us-east-2:123456789012:vpc/vpc-0b8276c84697e7339",
            ),
            (b"x-forwarded-for", b"10.213.229.10"),
            COOKIE,
        ],
        body=b"Hello from Lambda!",
        client=("10.213.229.10", 0),
        server=(LATTICE, 443),
        scheme="https",
        http_version="1.1",
    ),
    "vpc_lattice_v1_parameters": HttpRequest(
        method="GET",
        path="/orders",
        raw_path=b"/orders",
        query_string=b"order-id=1&q=a%20b&empty=",
        headers=[
            (b"host", LATTICE.encode()),
            (b"user_agent", b"curl/7.64.1"),
            (b"x-forwarded-for", b"10.213.229.10"),
            (b"x-null", b""),
        ],
        body=b"",
        client=("10.213.229.10", 0),
        server=(LATTICE, 443),
        scheme="https",
        http_version="1.1",
    ),
    "vpc_lattice_v2": HttpRequest(
        method="POST",
        path="/my/path with/slash",
        raw_path=b"/my/path%20with%2Fslash",
        query_string=b"parameter1=value1&parameter1=value2&parameter2=a+b%2B",
        headers=[
            (b"accept", b"*/*"),
            (b"header1", b"value1"),
            (b"header2", b"value1"),
            (b"header2", b"value2"),
            (b"content-type", b"application/json"),
            (b"host", LATTICE.encode()),
            (b"x-forwarded-for", b"10.213.229.10"),
            COOKIE,
        ],
        body=b'{"a":1}',
        client=("10.213.229.10", 0),
        server=(LATTICE, 443),
        scheme="https",
        http_version="1.1",
    ),
    "vpc_lattice_v2_text": HttpRequest(
        method="GET",
        path="/newpath",
        raw_path=b"/newpath",
        query_string=b"order-id=1&tag=a&tag=b",
        headers=[
            (b"host", LATTICE.encode()),
            (b"x-forwarded-for", b"10.213.229.10"),
            (b"x-forwarded-for", b"192.0.2.1"),
            (b"x-forwarded-proto", b"http"),
            (b"x-null", b""),
        ],
        body=b"",
        client=("10.213.229.10", 0),
        server=(LATTICE, 80),
        scheme="http",
        http_version="1.1",
    ),
    "lambda_edge_viewer": HttpRequest(
        method="GET",
        path="/my/path with/slash",
        raw_path=b"/my/path%20with%2Fslash",
        query_string=b"a=1&b=a+b%2B&a=2",
        headers=[
            (b"host", b"d111111abcdef8.cloudfront.net"),
            (b"user-agent", b"agent"),
            (b"accept", b"*/*"),
            (b"accept", b"text/html"),
        ],
        body=b"",
        client=("2001:db8::7", 0),
        server=("d111111abcdef8.cloudfront.net", 443),
        scheme="https",
        http_version="1.1",
    ),
    "lambda_edge_origin": HttpRequest(
        method="POST",
        path="/",
        raw_path=b"/",
        query_string=b"",
        headers=[
            (b"x-forwarded-for", b"192.0.2.7"),
            (b"cloudfront-forwarded-proto", b"http"),
            (b"user-agent", b"Amazon CloudFront"),
            (b"host", b"example.org"),
            (b"cache-control", b"no-cache"),
        ],
        body=b"\x00\xff",
        client=("192.0.2.7", 0),
        server=("example.org", 80),
        scheme="http",
        http_version="1.1",
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_request_of_a_documented_event(name: str) -> None:
    event = recorded(name)
    assert find_source(event).to_request(event) == REQUESTS[name]


@pytest.mark.anyio
@pytest.mark.parametrize("name", NAMES)
async def test_an_app_sees_it_by_a_call_and_through_the_runtime(name: str) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope | {"body": (await receive())["body"]})
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"ok"})

    handler = StreamingAdapter(app, lifespan="off", invoke_mode="buffered")
    by_call = handler(recorded(name), None)
    handler.close()
    api = await serve(handler, recorded(name))
    assert json.loads(api.answers[0].body) == by_call
    assert (str(by_call.get("statusCode") or by_call["status"]), by_call["body"]) == ("201", "ok")
    keys = set(HttpRequest._fields) - {"path", "raw_path", "root_path", "root_path_in_url"}  # which settings change
    request = {key: getattr(REQUESTS[name], key) for key in keys}
    assert [{key: scope[key] for key in keys} for scope in seen] == [request, request]


@pytest.mark.parametrize("name", NAMES)
def test_exactly_one_source_recognises_an_event(name: str) -> None:
    assert [source.name for source in sources() if source.matches(recorded(name))] == [find_source(recorded(name)).name]
    assert name.startswith(find_source(recorded(name)).name)


def test_which_sources_stream() -> None:
    assert {source.name: can_stream(source) for source in sources()} == {
        "function_url": True,
        "rest_api": True,
        "http_api": False,
        "alb": False,
        "lambda_edge": False,
        "vpc_lattice": False,
    }


def test_only_the_domain_name_tells_a_function_url_from_an_http_api() -> None:
    event = recorded("function_url")
    event["requestContext"]["domainName"] = EXECUTE_API
    assert find_source(event).name == "http_api"


@pytest.mark.parametrize("event", [None, True, 7, 1.5, "text", [1]])
def test_an_event_that_is_no_object(event: object) -> None:
    with pytest.raises(UnknownEventError, match=r"the event is a JSON .*, not an object"):
        find_source(event)


AUTHORIZER_1 = {"type": "REQUEST", "methodArn": "arn:aws:execute-api:::x"}
AUTHORIZER_2 = {"type": "REQUEST", "routeArn": "arn:aws:execute-api:::x"}


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"warm": True},
        {"Records": []},
        {"Records": [{"eventSource": "aws:sqs", "body": "x"}]},
        {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}},
        {"version": "2.0"},
        {"version": "1.0", "requestContext": {"http": 1}},
        {"version": "2.0", "path": "/", "method": "GET", "requestContext": {}},
        {"path": "/", "method": "GET"},
        {"raw_path": "/"},
        {"raw_path": "/", "method": "GET", "requestContext": {"serviceArn": "arn"}},
        {"requestContext": {"connectionId": "x", "eventType": "MESSAGE"}, "body": "x"},
        recorded("rest_api") | AUTHORIZER_1,
        recorded("http_api_1") | AUTHORIZER_1,
        recorded("http_api_2") | AUTHORIZER_2,
    ],
)
def test_an_event_of_another_kind(event: dict[str, Any]) -> None:
    with pytest.raises(
        UnknownEventError, match=r"no HTTP request that is understood.*Function URL.*Lambda@Edge.*keys: "
    ):
        find_source(event)


class Queue:
    """A user's own source."""

    name = "queue"
    streams = False

    limit = 1_000

    def matches(self, event: object) -> bool:
        return isinstance(event, dict) and "queue" in event

    def to_request(self, event: Any) -> HttpRequest:
        return REQUESTS["alb"]._replace(path=event["queue"])

    def to_answer(self, event: Any, status: int, headers: object, body: bytes, is_text: bool) -> dict[str, Any]:
        return {"status": status}


def test_a_users_own_source_comes_first() -> None:
    queue = Queue()
    assert find_source({"queue": "/a"}, [queue]).to_request({"queue": "/a"}).path == "/a"
    assert find_source(recorded("alb") | {"queue": "/a"}, [queue]) is queue
    assert find_source(recorded("http_api_2"), [queue]) is http_api
    assert find_source(recorded("function_url"), [queue]) is function_url
    with pytest.raises(UnknownEventError, match=r"Lambda@Edge, queue\)"):
        find_source({}, [queue])
