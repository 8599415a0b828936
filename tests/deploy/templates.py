"""The templates of example_app/deploy, as they stand and as SAM makes them for CloudFormation."""

from __future__ import annotations

import subprocess
from typing import Any

import yaml

from tests.support.dev import CHECKOUT

FOLDER = CHECKOUT / "example_app" / "deploy"
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml"))
# All but the part that they have in common.
FUNCTIONS = [name for name in NAMES if name != "data.yaml"]

# What scripts/lint-templates has installed; the stamp comes last.
TOOLS = CHECKOUT / ".venv" / "templates"
WHY_NO_TOOLS = None if (TOOLS / ".installed").is_file() else "AWS's tools are not here: run ./scripts/lint-templates"


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, which become the long ones: `!Ref A` is `{"Ref": "A"}`."""


def _function(loader: Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.SequenceNode):
        return {f"Fn::{name}": loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.ScalarNode)
    value = loader.construct_scalar(node)
    return {"Ref": value} if name == "Ref" else {f"Fn::{name}": value}


Loader.add_multi_constructor("!", _function)


def read(name: str) -> dict[str, Any]:
    template: dict[str, Any] = yaml.load((FOLDER / name).read_text(encoding="utf-8"), Loader)
    return template


def resource(template: dict[str, Any], kind: str) -> dict[str, Any]:
    """The properties of the only resource of a type."""
    (found,) = resources(template, kind).values()
    return found


def resources(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {name: each["Properties"] for name, each in template["Resources"].items() if each["Type"] == kind}


def run_tool(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of the tools' environment, in the checkout."""
    return subprocess.run(
        [TOOLS / "bin" / command[0], *command[1:]],
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin", "SAM_CLI_TELEMETRY": "0", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
