"""What a project declares about its dependencies where pip does not look: found, with the command of its tool."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from asgi_stream.packaging.unread import unread

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = '[project]\nname = "shop"\nversion = "1.0"\ndependencies = ["greeting"]\n'
FREEZE = "uv venv locked && uv pip sync --python locked {} && uv pip freeze --python locked > requirements.txt"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "packages" / "shop"
    folder.mkdir(parents=True)
    return folder


def reason(project: Path, name: str | None = "pyproject.toml") -> tuple[str, str]:
    """The place that is named, and the command."""
    found = unread(project / name if name else None, project)
    assert found is not None
    assert "Write a requirements.txt, which is taken instead:\n" in found
    return found.partition(" belongs to the project's dependencies, and pip does not read it")[0], found.rpartition(
        "\n  "
    )[2]


@pytest.mark.parametrize(
    ("table", "place", "command"),
    [
        ("[tool.uv.sources]\na = { workspace = true }", "uv.sources", "uv export "),
        ("[tool.uv.sources]\na = { path = '../a' }", "uv.sources", "uv export "),
        ("[tool.uv.sources]\na = { git = 'https://a.test/b' }", "uv.sources", "uv export "),
        ("[tool.uv.sources]\na = { url = 'https://a.test/b.whl' }", "uv.sources", "uv export "),
        ("[tool.uv.sources]\na = [{ index = 'own' }]", "uv.sources", "uv export "),
        ("[[tool.uv.index]]\nname = 'own'\nurl = 'https://a.test'", "uv.index", "uv export "),
        ("[tool.uv]\nindex-url = 'https://a.test'", "uv.index-url", "uv export "),
        ("[tool.uv]\nextra-index-url = ['https://a.test']", "uv.extra-index-url", "uv export "),
        ("[tool.uv]\nfind-links = ['wheels']", "uv.find-links", "uv export "),
        ("[tool.uv]\noverride-dependencies = ['a==1']", "uv.override-dependencies", "uv export "),
        ("[tool.uv]\nconstraint-dependencies = ['a<1']", "uv.constraint-dependencies", "uv export "),
        ("[tool.poetry.dependencies]\npython = '^3.11'\na = '*'", "poetry.dependencies", "poetry export "),
        ("[tool.poetry.dependencies]\na = { git = 'https://a.test/b' }", "poetry.dependencies", "poetry export "),
        ("[[tool.poetry.source]]\nname = 'own'\nurl = 'https://a.test'", "poetry.source", "poetry export "),
        ("[[tool.pdm.source]]\nname = 'own'\nurl = 'https://a.test'", "pdm.source", "pdm export "),
        ("[tool.pdm.resolution.overrides]\na = '1'", "pdm.resolution", "pdm export "),
    ],
)
@pytest.mark.parametrize("declared", [PROJECT, ""])
def test_a_table(project: Path, declared: str, table: str, place: str, command: str) -> None:
    """With `[project]`, or, as in older projects of Poetry, without."""
    (project / "pyproject.toml").write_text(f"{declared}{table}\n")
    found, how = reason(project)
    assert found == f"[tool.{place}]"
    assert how.startswith(command)
    assert "-o requirements.txt" in how


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("uv.lock", "uv export --no-dev --no-editable --no-emit-project --no-hashes -o requirements.txt"),
        ("poetry.lock", "poetry export --without-hashes -o requirements.txt (by the plugin poetry-plugin-export)"),
        ("pdm.lock", "pdm export --prod --without-hashes -o requirements.txt"),
        ("Pipfile", "pipenv requirements > requirements.txt"),
        ("Pipfile.lock", "pipenv requirements > requirements.txt"),
        ("pylock.toml", FREEZE.format("pylock.toml")),
        ("pylock.prod.toml", FREEZE.format("pylock.prod.toml")),
        ("requirements.lock", "sed /^-e/d requirements.lock > requirements.txt"),
        ("requirements.in", "uv pip compile requirements.in -o requirements.txt"),
    ],
)
def test_a_file(project: Path, name: str, command: str) -> None:
    """Next to a pyproject.toml; without one; and as the file that the user names."""
    (project / name).write_text("")
    assert reason(project, None) == (name, command)
    (project / "pyproject.toml").write_text(PROJECT)
    assert reason(project) == (name, command)
    assert reason(project, name) == (name, command)
    assert unread(project / "requirements.txt", project) is None
    assert unread(project / "needs" / "lambda.in", project) is None


@pytest.mark.parametrize("is_root", [False, True])
@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("[[index]]\nurl = 'https://a.test'", "index"),
        ("index-url = 'https://a.test'", "index-url"),
        ("find-links = ['wheels']", "find-links"),
        ("override-dependencies = ['a==1']", "override-dependencies"),
        ("constraint-dependencies = ['a<1']", "constraint-dependencies"),
    ],
)
def test_uvs_own_file(project: Path, setting: str, name: str, is_root: bool) -> None:
    (project / "pyproject.toml").write_text(PROJECT)
    folder = project
    if is_root:
        folder = project.parent.parent
        (folder / "pyproject.toml").write_text("[tool.uv.workspace]\nmembers = ['packages/*']\n")
    (folder / "uv.toml").write_text("cache-dir = 'cache'\n")
    assert unread(project / "pyproject.toml", project) is None
    (folder / "uv.toml").write_text(f"{setting}\n")
    place, command = reason(project)
    assert place == f"{name} in uv.toml" + (f" in {folder}" if is_root else "")
    assert command.startswith("uv export ")


@pytest.mark.parametrize("name", ["setup.py", "setup.cfg"])
@pytest.mark.parametrize("settings", [None, "[tool.ruff]\nline-length = 120\n", "[build-system]\nrequires = []\n"])
def test_requirements_of_setuptools(project: Path, name: str, settings: str | None) -> None:
    if settings is not None:
        (project / "pyproject.toml").write_text(settings)
    (project / name).write_text("")
    asked = None if settings is None else "pyproject.toml"
    assert unread(None if asked is None else project / asked, project) is None
    (project / name).write_text("install_requires = greeting")
    assert reason(project, asked) == (name, f"uv pip compile {name} -o requirements.txt")
    (project / "pyproject.toml").write_text(PROJECT)
    assert unread(project / "pyproject.toml", project) is None


@pytest.mark.parametrize(
    "tables",
    [
        "",
        "[tool.uv.sources]\n",
        "[tool.uv]\npackage = false\ndev-dependencies = ['pytest']\n",
        "[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = '^3.11'\n",
        "[tool.poetry.group.dev.dependencies]\npytest = '*'\n",
        "[tool.pdm]\ndistribution = false\n",
        "[dependency-groups]\ndev = ['pytest']\n",
        "[tool]\nuv = 1\npoetry = []\n",
        "[tool.uv]\nworkspace = 7\n",
        "[broken",
    ],
)
def test_what_says_nothing_about_dependencies(project: Path, tables: str) -> None:
    for folder in (project, project.parent):
        (folder / "pyproject.toml").write_text(f"{PROJECT}{tables}")
    assert unread(project / "pyproject.toml", project) is None
    (project / "lambda.toml").write_text(PROJECT)
    assert unread(project / "lambda.toml", project) is None


@pytest.mark.parametrize("members", ["packages/*", "packages/shop", "*/s*"])
def test_the_workspace_of_a_member(project: Path, members: str) -> None:
    root = project.parent.parent
    (project / "pyproject.toml").write_text(PROJECT)
    workspace = f'[tool.uv.workspace]\nmembers = ["{members}"]\n'
    (root / "pyproject.toml").write_text(f"{workspace}[tool.uv.sources]\ngreeting = {{ workspace = true }}\n")
    assert reason(project)[0] == f"[tool.uv.sources] in {root}"
    (root / "pyproject.toml").write_text(workspace)
    assert unread(project / "pyproject.toml", project) is None
    (root / "uv.lock").write_text("")
    assert reason(project)[0] == f"uv.lock in {root}"
    (root / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["others/*"]\n')
    assert unread(project / "pyproject.toml", project) is None


def test_a_pyproject_in_another_folder(project: Path, tmp_path: Path) -> None:
    """Its own folder counts."""
    (project / "uv.lock").write_text("")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    assert unread(tmp_path / "pyproject.toml", project) is None
    (tmp_path / "pdm.lock").write_text("")
    assert reason(project, str(tmp_path / "pyproject.toml"))[0] == "pdm.lock"


def test_uv_takes_the_command(project: Path) -> None:
    """Of a workspace whose member is in no index."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not on the PATH")
    (project / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "1.0"\nrequires-python = ">=3.11"\ndependencies = ["greeting"]\n'
        '[tool.uv.sources]\ngreeting = { workspace = true }\n[tool.uv.workspace]\nmembers = ["greeting"]\n'
    )
    (project / "greeting").mkdir()
    (project / "greeting" / "pyproject.toml").write_text(
        '[project]\nname = "greeting"\nversion = "1.0"\nrequires-python = ">=3.11"\n'
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    )
    _, command = reason(project)
    subprocess.run([*command.split(), "--offline"], cwd=project, check=True, capture_output=True)
    assert "./greeting" in (project / "requirements.txt").read_text().split()
