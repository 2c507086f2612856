"""Files beside the code that repeat what others say: versions, commands, extensions."""

import json
import re
import tomllib

from malaria.core.yaml_files import read_yaml
from tests.conftest import REPO

VERSION = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["version"]


def test_the_version_is_the_same_everywhere() -> None:
    assert read_yaml(REPO / "CITATION.cff")["version"] == VERSION
    newest = re.search(r"^## (\S+)", (REPO / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == VERSION


def test_the_devcontainer_runs_the_readmes_first_command() -> None:
    container = json.loads((REPO / ".devcontainer/devcontainer.json").read_text())
    readme = (REPO / "README.md").read_text()
    commands = re.findall(r"^\$ (uv run .*?)(?:  +#|$)", readme, re.MULTILINE)
    assert container["postCreateCommand"] == f"pipx install uv && {commands[0]}"
    assert container["image"].split(":")[1].startswith("3.13")  # that pyproject.toml allows


def test_editors_are_told_of_dvcs_extension() -> None:
    recommended = json.loads((REPO / ".vscode/extensions.json").read_text())["recommendations"]
    container = json.loads((REPO / ".devcontainer/devcontainer.json").read_text())
    assert "iterative.dvc" in recommended
    assert container["customizations"]["vscode"]["extensions"] == recommended
