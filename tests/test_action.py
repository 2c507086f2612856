"""The action for other projects: its schema, its packages, and its step, run as a runner does."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from malaria.core.yaml_files import read_yaml
from tests.conftest import REPO

from .gate.test_judge import cells
from .gate.test_tables import table_of, write

ACTION = read_yaml(REPO / "action.yml")
INPUT = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")
# Prints the distributions of all modules that the command has imported.
LISTS = """\
import atexit, runpy, sys
from importlib.metadata import packages_distributions
known = packages_distributions()
atexit.register(lambda: print(*{d for m in [*sys.modules] for d in known.get(m.split(".")[0], ())}))
runpy.run_module("malaria", run_name="__main__")
"""


@pytest.fixture
def caller(tmp_path: Path) -> Path:
    """Another project's checkout, whose files have the names of modules."""
    folder = tmp_path / "caller"
    folder.mkdir()
    write(folder / "base.csv", table_of(cells()))
    write(folder / "head.csv", table_of(cells(loss=1.5)))
    for name in ("malaria", "json", "numpy", "typer", "sitecustomize"):
        (folder / f"{name}.py").write_text("raise SystemExit(0)\n")
    return folder


def test_no_value_is_pasted_into_the_script_and_no_other_action_is_used() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "uses" not in step
        assert "${{" not in step["run"]
        for value in step["env"].values():
            assert INPUT.fullmatch(value)[1] in ACTION["inputs"]  # type: ignore[index]


def test_the_checkers_find_nothing() -> None:
    for command in (
        ["check-jsonschema", "--builtin-schema", "vendor.github-actions"],
        ["zizmor", "--offline", "--quiet"],
    ):
        beside = Path(sys.executable).parent
        program = shutil.which(command[0], path=f"{beside}{os.pathsep}{os.environ['PATH']}")
        if program is None:
            pytest.skip(f"{command[0]} is not installed")
        result = subprocess.run(
            [program, *command[1:], REPO / "action.yml"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr


def run_step(caller: Path, **inputs: str) -> tuple[int, dict[str, str], str]:
    """Run the action's step as a runner does; its code, its outputs, and the job's summary."""
    (step,) = ACTION["runs"]["steps"]
    given: dict[str, Any] = {
        name: inputs.get(name.replace("-", "_"), known.get("default"))
        for name, known in ACTION["inputs"].items()
    }
    env = {
        name: INPUT.sub(lambda found: given[found[1]], value) for name, value in step["env"].items()
    }
    output, summary, temporary = (caller.parent / name for name in ("output", "summary", "temp"))
    temporary.mkdir(exist_ok=True)
    runner = {
        "GITHUB_ACTION_PATH": str(REPO),
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(summary),
        "RUNNER_TEMP": str(temporary),
        "PYTHONPATH": str(caller),  # as a job may have set it
        # The environment of the tests; uv installs nothing.
        "UV_NO_SYNC": "1",
        "UV_PROJECT_ENVIRONMENT": sys.prefix,
    }
    output.write_text("")
    summary.write_text("")
    result = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
        cwd=caller,
        env=os.environ | runner | env,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (line.partition("=") for line in output.read_text().splitlines())
    return result.returncode, {key: value for key, _, value in lines}, summary.read_text()


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
def test_the_step_fails_with_the_gates_code_and_shows_its_comment(caller: Path) -> None:
    code, outputs, summary = run_step(caller, base="base.csv", head="head.csv")
    assert (code, outputs["exit-code"]) == (1, "1")
    assert summary == Path(outputs["comment"]).read_text()
    assert summary.startswith("## FAIL: worse than it may be\n")
    assert json.loads(Path(outputs["json"]).read_text())["head.csv"]["outcome"] == "fail"
    code, outputs, summary = run_step(caller, base="base.csv", head="base.csv")
    assert (code, outputs["exit-code"]) == (0, "0")
    assert summary.startswith("## PASS")
    hostile = "$(touch made); `touch made`"
    code, outputs, summary = run_step(caller, base="base.csv", head=hostile)
    assert (code, outputs["exit-code"], summary) == (2, "2", "")
    assert not (caller / "made").exists()
    assert run_step(caller, base="base.csv", head="base.csv", params="none.yaml")[0] == 2


def test_the_action_installs_all_that_the_command_imports(caller: Path) -> None:
    group = tomllib.loads((REPO / "pyproject.toml").read_text())["dependency-groups"]["gate"]
    waiting, closure = [canonicalize_name(Requirement(text).name) for text in group], set()
    while waiting:
        name = waiting.pop()
        if name not in closure:
            closure.add(name)
            needed = map(Requirement, metadata.requires(name) or [])
            waiting += [
                canonicalize_name(one.name)
                for one in needed
                if one.marker is None or one.marker.evaluate({"extra": ""})
            ]
    command = [sys.executable, "-P", "-c", LISTS, "gate", "--files", "base.csv", "base.csv"]
    result = subprocess.run(
        [*command, "--comment", "c.md", "--json", "g.json"],
        cwd=caller,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {canonicalize_name(name) for name in result.stdout.splitlines()[-1].split()}
    # What pandas, scikit-learn and pip's relatives take along if it is there.
    optional = {"charset-normalizer", "cloudpickle", "psutil", "pyarrow", "setuptools"}
    assert imported - optional <= closure, f"name it in the group `gate` of {REPO.name}"
    assert {"pandas", "typer"} <= imported
