"""The role may do what the example does at AWS, and nothing else; the table is the one that the example wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest

from example_app.buckets import S3Bucket
from example_app.store import DynamoStore
from tests.deploy.templates import read, resource
from tests.support.aws import aws

if TYPE_CHECKING:
    from collections.abc import Iterator

# The action that allows a call, where it is not the call's own name. A transaction needs what its parts need.
ACTIONS = {
    ("s3", "HeadObject"): "s3:GetObject",
    ("s3", "ListObjectsV2"): "s3:ListBucket",
    ("dynamodb", "Update"): "dynamodb:UpdateItem",
    ("dynamodb", "Put"): "dynamodb:PutItem",
}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    with aws() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        # boto3's own session keeps the events that a test registers.
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        yield variables


def statements() -> list[dict[str, Any]]:
    """What the role may do where a bucket is given."""
    (policy,) = resource(read("data.yaml"), "AWS::IAM::Role")["Policies"]
    found = []
    for statement in policy["PolicyDocument"]["Statement"]:
        if "Fn::If" in statement:
            condition, statement, otherwise = statement["Fn::If"]
            assert (condition, otherwise) == ("HasBucket", {"Ref": "AWS::NoValue"})
        found.append(statement)
    assert all(statement.pop("Effect") == "Allow" for statement in found)
    return found


def allowed(service: str) -> set[str]:
    return {
        action
        for statement in statements()
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        if action.startswith(f"{service}:")
    }


def used(client: Any) -> set[str]:
    """The set into which the actions go that the client's calls need, from now on."""
    actions: set[str] = set()

    def called(params: dict[str, Any], model: Any, **more: object) -> None:
        service = model.service_model.service_name
        names = [model.name]
        if model.name == "TransactWriteItems":
            names = [name for item in params["TransactItems"] for name in item]
        actions.update(ACTIONS.get((service, name), f"{service}:{name}") for name in names)

    client.meta.events.register("provide-client-params", called)
    return actions


@pytest.mark.anyio
async def test_the_table_serves_the_store_and_the_role_allows_what_it_does(cloud: dict[str, str]) -> None:
    table = resource(read("data.yaml"), "AWS::DynamoDB::Table")
    client = boto3.client("dynamodb")
    lifetime = table.pop("TimeToLiveSpecification")
    client.create_table(TableName="table", **table)
    client.update_time_to_live(TableName="table", TimeToLiveSpecification=lifetime)
    client.close()

    store = DynamoStore("table")
    actions = used(store._client)
    try:
        assert await store.append("room", {"text": "one"}) == 1
        assert await store.append("room", {"text": "two"}) == 2
        assert [item.data["text"] for item in await store.read("room", 1)] == ["two"]
        assert [item.id for item in await store.recent("room")] == [1, 2]
        item = store._client.get_item(TableName="table", Key={"channel": {"S": "room"}, "id": {"N": "1"}})["Item"]
    finally:
        store.close()
    assert lifetime == {"AttributeName": "expires", "Enabled": True}
    assert "expires" in item
    assert actions == allowed("dynamodb")


def test_the_role_allows_what_the_bucket_does(cloud: dict[str, str]) -> None:
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    client.put_object(Bucket="bucket", Key="file", Body=b"bytes")
    client.close()

    bucket = S3Bucket("bucket")
    actions = used(bucket._client)
    try:
        assert bucket.list() == [("file", 5)]
        entry = bucket.find("file")
        assert entry
        body = bucket.open(entry, 1, 4)
        assert body.read(10) == b"yte"
        body.close()
    finally:
        bucket.close()
    assert actions == allowed("s3")


def test_the_role_is_lambda_s_and_its_resources_are_the_stack_s_own() -> None:
    role = resource(read("data.yaml"), "AWS::IAM::Role")
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert (trust["Principal"], trust["Action"]) == ({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")
    assert "ManagedPolicyArns" not in role
    bucket = "arn:${AWS::Partition}:s3:::${Bucket}"
    assert [statement["Resource"] for statement in statements()] == [
        {"Fn::GetAtt": "Log.Arn"},
        {"Fn::GetAtt": "Table.Arn"},
        {"Fn::Sub": f"{bucket}/*"},
        {"Fn::Sub": bucket},
    ]
    assert allowed("logs") == {"logs:CreateLogStream", "logs:PutLogEvents"}
