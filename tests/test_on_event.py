"""The code in docs/on-event.md runs as it is there: a schedule, a batch of which some fail, a warmer, and the API."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import asgi_stream
from asgi_stream import ConfigurationError, StreamingAdapter, UnknownEventError
from tests.sources.recorded import NAMES, recorded
from tests.support.events import function_url_event
from tests.support.wire import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = (Path(asgi_stream.__file__).parent.parent / "docs" / "on-event.md").read_text()
CODE, TEMPLATE = re.findall(r"```(?:python|yaml)\n(.*?)```", DOCUMENT, re.DOTALL)

SCHEDULE = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-10-08T16:53:06Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:123456789012:rule/nightly"],
    "detail": {},
}


def message(number: int, body: str) -> dict[str, Any]:
    """A record of a queue's event, as the SQS guide has it."""
    return {
        "messageId": f"id-{number}",
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1545082649183"},
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:orders",
        "awsRegion": "us-east-1",
    }


def order(item: str, time: str) -> str:
    return json.dumps({"item": item, "time": time})


BATCH = {
    "Records": [
        message(1, order("tea", "2026-10-07T00:00:00Z")),
        message(2, "no order"),
        message(3, order("coffee", "2026-10-09T00:00:00Z")),
        message(4, "{}"),
    ]
}


@pytest.fixture
def handler() -> Iterator[StreamingAdapter]:
    module: dict[str, Any] = {"__name__": "main"}
    exec(compile(CODE, "on-event.md", "exec"), module)
    handler = module["handler"]
    assert isinstance(handler, StreamingAdapter)
    yield handler
    handler.close()


ORDERS = function_url_event(path="/orders")
REMAINING = [{"item": "coffee", "time": "2026-10-09T00:00:00Z"}]
ANSWERS = [
    {"warm": True},
    {"batchItemFailures": [{"itemIdentifier": "id-2"}, {"itemIdentifier": "id-4"}]},
    {"removed": 1},
]


@pytest.mark.anyio
async def test_through_the_runtime(handler: StreamingAdapter) -> None:
    api = await serve(handler, {"warmer": True}, BATCH, SCHEDULE, ORDERS, {"Records": []}, "ping")
    assert [json.loads(answer.body) for answer in api.answers[:3]] == ANSWERS
    assert json.loads(api.answers[3].content) == REMAINING
    assert [answer.kind for answer in api.answers[4:]] == ["error", "error"]
    assert "takes no such event: 'ping'" in json.loads(api.answers[5].body)["errorMessage"]


def test_by_calls(handler: StreamingAdapter) -> None:
    assert [handler(event, None) for event in ({"warmer": True}, BATCH, SCHEDULE)] == ANSWERS
    assert json.loads(handler(ORDERS, None)["body"]) == REMAINING
    with pytest.raises(ValueError, match="takes no such event"):
        handler({"Records": []}, None)


def test_the_template_is_what_the_code_needs() -> None:
    class Loader(yaml.SafeLoader):
        """Knows the short forms of CloudFormation's functions."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: suffix)
    events = yaml.load(TEMPLATE, Loader)["Events"]
    assert events["Orders"]["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert json.loads(events["Warmer"]["Properties"]["Input"]) == {"warmer": True}


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize("name", NAMES)
def test_no_request_reaches_it(name: str) -> None:
    def on_event(event: Any, context: Any) -> None:
        raise AssertionError(event)

    handler = StreamingAdapter(app, lifespan="off", on_event=on_event)
    assert handler(recorded(name), None)
    handler.close()


@pytest.mark.anyio
@pytest.mark.parametrize("event", [SCHEDULE, BATCH, {"warmer": True}, "ping", None, [1]])
async def test_without_it_the_error_names_it(event: Any) -> None:
    handler = StreamingAdapter(app, lifespan="off")
    with pytest.raises(UnknownEventError, match=r"StreamingAdapter\(app, on_event=\.\.\.\) passes events"):
        handler(event, None)
    handler.close()
    api = await serve(handler, event)
    assert "StreamingAdapter(app, on_event=...)" in json.loads(api.answers[0].body)["errorMessage"]


@pytest.mark.parametrize("handlers", [[], [object], (object(),)])
def test_the_argument_of_mangum_is_answered_with_the_one_that_replaces_it(handlers: Any) -> None:
    with pytest.raises(ConfigurationError, match="custom_handlers is Mangum's: StreamingAdapter takes event_sources"):
        StreamingAdapter(app, custom_handlers=handlers)
    StreamingAdapter(app, custom_handlers=None)  # Mangum's own default
