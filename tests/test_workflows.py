"""The workflows: what they may do, and what they make of exit codes."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from malaria.core.yaml_files import read_yaml
from tests.conftest import REPO

WORKFLOWS = sorted((REPO / ".github/workflows").glob("*.yml"))
# Of each job, from the workflow or the job itself.
PERMISSIONS = {
    "ci.checks": {"contents": "read"},
    "gate.judge": {"contents": "read"},
    "gate.verify": {"contents": "read"},
    "gate.comment": {"actions": "read", "contents": "read", "pull-requests": "write"},
    "gate.decision": {"actions": "read", "contents": "read"},
    "gate.gate": {"contents": "read"},
    "study.run": {"contents": "read"},
    "study.propose": {"contents": "write", "pull-requests": "write"},
}
ALLOWED = ("checkout", "setup-python", "upload-artifact")  # where secrets may be


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        workflow = read_yaml(path)
        for name, job in workflow["jobs"].items():
            yield f"{path.stem}.{name}", {"permissions": workflow["permissions"]} | job


def test_each_job_may_do_what_it_has_to_and_no_more() -> None:
    assert {name: job["permissions"] for name, job in jobs()} == PERMISSIONS


def test_what_runs_a_pull_requests_code_has_no_secret_and_may_not_write() -> None:
    workflows = {path.stem: read_yaml(path) for path in WORKFLOWS}
    assert set(workflows["ci"]["on"]) == {"pull_request", "merge_group", "push"}
    text = (REPO / ".github/workflows/ci.yml").read_text()
    assert not re.search(r"secrets\.|github\.token|GITHUB_TOKEN", text)
    assert [name for name, workflow in workflows.items() if "pull_request" in workflow["on"]] == [
        "ci"
    ]


def test_a_merge_queue_gets_the_checks_and_the_gate_of_a_pull_request() -> None:
    for name in ("ci", "gate"):
        assert "merge_group" in read_yaml(REPO / f".github/workflows/{name}.yml")["on"]
    # What reports on a pull request has to report there too, or the queue waits for ever.
    conditions = {name: job["if"] for name, job in jobs() if "if" in job}
    assert conditions == {
        "gate.comment": "always() && github.event_name == 'pull_request_target'",
        "gate.decision": "needs.judge.outputs.verdict == '3'",
        "gate.gate": "always()",
    }


def test_the_base_judges_and_nothing_of_the_pull_request_is_checked_out() -> None:
    workflow = read_yaml(REPO / ".github/workflows/gate.yml")
    assert workflow["env"]["GATE_BASE"].startswith("${{ github.event.pull_request.base.sha ||")
    assert workflow["on"]["pull_request_target"]["branches"] == ["main"]
    for name, job in workflow["jobs"].items():
        for step in job["steps"]:
            uses = step.get("uses", "").partition("@")[0]
            assert uses in ("", *(f"actions/{one}" for one in ALLOWED)), name
            if uses == "actions/checkout":
                assert step["with"]["ref"] == "${{ env.GATE_BASE }}", name


def test_every_action_is_pinned_to_a_commit_with_its_version() -> None:
    for path in WORKFLOWS:
        for line in path.read_text().splitlines():
            if "uses:" in line:
                assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize(
    ("judged", "verdict", "verified", "decided", "code"),
    [
        ("success", "0", "success", "skipped", 0),
        ("success", "3", "success", "success", 0),
        ("success", "3", "success", "skipped", 1),
        ("success", "3", "success", "failure", 1),
        ("success", "3", "failure", "success", 1),
        ("failure", "1", "success", "skipped", 1),
        ("failure", "0", "success", "skipped", 1),  # the lock check
        ("success", "", "success", "skipped", 1),
        ("success", "0", "skipped", "skipped", 1),
        ("cancelled", "", "cancelled", "skipped", 1),
    ],
)
def test_the_answer_is_green_only_for_a_pass_or_a_decision(
    judged: str, verdict: str, verified: str, decided: str, code: int
) -> None:
    given = {"JUDGED": judged, "VERDICT": verdict, "VERIFIED": verified, "DECIDED": decided}
    result = subprocess.run(
        ["bash", ".ci/answer"], cwd=REPO, env=os.environ | given, check=False, capture_output=True
    )
    assert result.returncode == code


@pytest.mark.parametrize(("verdict", "code"), [(0, 0), (1, 1), (2, 2), (3, 0), (3, 3)])
def test_only_a_workflow_takes_three_for_an_output(tmp_path: Path, verdict: int, code: int) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(REPO / ".ci/run", tmp_path / ".ci")
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\nexit {verdict}\n")
    uv.chmod(0o755)
    (tmp_path / "gate-comment.md").write_text("## PASS, of an older commit\n")
    output = tmp_path / "output"
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    if (verdict, code) != (3, 3):
        env["GITHUB_OUTPUT"] = str(output)
    result = subprocess.run(
        ["bash", str(tmp_path / ".ci/run"), "gate"],
        env={key: value for key, value in os.environ.items() if key != "GITHUB_OUTPUT"} | env,
        check=False,
        capture_output=True,
    )
    assert result.returncode == code
    assert (output.read_text() == f"verdict={verdict}\n") if output.exists() else code == 3
    assert "NOT JUDGED" in (tmp_path / "gate-comment.md").read_text()  # as nothing was written


def test_no_job_leaves_its_token_behind_or_pastes_names_into_a_script() -> None:
    for name, job in jobs():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name
            assert "${{" not in step.get("run", ""), name


def test_every_script_and_task_is_there() -> None:
    tasks = set(re.findall(r"^(\w+)\(\) \{", (REPO / ".ci/run").read_text(), re.MULTILINE))
    for _, job in jobs():
        for step in job["steps"]:
            if "run" in step:
                _, script, *arguments = step["run"].split()
                assert (REPO / script).is_file()
                assert script != ".ci/run" or set(arguments) <= tasks
                assert "GITHUB" not in step["run"], "names of tasks only; no script in a workflow"


@pytest.mark.parametrize(
    "command",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS],
        ["zizmor", "--offline", "--quiet", REPO / ".github/workflows"],
    ],
    ids=lambda command: command[0],
)
def test_the_checkers_find_nothing(command: list[str | Path]) -> None:
    beside = Path(sys.executable).parent
    program = shutil.which(str(command[0]), path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    result = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
