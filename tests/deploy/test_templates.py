"""What the templates say about the example, its packages and who may do what."""

from __future__ import annotations

import re
import shlex
from typing import Any, NamedTuple

import pytest

from asgi_stream import StreamingAdapter, cli
from asgi_stream.config import load_config
from asgi_stream.packaging.target import KINDS, Target
from asgi_stream.runtime.loader import load_handler
from tests.deploy.templates import FOLDER, FUNCTIONS, NAMES, read, resource, resources
from tests.support.dev import CHECKOUT


class Packaging(NamedTuple):
    """How a template's function is made: the kind of package, the runtime, and the exec wrapper if there is one."""

    kind: str = "zip"
    runtime: object = {"Ref": "Runtime"}
    wrapper: str | None = f"{KINDS['zip'].mounted}/{KINDS['zip'].bootstrap}"


ZIP = Packaging()
PACKAGINGS = {
    "cloudfront.yaml": ZIP,
    "container.yaml": Packaging("container", None, None),
    "layer.yaml": Packaging(wrapper="/opt/bootstrap"),
    "managed-instances.yaml": ZIP,
    "provided.yaml": Packaging("provided", "provided.al2023", None),
    "rest-api.yaml": ZIP,
    "zip.yaml": ZIP,
}


def function(name: str) -> dict[str, Any]:
    return resource(read(name), "AWS::Serverless::Function")


def commands(name: str) -> list[Any]:
    """The `asgi-stream package` commands in a template's head, understood by the command's own parser."""
    lines = re.findall(r"^#   asgi-stream (package .*)$", (FOLDER / name).read_text(encoding="utf-8"), re.MULTILINE)
    return [cli._parser().parse_args(shlex.split(line)) for line in lines]


def test_every_template_is_looked_at() -> None:
    assert [*PACKAGINGS] == FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
class TestFunction:
    def test_it_is_started_as_its_packaging_is(self, name: str) -> None:
        packaging, found = PACKAGINGS[name], function(name)
        assert found["Environment"]["Variables"].get("AWS_LAMBDA_EXEC_WRAPPER") == packaging.wrapper
        assert found.get("Runtime") == packaging.runtime
        assert (found.get("PackageType") == "Image") is (packaging.kind == "container")

    def test_its_settings_are_understood(self, name: str) -> None:
        load_config({}, function(name)["Environment"]["Variables"])

    def test_its_code_is_what_the_command_in_its_head_makes(self, name: str) -> None:
        template = read(name)
        made = [CHECKOUT / options.output / KINDS[options.kind].artifact for options in commands(name)]
        wanted = [
            FOLDER / properties[key]
            for properties in [
                *resources(template, "AWS::Serverless::LayerVersion").values(),
                function(name),
                template["Resources"]["Function"].get("Metadata", {}),
            ]
            for key in ("ContentUri", "CodeUri", "DockerContext")
            if key in properties
        ]
        assert [path.resolve() for path in wanted] == made

    def test_its_python_and_architecture_are_the_package_s(self, name: str) -> None:
        default = read(name)["Parameters"].get("Runtime", {}).get("Default")
        for options in commands(name):
            if default is not None:
                assert default == f"python{options.python_version}"
            assert function(name)["Architectures"] == [options.arch]
            assert options.kind != "provided" or options.python

    def test_its_handler_can_be_imported(self, name: str) -> None:
        (packaged,) = {options.handler for options in commands(name) if options.handler}
        if PACKAGINGS[name].kind != "container":  # there the image's CMD names it
            assert function(name)["Handler"] == packaged
        assert isinstance(load_handler(packaged), StreamingAdapter)

    def test_it_streams(self, name: str) -> None:
        if name == "rest-api.yaml":
            assert "FunctionUrlConfig" not in function(name)
            paths = resource(read(name), "AWS::Serverless::Api")["DefinitionBody"]["paths"]
            assert [*paths] == ["/", "/{proxy+}"]
            for path in paths.values():
                integration = path["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]
                assert integration["responseTransferMode"] == "STREAM"
                assert integration["type"] == "aws_proxy"
                assert integration["timeoutInMillis"] == function(name)["Timeout"] * 1000
                assert integration["uri"]["Fn::Sub"].endswith(
                    ":lambda:path/2021-11-15/functions/${Function.Arn}/response-streaming-invocations"
                )
        else:
            assert function(name)["FunctionUrlConfig"]["InvokeMode"] == "RESPONSE_STREAM"

    def test_it_is_public_but_for_the_one_behind_cloudfront(self, name: str) -> None:
        url = function(name).get("FunctionUrlConfig", {}).get("AuthType")
        assert url == {"rest-api.yaml": None, "cloudfront.yaml": "AWS_IAM"}.get(name, "NONE")

    def test_it_has_time_and_memory(self, name: str) -> None:
        """Lambda's defaults are 3 s and 128 MB. 200 MB, the most that it streams, take about 100 s."""
        assert 100 < function(name)["Timeout"] <= 900
        assert function(name)["MemorySize"] >= 512

    def test_what_all_have_in_common_is_the_same(self, name: str) -> None:
        first, template = read("zip.yaml"), read(name)
        assert template["Resources"]["Data"] == first["Resources"]["Data"]
        assert template["Parameters"]["Bucket"] == first["Parameters"]["Bucket"]
        for key in ("Role", "LoggingConfig"):
            assert function(name)[key] == function("zip.yaml")[key]
        variables = {**function("zip.yaml")["Environment"]["Variables"]}
        del variables["AWS_LAMBDA_EXEC_WRAPPER"]
        assert function(name)["Environment"]["Variables"].items() >= variables.items()


def test_managed_instances_have_a_python_that_may_run_there() -> None:
    assert read("managed-instances.yaml")["Parameters"]["Runtime"]["AllowedValues"] == ["python3.13", "python3.14"]


def test_managed_instances_run_by_aws_s_policy() -> None:
    template = read("managed-instances.yaml")
    config = function("managed-instances.yaml")["CapacityProviderConfig"]
    assert config["Arn"] == {"Fn::GetAtt": "Capacity.Arn"}
    assert config["PerExecutionEnvironmentMaxConcurrency"] > 1
    provider = resource(template, "AWS::Lambda::CapacityProvider")
    assert provider["PermissionsConfig"] == {"CapacityProviderOperatorRoleArn": {"Fn::GetAtt": "Operator.Arn"}}
    assert provider["InstanceRequirements"]["Architectures"] == function("managed-instances.yaml")["Architectures"]
    (policy,) = resource(template, "AWS::IAM::Role")["ManagedPolicyArns"]
    assert policy == {"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/AWSLambdaManagedEC2ResourceOperator"}


def test_cloudfront_alone_may_call_its_function() -> None:
    template = read("cloudfront.yaml")
    given = {
        "FunctionName": {"Ref": "Function"},
        "Principal": "cloudfront.amazonaws.com",
        "SourceArn": {"Fn::Sub": "arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:distribution/${Distribution}"},
    }
    assert [*resources(template, "AWS::Lambda::Permission").values()] == [
        {**given, "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "AWS_IAM"},
        {**given, "Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
    ]


def test_cloudfront_signs_each_request_and_caches_nothing() -> None:
    template = read("cloudfront.yaml")
    access = resource(template, "AWS::CloudFront::OriginAccessControl")["OriginAccessControlConfig"]
    assert access["OriginAccessControlOriginType"] == "lambda"
    assert (access["SigningBehavior"], access["SigningProtocol"]) == ("always", "sigv4")
    distribution = resource(template, "AWS::CloudFront::Distribution")["DistributionConfig"]
    (origin,) = distribution["Origins"]
    assert origin["OriginAccessControlId"] == {"Fn::GetAtt": "Access.Id"}
    behavior = distribution["DefaultCacheBehavior"]
    assert behavior["TargetOriginId"] == origin["Id"]
    assert behavior["Compress"] is False
    assert {"POST", "DELETE"} <= {*behavior["AllowedMethods"]}
    # AWS's CachingDisabled and AllViewerExceptHostHeader: a Function URL answers to its own host alone.
    assert behavior["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    assert behavior["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"


def test_the_app_behind_cloudfront_trusts_the_header_that_cloudfront_overwrites() -> None:
    template = read("cloudfront.yaml")
    distribution = resource(template, "AWS::CloudFront::Distribution")["DistributionConfig"]
    (association,) = distribution["DefaultCacheBehavior"]["FunctionAssociations"]
    assert association == {
        "EventType": "viewer-request",
        "FunctionARN": {"Fn::GetAtt": "ViewerHost.FunctionMetadata.FunctionARN"},
    }
    assert template["Resources"]["ViewerHost"]["Type"] == "AWS::CloudFront::Function"
    code = resource(template, "AWS::CloudFront::Function")["FunctionCode"]
    (header,) = re.findall(r"request\.headers\['([a-z-]+)'\] = \{ value: request\.headers\.host\.value \};", code)
    assert function("cloudfront.yaml")["Environment"]["Variables"]["ASGI_STREAM_HOST_HEADER"] == header


def test_the_rest_api_alone_may_call_its_function() -> None:
    template = read("rest-api.yaml")
    stage = resource(template, "AWS::Serverless::Api")["StageName"]
    execute = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}"
    assert resource(template, "AWS::Lambda::Permission") == {
        "FunctionName": {"Ref": "Function"},
        "Action": "lambda:InvokeFunction",
        "Principal": "apigateway.amazonaws.com",
        "SourceArn": {"Fn::Sub": f"{execute}:${{Api}}/{stage}/*"},
    }
    # The pages' links are relative.
    assert template["Outputs"]["Url"]["Value"]["Fn::Sub"].endswith(f"/{stage}/")


@pytest.mark.parametrize("name", NAMES)
def test_no_account_no_secret_no_wildcard(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert not re.search(r"\b\d{12}\b|AKIA|secret|password", text, re.IGNORECASE)
    for key, value in pairs(read(name)):
        if key in ("Action", "Resource", "Principal", "Service", "SourceArn"):
            for each in value if isinstance(value, list) else [value]:
                allowed = each in (
                    {"Fn::Sub": "arn:${AWS::Partition}:s3:::${Bucket}/*"},
                    {"Fn::Sub": "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/prod/*"},
                )
                assert allowed or "*" not in str(each), (key, each)


def pairs(value: object) -> list[tuple[str, Any]]:
    """All keys of a tree with what stands behind them."""
    if isinstance(value, list):
        return [pair for each in value for pair in pairs(each)]
    if isinstance(value, dict):
        return [*value.items(), *(pair for each in value.values() for pair in pairs(each))]
    return []


def test_the_layer_and_its_function_go_together() -> None:
    layer, app = commands("layer.yaml")
    assert (layer.kind, layer.handler) == ("layer", None)
    assert app.layer == [f"{layer.output}/{KINDS['layer'].artifact}"]
    assert Target("layer", layer.python_version, layer.arch).version == app.python_version
    assert function("layer.yaml")["Layers"] == [{"Ref": "Layer"}]
    assert resource(read("layer.yaml"), "AWS::Serverless::LayerVersion")["CompatibleRuntimes"] == [{"Ref": "Runtime"}]
