"""A revision in a temporary checkout: its own bytes, none of its code, whatever it holds."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from malaria.cli import main as cli
from malaria.cli import root as cli_root
from malaria.errors import MalariaError
from malaria.gate import tree
from malaria.gate.lock_check import check_lock
from malaria.gate.tree import checkout_of, commit_to_read
from malaria.pipeline.stages import locked_hashes, md5
from tests.gate.locked import METRICS
from tests.gate.test_metrics_check import edit
from tests.git_repo import git

PREDICTIONS = "reports/predictions.csv"


def commit(root: Path) -> str:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "change")
    return git(root, "rev-parse", "HEAD")


def state_at(root: Path, revision: str) -> tuple[str, tuple[str, ...]]:
    with checkout_of(root, revision) as checkout:
        state = check_lock(checkout, "pilot")
    return state.state, state.reasons


def test_a_revision_is_checked_whatever_the_work_tree_has(clone: Path) -> None:
    honest = git(clone, "rev-parse", "HEAD")
    edit(clone / "pilot" / METRICS, "0.75", "0.95")
    forged = commit(clone)
    git(clone, "checkout", "-q", honest)
    state, reasons = state_at(clone, forged)
    assert state == "stale"
    assert reasons[0] == "pilot/reports/metrics.json was modified after evaluate left it"
    shutil.rmtree(clone / "pilot/reports")
    (clone / "malaria/core/a.py").unlink()
    assert state_at(clone, honest) == ("ok", ())


def test_no_file_of_a_revision_is_taken_for_a_tool(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "has_run"
    code = f"open({str(mark)!r}, 'w').close()\nraise SystemExit(0)\n"
    for name in (
        "dvc.py",
        "sitecustomize.py",
        "json.py",
        "git.py",
        "pilot/dvc.py",
        "pilot/json.py",
    ):
        (clone / name).write_text(code)
    edit(clone / "pilot/params.yaml", "epochs: 6", "epochs: 7")
    head = commit(clone)
    monkeypatch.setattr(cli_root, "ROOT", clone)
    monkeypatch.chdir(clone / "pilot")
    for options in (["--head", head], []):
        answer = CliRunner().invoke(cli.app, ["lock-check", "pilot", *options])
        assert answer.exit_code == 1, answer.output
        assert "train.epochs in pilot/params.yaml is 7, but train ran with 6" in answer.output
    assert not mark.exists()


def test_bytes_are_those_that_the_gate_reads_whatever_attributes_say(clone: Path) -> None:
    pilot = clone / "pilot"
    content = (pilot / PREDICTIONS).read_bytes()
    (pilot / PREDICTIONS).write_bytes(content.replace(b"\n", b"\r\n"))
    lock = (pilot / "dvc.lock").read_text()
    before = locked_hashes(pilot)[PREDICTIONS]
    (pilot / "dvc.lock").write_text(lock.replace(before, md5(pilot / PREDICTIONS)))
    (clone / ".gitattributes").write_text("*.csv text eol=crlf\n")
    head = commit(clone)  # Git keeps \n and the work tree has \r\n, of which the lock has the MD5
    assert check_lock(clone, "pilot").state == "ok"
    assert state_at(clone, head) == (
        "stale",
        ("pilot/reports/predictions.csv was modified after evaluate left it",),
    )


def test_links_lead_nowhere_but_to_the_code(clone: Path, tmp_path: Path) -> None:
    shutil.copytree(clone / "stages", tmp_path / "stages")
    shutil.move(clone / "pilot" / PREDICTIONS, tmp_path / "predictions.csv")
    (clone / "pilot" / PREDICTIONS).symlink_to(tmp_path / "predictions.csv")
    (clone / "pilot/stages").unlink()
    (clone / "pilot/stages").symlink_to(tmp_path / "stages")
    head = commit(clone)
    assert check_lock(clone, "pilot").state == "ok"
    state, reasons = state_at(clone, head)
    assert state == "stale"
    assert "pilot/reports/predictions.csv was modified after evaluate left it" in reasons
    assert "stages/train.py was deleted after train ran" in reasons
    with checkout_of(clone, head) as checkout:
        links = [path for path in checkout.rglob("*") if path.is_symlink()]
        assert links == [checkout / "pilot/malaria"]


def test_dvcs_settings_are_those_of_the_checkout_that_judges(clone: Path, tmp_path: Path) -> None:
    ours = (clone / "pilot/.dvc/config").read_bytes()
    (clone / "pilot/.dvc/config").write_text("[cache]\n    dir = /nowhere\n")
    shutil.rmtree(clone / ".dvc")
    (clone / ".dvc").symlink_to(tmp_path)
    git(clone, "add", "-A", "--force")
    git(clone, "commit", "-q", "-m", "change")
    head = git(clone, "rev-parse", "HEAD")
    git(clone, "checkout", "-q", "HEAD~1")
    with checkout_of(clone, head) as checkout:
        assert (checkout / "pilot/.dvc/config").read_bytes() == ours
        assert not (checkout / ".dvc").is_symlink()
        assert (checkout / ".dvc/config").read_bytes() == (clone / ".dvc/config").read_bytes()


def test_errors_name_files_by_the_revision(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clone / "pilot/params.yaml").write_text("train: [\n")
    head = commit(clone)
    with pytest.raises(MalariaError, match=f"{head[:8]}:pilot/params.yaml|failed") as raised:
        state_at(clone, head)
    assert "/malaria-" not in str(raised.value)
    with pytest.raises(MalariaError, match="no commit is called 'nowhere'"):
        state_at(clone, "nowhere")
    monkeypatch.setattr(tree, "MOST_MB", 0.001)
    with pytest.raises(MalariaError, match=r"more than the 0\.001 MB that are checked"):
        state_at(clone, head)


def test_the_work_tree_becomes_a_commit_of_no_branch(clone: Path) -> None:
    head, status = git(clone, "rev-parse", "HEAD"), git(clone, "status", "--porcelain")
    edit(clone / "pilot" / METRICS, "0.75", "0.95")
    (clone / "new.txt").write_text("new")
    found = commit_to_read(clone, None)
    assert git(clone, "show", f"{found}:new.txt") == "new"
    assert json.loads(git(clone, "show", f"{found}:pilot/{METRICS}")) == json.loads(
        (clone / "pilot" / METRICS).read_text()
    )
    assert git(clone, "rev-parse", "HEAD") == head
    assert status == ""
    assert sorted(git(clone, "status", "--porcelain").split()) == sorted(
        ["M", f"pilot/{METRICS}", "??", "new.txt"]
    )
    assert commit_to_read(clone, "HEAD") == head


@pytest.mark.parametrize("stages", ["stages: {}\n", ""])
def test_results_that_no_stage_makes_are_stale(clone: Path, stages: str) -> None:
    if stages:
        (clone / "pilot/dvc.yaml").write_text(stages)
    else:
        edit(clone / "pilot/dvc.yaml", "reports/metrics.json: ", "reports/other.json: ")
    assert state_at(clone, commit(clone))[0] == "stale"
