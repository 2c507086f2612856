"""What is posted under the bot's name, and what its scripts do, with a stand-in for GitHub."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.git_repo import git
from tests.github import SHA, GitHub


@pytest.fixture
def github(tmp_path: Path) -> GitHub:
    return GitHub(tmp_path)


BODY = (
    "<!-- malaria gate -->\n**pass**, says @\u200bsomeone[31m\n\n\n"
    "Of a1b2c3d4, in [this run](https://github.com/lab/malaria/actions/runs/42).\n"
)


def test_a_comment_is_posted_on_the_judged_commit(github: GitHub) -> None:
    assert github.comment() == "comment: posted on #7\n"
    assert github.posted() == BODY


def test_our_own_comment_is_updated_and_nobody_elses(github: GitHub) -> None:
    marked = "<!-- malaria gate -->\nold"
    ours = "github-actions[bot]"
    listed = [[1, "someone", marked], [2, ours, "another"], [3, ours, marked]]
    github.says("GET issues/7/comments", "\n".join(map(json.dumps, listed)).encode())
    github.says("PATCH issues/comments/3", {})
    assert github.comment() == "comment: updated on #7\n"


def test_the_comment_links_to_the_pages_of_its_run(github: GitHub) -> None:
    names = {2: "gate-comment", 3: "gate-pages", 4: "gate-pages"}
    artifacts = [{"name": name, "id": key, "size_in_bytes": 9} for key, name in names.items()]
    github.says("GET actions/runs/42/artifacts", {"artifacts": artifacts})
    assert github.comment() == "comment: posted on #7\n"
    assert "](https://github.com/lab/malaria/actions/runs/42/artifacts/4)" in github.posted()


@pytest.mark.parametrize(
    "pull",
    [
        {"state": "open", "head": {"sha": "0" * 40}},  # pushed to meanwhile
        {"state": "closed", "head": {"sha": SHA}},
    ],
)
def test_nothing_is_posted_on_another_commit(github: GitHub, pull: object) -> None:
    github.says("GET pulls/7", pull)
    assert github.comment().endswith("nothing is posted\n")


def zipped(name: str, content: bytes) -> bytes:
    """Return a zip that is small, however large its file is."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


BROKEN = zipped("gate-comment.md", b"a" * 5000)


@pytest.mark.parametrize(
    ("call", "answer", "said"),
    [
        ("GET actions/runs/42/artifacts", {"artifacts": []}, "its run has no gate-comment"),
        (
            "GET actions/runs/42/artifacts",
            {"artifacts": [{"name": "gate-comment", "id": 2, "size_in_bytes": 10**7}]},
            "its gate-comment has 10,000,000 bytes",
        ),
        ("GET actions/artifacts/2/zip", b"no zip", "is not a zip that can be read"),
        ("GET actions/artifacts/2/zip", BROKEN[:40] + b"??" + BROKEN[42:], "is not a zip that"),
        ("GET actions/artifacts/2/zip", zipped("../run", b"a"), "has other files than"),
        (
            "GET actions/artifacts/2/zip",
            zipped("gate-comment.md", b"a" * 10**8),
            "has more than 1,000,000 bytes",
        ),
        ("GET actions/artifacts/2/zip", zipped("gate-comment.md", b" \n"), "is empty"),
    ],
)
def test_a_verdict_that_could_not_be_made_replaces_the_older_one(
    github: GitHub, call: str, answer: object, said: str
) -> None:
    old = [3, "github-actions[bot]", "<!-- malaria gate -->\n## PASS"]
    github.says("GET issues/7/comments", json.dumps(old).encode())
    github.says("PATCH issues/comments/3", {})
    github.says(call, answer)
    assert github.comment() == "comment: updated on #7\n"
    assert github.posted().startswith("<!-- malaria gate -->\n## NOT JUDGED\n")
    assert said in github.posted()
    assert "PASS" not in github.posted()


def test_a_long_comment_ends_after_a_line_and_closes_what_is_open(github: GitHub) -> None:
    row = f"| <code>{'&#128512;' * 30}</code> | \N{GRINNING FACE} |\n"
    text = f"## PASS\n\n<details><summary>Rows</summary>\n\n{row * 1000}\n</details>\n"
    github.leaves({"gate-comment.md": text})
    assert github.comment() == "comment: posted on #7\n"
    lines = github.posted().splitlines()
    assert 50_000 < len(github.posted().encode()) < 65_536
    assert lines[lines.index("</details>") - 2] == row.strip()
    assert "The rest is too long for a comment; the run has it." in lines
    github.leaves({"gate-comment.md": "\N{GRINNING FACE}" * 60_000})
    assert github.comment() == "comment: posted on #7\n"
    assert len(github.posted()) < 300


def test_a_wrong_number_and_githubs_refusals_are_shown(github: GitHub) -> None:
    assert github.comment("42; true").startswith("comment: '42; true' is not the number of a run")
    assert "is not the number of a pull request" in github.comment(pull="../7")
    (github.folder / "POST issues_7_comments").unlink()
    assert github.comment() == (
        "comment: gh api repos/lab/malaria/issues/7/comments failed: "
        "HTTP 404: POST issues/7/comments\n"
    )


@pytest.mark.parametrize(("approvals", "code"), [(b"0\n", 1), (b"1\n", 0)])
def test_an_inconclusive_verdict_needs_a_persons_approval(
    github: GitHub, approvals: bytes, code: int
) -> None:
    github.says("GET actions/runs/42/approvals", approvals)  # as gh's --jq counts them
    result = github.after("bash", ".ci/decided", "42")
    assert result.returncode == code
    assert ("nobody has approved it" in result.stderr) == bool(code)


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
