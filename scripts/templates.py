"""Checks CloudFormation templates with AWS's own tools. Run by `scripts/lint-templates`, whose environment it needs.

cfn-lint reads each template twice: as it stands, and as SAM makes it for CloudFormation. It takes what is inside SAM's
own resources on trust, as `sam validate` does (`InvokeMode: STREAMING` passes), and knows what they become.

With `--transform` it prints, as JSON and by file name, what SAM makes of the templates: tests/deploy looks at that too.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
# No credentials are looked for and none are needed, but the tools want a region. Nothing is told to anybody, and what
# `sam` wants to remember it does not put into the user's home.
os.environ.update(AWS_DEFAULT_REGION="us-east-1", SAM_CLI_TELEMETRY="0")
os.environ.setdefault("__SAM_CLI_APP_DIR", str(CHECKOUT / ".cache" / "templates"))


def main() -> int:
    arguments = sys.argv[1:]
    transform = arguments[:1] == ["--transform"]
    paths = [Path(name) for name in arguments[transform:]] or sorted((CHECKOUT / "example_app/deploy").glob("*.yaml"))
    if transform:
        print(json.dumps({path.name: transformed(path) for path in paths}))
        return 0
    return max(cfn_lint(paths), *map(sam_validate, paths))


def cfn_lint(paths: list[Path]) -> int:
    """Returns 0, or 1 where there are errors or warnings, which it has printed then."""
    with tempfile.TemporaryDirectory() as folder:
        made = [Path(folder) / path.name for path in paths]
        for path, copy in zip(paths, made, strict=True):
            copy.write_text(json.dumps(transformed(path), indent=2), encoding="utf-8")
        # W3002 wants a command that uploads local files: `sam deploy` is one.
        command = [Path(sys.executable).with_name("cfn-lint"), "--ignore-checks", "W3002", "--", *paths, *made]
        run = subprocess.run(command, check=False)
    print(f"cfn-lint: {len(paths)} templates, {'errors' if run.returncode else 'no errors'}", flush=True)
    return int(run.returncode != 0)


def sam_validate(path: Path) -> int:
    """Runs the command in this process: to import it takes longer than to run it. Returns 0 or 1."""
    from click.testing import CliRunner
    from samcli.cli.main import cli

    result = CliRunner().invoke(cli, ["validate", "--lint", "--template", str(path)])
    print(f"sam validate: {result.output.strip()}", flush=True)
    return int(result.exit_code != 0)


def transformed(path: Path) -> object:
    """Returns the template as CloudFormation would see it: SAM's resources replaced by what SAM makes of them."""
    from samcli.yamlhelper import yaml_parse
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    logging.disable(logging.WARNING)  # it warns of metrics that nobody collects
    template = yaml_parse(path.read_text(encoding="utf-8"))
    if "Transform" not in template:
        return template
    for resource in template["Resources"].values():
        # `sam deploy` has uploaded them by then.
        properties = resource["Properties"]
        for name in properties.keys() & {"CodeUri", "ContentUri"}:
            properties[name] = "s3://bucket/key"
        if properties.get("PackageType") == "Image":
            properties["ImageUri"] = "registry/image"
    return Translator({}, Parser()).translate(template, {})


if __name__ == "__main__":
    sys.exit(main())
