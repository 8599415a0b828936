"""docs/deploy.md: its table, its commands, its Terraform and CDK code."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import pytest

from asgi_stream import cli
from tests.deploy.templates import FUNCTIONS, read
from tests.support.dev import CHECKOUT

PAGE = (CHECKOUT / "docs" / "deploy.md").read_text(encoding="utf-8")


def code(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_table_has_every_template_and_how_it_is_started() -> None:
    rows = dict(re.findall(r"^\| \[`([\w-]+\.yaml)`\]\S+ (.*)$", PAGE, re.MULTILINE))
    assert sorted(rows) == FUNCTIONS
    for name, row in rows.items():
        variables = read(name)["Resources"]["Function"]["Properties"]["Environment"]["Variables"]
        wrapper = variables.get("AWS_LAMBDA_EXEC_WRAPPER")
        assert ("as `zip.yaml`" in row or f"`AWS_LAMBDA_EXEC_WRAPPER={wrapper}`" in row) is (wrapper is not None)


def test_the_commands_are_ones() -> None:
    packages = re.findall(r"asgi-stream (package [^`\n#]+)", PAGE)
    assert len(packages) == 2
    first, own = (cli._parser().parse_args(shlex.split(command)) for command in packages)
    assert f"python{first.python_version}" == read("zip.yaml")["Parameters"]["Runtime"]["Default"]
    assert (CHECKOUT / first.requirements).is_file()
    assert own.handler == "main.handler"
    for template in re.findall(r"--template (\S+\.yaml)", PAGE):
        assert (CHECKOUT / template).is_file()


def test_the_terraform_code_says_what_the_template_says() -> None:
    terraform, rest = code("terraform")
    properties = read("zip.yaml")["Resources"]["Function"]["Properties"]
    for name, value in {
        "handler": properties["Handler"],
        "AWS_LAMBDA_EXEC_WRAPPER": properties["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"],
        "invoke_mode": properties["FunctionUrlConfig"]["InvokeMode"],
        "authorization_type": properties["FunctionUrlConfig"]["AuthType"],
        "runtime": read("zip.yaml")["Parameters"]["Runtime"]["Default"],
    }.items():
        assert re.search(rf'^ *{name} += "{re.escape(value)}"$', terraform, re.MULTILINE), name
    assert re.search(rf"^ *timeout += {properties['Timeout']}$", terraform, re.MULTILINE)
    assert f"timeout_milliseconds    = {properties['Timeout']}000" in rest
    assert 'response_transfer_mode  = "STREAM"' in rest


@pytest.mark.parametrize("number", [0, 1])
def test_the_terraform_code_is_well_formed(number: int) -> None:
    if shutil.which("terraform") is None:
        pytest.skip("Terraform is not on this machine")
    run = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", "-"], input=code("terraform")[number], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_cdk_code_says_what_the_template_says() -> None:
    (python,) = code("python")
    compile(python, "deploy.md", "exec")
    properties = read("zip.yaml")["Resources"]["Function"]["Properties"]
    for text in (
        f'handler="{properties["Handler"]}"',
        f'"AWS_LAMBDA_EXEC_WRAPPER": "{properties["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"]}"',
        "invoke_mode=lambda_.InvokeMode.RESPONSE_STREAM",
        "response_transfer_mode=apigateway.ResponseTransferMode.STREAM",
    ):
        assert text in python
