"""What AWS's own tools make of the templates. That these are free of errors scripts/lint-templates has found."""

from __future__ import annotations

import importlib.util
import json
import shutil
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tests.deploy.templates import FOLDER, FUNCTIONS, WHY_NO_TOOLS, read, resource, resources, run_tool
from tests.support.aws import aws

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(WHY_NO_TOOLS is not None, reason=WHY_NO_TOOLS or "")


@pytest.fixture(scope="module")
def transformed() -> dict[str, Any]:
    """By name, the templates that CloudFormation gets: SAM's resources are replaced."""
    run = run_tool("python", "scripts/templates.py", "--transform")
    assert run.returncode == 0, run.stderr
    templates: dict[str, Any] = json.loads(run.stdout)
    return templates


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("cloudfront.yaml", "rest-api.yaml")])
def test_a_public_url_has_both_permissions_and_no_other(transformed: dict[str, Any], name: str) -> None:
    given = {"FunctionName": {"Ref": "Function"}, "Principal": "*"}
    permissions = resources(transformed[name], "AWS::Lambda::Permission").values()
    assert sorted(permissions, key=lambda permission: permission["Action"]) == [
        {**given, "Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
        {**given, "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"},
    ]


@pytest.mark.parametrize("name", ["cloudfront.yaml", "rest-api.yaml"])
def test_sam_adds_no_permission_to_those_that_stand_there(transformed: dict[str, Any], name: str) -> None:
    kind = "AWS::Lambda::Permission"
    assert resources(transformed[name], kind).keys() == resources(read(name), kind).keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sam_makes_no_role(transformed: dict[str, Any], name: str) -> None:
    roles = resources(transformed[name], "AWS::IAM::Role")
    assert [*roles] == (["Operator"] if name == "managed-instances.yaml" else [])


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "rest-api.yaml"])
def test_the_url_streams(transformed: dict[str, Any], name: str) -> None:
    assert resource(transformed[name], "AWS::Lambda::Url")["InvokeMode"] == "RESPONSE_STREAM"


def test_the_rest_api_has_one_stage_and_streams(transformed: dict[str, Any]) -> None:
    template = transformed["rest-api.yaml"]
    assert resource(template, "AWS::ApiGateway::Stage")["StageName"] == "prod"
    assert "StageName" not in resource(template, "AWS::ApiGateway::Deployment")  # which would be a second one
    body = resource(template, "AWS::ApiGateway::RestApi")["Body"]
    assert body["paths"].keys() == {"/", "/{proxy+}"}
    for path in body["paths"].values():
        ((method, operation),) = path.items()
        assert method == "x-amazon-apigateway-any-method"
        assert operation["x-amazon-apigateway-integration"]["responseTransferMode"] == "STREAM"


def test_the_capacity_provider_is_the_function_s(transformed: dict[str, Any]) -> None:
    config = resource(transformed["managed-instances.yaml"], "AWS::Lambda::Function")["CapacityProviderConfig"]
    (provider,) = resources(transformed["managed-instances.yaml"], "AWS::Lambda::CapacityProvider")
    inner = config["LambdaManagedInstancesCapacityProviderConfig"]
    assert inner["CapacityProviderArn"] == {"Fn::GetAtt": [provider, "Arn"]}


@pytest.mark.parametrize(
    ("right", "wrong", "seen_by"),
    [
        ("!Ref Bucket", "!Ref Bucked", ("cfn-lint", "sam validate")),
        # In what SAM has made alone.
        ("RESPONSE_STREAM", "STREAMING", ("cfn-lint",)),
    ],
)
def test_a_template_with_an_error_fails(tmp_path: Path, right: str, wrong: str, seen_by: tuple[str, ...]) -> None:
    shutil.copy(FOLDER / "data.yaml", tmp_path)
    text = (FOLDER / "zip.yaml").read_text(encoding="utf-8")
    assert right in text
    (tmp_path / "zip.yaml").write_text(text.replace(right, wrong), encoding="utf-8")
    run = run_tool(
        "python", "scripts/templates.py", str(tmp_path / "zip.yaml"), __SAM_CLI_APP_DIR=str(tmp_path / "sam")
    )
    assert run.returncode == 1
    found, _, validated = run.stdout.partition("cfn-lint: 1 templates, errors\n")
    assert wrong.removeprefix("!Ref ") in found
    assert ("Linting failed" in validated) is ("sam validate" in seen_by)


def test_sam_finds_and_uploads_all_files(tmp_path: Path) -> None:
    """`sam deploy` begins like that: it uploads what is local and writes where it went into the template."""
    shutil.copytree(FOLDER, tmp_path / "example_app" / "deploy")
    (tmp_path / "build").mkdir()
    for name in ("function.zip", "layer.zip"):
        shutil.make_archive(str(tmp_path / "build" / name.removesuffix(".zip")), "zip", tmp_path / "example_app")
    with aws() as variables:
        s3 = boto3.client(
            "s3",
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="eu-central-1",
        )
        s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        packaged = tmp_path / "packaged.json"
        run = run_tool(
            "sam",
            "package",
            *("--template-file", str(tmp_path / "example_app" / "deploy" / "layer.yaml")),
            *(
                "--s3-bucket",
                "bucket",
                "--region",
                "eu-central-1",
                "--use-json",
                "--output-template-file",
                str(packaged),
            ),
            HOME=str(tmp_path),
            **variables,
        )
        assert run.returncode == 0, run.stderr
        keys = {entry["Key"] for entry in s3.list_objects_v2(Bucket="bucket")["Contents"]}
        s3.close()
    made = json.loads(packaged.read_text())["Resources"]
    assert made["Function"]["Properties"]["CodeUri"].removeprefix("s3://bucket/") in keys
    assert made["Layer"]["Properties"]["ContentUri"].removeprefix("s3://bucket/") in keys
    assert made["Data"]["Properties"]["TemplateURL"].rpartition("/")[2] in keys


def test_the_tools_stand_apart() -> None:
    """aws-sam-cli pins old versions of common packages."""
    assert importlib.util.find_spec("samcli") is None
