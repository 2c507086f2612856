"""The workflows: what they may do, and the scripts that they run, with a stand-in for GitHub."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from malaria.core.yaml_files import read_yaml
from tests.conftest import REPO
from tests.git_repo import git

WORKFLOWS = sorted((REPO / ".github/workflows").glob("*.yml"))
# Of each job, from the workflow or the job itself.
PERMISSIONS = {
    "ci.results": {"contents": "read"},
    "ci.checks": {"contents": "read"},
    "gate-comment.comment": {"actions": "read", "contents": "read", "pull-requests": "write"},
    "study.run": {"contents": "read"},
    "study.propose": {"contents": "write", "pull-requests": "write"},
}
SHA = "a1b2c3d4" * 5
# Stands in for gh: logs each call in the folder $GITHUB, answers `api` from the files there.
GH = """\
import json, os, pathlib, sys
folder, arguments = pathlib.Path(os.environ["GITHUB"]), sys.argv[1:]
with (folder / "calls").open("a") as calls:
    print(json.dumps(arguments), file=calls)
if arguments[0] == "api":
    method = arguments[arguments.index("--method") + 1] if "--method" in arguments else "GET"
    name = method + " " + arguments[1].partition("?")[0].removeprefix("repos/lab/malaria/")
    answer = folder / name.replace("/", "_")
    if not answer.exists():
        sys.exit("HTTP 404: " + name)
    sys.stdout.buffer.write(answer.read_bytes())
"""


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
    (results,) = [job for name, job in jobs() if name == "ci.results"]
    (gate,) = [step for step in results["steps"] if step.get("run") == "bash .ci/run gate"]
    assert gate["if"] == "github.event_name != 'push' && !cancelled()"
    assert gate["env"]["GATE_BASE"].startswith("${{ github.event.merge_group.base_sha || ")
    # What reports on a pull request has to report there too, or the queue waits for ever.
    assert not [name for name, job in jobs() if name.startswith("ci.") and "if" in job]


def test_what_may_write_takes_nothing_from_a_pull_request_but_the_runs_number() -> None:
    (job,) = [job for name, job in jobs() if name == "gate-comment.comment"]
    checkout, post = job["steps"]
    assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"
    assert post["run"] == 'python3 .ci/comment.py "$RUN"'
    assert post["env"]["RUN"] == "${{ github.event.workflow_run.id }}"


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


class GitHub:
    """The fork's pull request 7, whose checks have run as 42 and left a comment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "gh.py").write_text(GH)
        program = folder / "gh"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{folder}/gh.py" "$@"\n')
        program.chmod(0o755)
        self.says(
            "GET actions/runs/42",
            {
                "event": "pull_request",
                "head_sha": SHA,
                "head_branch": "better",
                "head_repository": {"owner": {"login": "fork"}},
                "html_url": "https://github.com/lab/malaria/actions/runs/42",
            },
        )
        self.says("GET pulls", [{"number": 7, "head": {"sha": SHA}}])
        artifacts = [{"id": number, "size_in_bytes": 9} for number in (1, 2)]
        self.says("GET actions/runs/42/artifacts", {"artifacts": artifacts})
        self.leaves({"gate-comment.md": "**pass**, says @someone\x1b[31m\n"})
        self.says("GET issues/7/comments", b"")

    def says(self, call: str, answer: object) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        (self.folder / call.replace("/", "_")).write_bytes(content)

    def leaves(self, files: dict[str, str]) -> None:
        """Let the newer of the run's two artifacts hold these files."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        self.says("GET actions/artifacts/2/zip", content.getvalue())

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def after(
        self, *command: str | Path, cwd: Path = REPO, **env: str
    ) -> "subprocess.CompletedProcess[str]":
        """Return a command that found this gh first."""
        given = {
            "PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}",
            "GITHUB": str(self.folder),
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "lab/malaria",
        }
        return subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | given | env,
            capture_output=True,
            text=True,
            check=False,
        )

    def comment(self, run: str = "42") -> str:
        """Return the script's output, or its error message if it fails."""
        result = self.after(sys.executable, ".ci/comment.py", run)
        return result.stdout if result.returncode == 0 else result.stderr


@pytest.fixture
def github(tmp_path: Path) -> GitHub:
    return GitHub(tmp_path)


BODY = (
    "body=<!-- malaria gate -->\n**pass**, says @\u200bsomeone[31m\n\n\n"
    "Of a1b2c3d4, in [this run](https://github.com/lab/malaria/actions/runs/42).\n"
)


def test_a_comment_is_posted_where_the_checked_commit_is(github: GitHub) -> None:
    github.says("POST issues/7/comments", {})
    assert github.comment() == "comment: posted on #7\n"
    *_, post = github.calls()
    assert post[-2:] == ["--raw-field", BODY]
    asked = next(call for call in github.calls() if call[1] == "repos/lab/malaria/pulls")
    assert asked[-1] == "head=fork:better"


def test_our_own_comment_is_updated_and_nobody_elses(github: GitHub) -> None:
    marked = "<!-- malaria gate -->\nold"
    ours = "github-actions[bot]"
    listed = [[1, "someone", marked], [2, ours, "another"], [3, ours, marked]]
    github.says("GET issues/7/comments", "\n".join(map(json.dumps, listed)).encode())
    github.says("PATCH issues/comments/3", {})
    assert github.comment() == "comment: updated on #7\n"


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("GET pulls", []),
        ("GET pulls", [{"number": 7, "head": {"sha": "0" * 40}}]),  # pushed to meanwhile
        ("GET pulls", [{"number": number, "head": {"sha": SHA}} for number in (7, 8)]),
        ("GET actions/runs/42/artifacts", {"artifacts": []}),
        ("GET actions/runs/42/artifacts", {"artifacts": [{"id": 2, "size_in_bytes": 10**7}]}),
    ],
)
def test_without_one_pull_request_and_one_small_artifact_nothing_is_posted(
    github: GitHub, call: str, answer: object
) -> None:
    github.says(call, answer)
    assert github.comment().endswith("nothing is posted\n")


def test_other_files_in_the_artifact_are_not_even_unpacked(github: GitHub) -> None:
    github.leaves({"gate-comment.md": "a", "../.ci/comment.py": "b"})
    assert github.comment().endswith("nothing is posted\n")


def test_a_long_comment_is_cut_before_github_refuses_it(github: GitHub) -> None:
    github.leaves({"gate-comment.md": "a" * 70_000})
    github.says("POST issues/7/comments", {})
    assert github.comment() == "comment: posted on #7\n"
    assert 60_000 < len(github.calls()[-1][-1]) < 65_536


def test_a_wrong_id_and_githubs_refusals_are_shown(github: GitHub) -> None:
    assert github.comment("42; true").startswith("comment: '42; true' is not the id of a run")
    assert github.comment() == (
        "comment: gh api repos/lab/malaria/issues/7/comments failed: "
        "HTTP 404: POST issues/7/comments\n"
    )


def test_results_are_proposed_as_a_draft_of_their_own_branch(
    github: GitHub, tmp_path: Path
) -> None:
    repo, results = tmp_path / "repo", tmp_path / "results"
    proposed = ["README.md", "docs/results.md", "pilot/dvc.lock", "pilot/reports/metrics.json"]
    for folder, text in ((repo, "old"), (results, "new")):
        for file in (*proposed, "pilot/dvc.yaml"):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
    (repo / ".ci").mkdir()
    shutil.copy(REPO / ".ci/propose", repo / ".ci")
    git(tmp_path, "init", "-q", "--bare", "origin")
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "base")
    git(repo, "remote", "add", "origin", str(tmp_path / "origin"))
    result = github.after("bash", ".ci/propose", "pilot", str(results), cwd=repo)
    assert result.returncode == 0, result.stderr
    *_, create = github.calls()
    assert create[:4] == ["pr", "create", "--draft", "--head"]
    listed = git(repo, "diff", "--name-only", "main", f"origin/{create[4]}").splitlines()
    assert listed == proposed
    again = github.after("bash", ".ci/propose", "pilot", str(results), cwd=repo)
    assert "the results are those of this commit already" in again.stdout
