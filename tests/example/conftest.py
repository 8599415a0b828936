from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tests.support.aws import aws
from tests.support.dev import CHECKOUT, dev

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.dev import Dev

TABLE = "example"
BUCKET = "example"


@pytest.fixture(scope="session")
def cloud() -> Iterator[dict[str, str]]:
    """Environment variables of an AWS that has the example's table and its bucket, which is empty."""
    with aws() as variables:
        with contextlib.closing(boto3.client("dynamodb", **options(variables))) as dynamodb:
            dynamodb.create_table(
                TableName=TABLE,
                AttributeDefinitions=[
                    {"AttributeName": "channel", "AttributeType": "S"},
                    {"AttributeName": "id", "AttributeType": "N"},
                ],
                KeySchema=[
                    {"AttributeName": "channel", "KeyType": "HASH"},
                    {"AttributeName": "id", "KeyType": "RANGE"},
                ],
                BillingMode="PAY_PER_REQUEST",
            )
        with contextlib.closing(boto3.client("s3", **options(variables))) as s3:
            s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield variables


def options(variables: dict[str, str]) -> dict[str, Any]:
    """The arguments of a `boto3.client` in this process."""
    return {
        "endpoint_url": variables["AWS_ENDPOINT_URL"],
        "aws_access_key_id": variables["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": variables["AWS_SECRET_ACCESS_KEY"],
        "region_name": variables["AWS_DEFAULT_REGION"],
    }


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """The example in a local Lambda, with SQLite and a folder of files."""
    folder = tmp_path_factory.mktemp("site")
    with example(EXAMPLE_DATABASE=str(folder / "store"), TMPDIR=str(folder)) as running:
        yield running


@pytest.fixture(scope="session")
def cloud_site(cloud: dict[str, str]) -> Iterator[Dev]:
    """The same with DynamoDB and S3."""
    with example(**cloud, EXAMPLE_TABLE=TABLE, EXAMPLE_BUCKET=BUCKET) as running:
        yield running


@pytest.fixture(params=["site", "cloud_site"])
def any_site(request: pytest.FixtureRequest) -> Dev:
    found: Dev = request.getfixturevalue(request.param)
    return found


@contextlib.contextmanager
def example(**variables: str) -> Iterator[Dev]:
    """Streams that a test has left run on, as on Lambda: hence the limit."""
    variables |= {"EXAMPLE_STREAM_SECONDS": "60", "EXAMPLE_TOKEN_SECONDS": "0"}
    with dev("--concurrency", "30", handler="example_app.main:handler", folder=CHECKOUT, **variables) as running:
        yield running
