"""`malaria gate`: exit codes, and what it prints and writes."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from malaria.cli import main as cli
from malaria.errors import MalariaError
from tests.gate.branch import Branch
from tests.gate.test_judge import cells
from tests.git_repo import git

STRICT = {"metrics": {"sensitivity": {"margin": 0.01, "floor": "none"}}}


@pytest.mark.parametrize(
    ("head", "code", "outcome"),
    [
        (cells(noise=1e-6), 0, "pass"),
        (cells(loss=1.5), 1, "fail"),
        (None, 1, "gone"),
        (cells(noise=0.3, seed=2), 3, "inconclusive"),
    ],
    ids=["pass", "fail", "gone", "inconclusive"],
)
def test_the_exit_code_is_the_answer(
    branch: Branch,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    head: pd.DataFrame | None,
    code: int,
    outcome: str,
) -> None:
    monkeypatch.setattr("malaria.cli.root.ROOT", branch.root)
    branch.commit(cells(noise=0.3, seed=3) if outcome == "inconclusive" else cells(), **STRICT)
    git(branch.root, "switch", "-qc", "side")
    branch.commit(head, **STRICT, inconclusive="fail")  # the base's word counts
    out = tmp_path / "out"
    options = ["--comment", f"{out}.md", "--json", f"{out}.json"]
    answer = CliRunner().invoke(cli.app, ["gate", "--base", "main", *options])
    assert answer.exit_code == code, answer.output
    assert f"pilot: {outcome}\n  " in answer.stdout
    assert "  changed rule of the gate: gate.inconclusive\n" in answer.stdout
    written = json.loads(out.with_suffix(".json").read_text())
    assert (written["pilot"]["outcome"], written["pilot"]["exit_code"]) == (outcome, code)
    assert written["pilot"]["changed_rules"] == {"gate.inconclusive": ['"neutral"', '"fail"']}
    text = out.with_suffix(".md").read_text()
    assert text.startswith("## This pull request changes rules of the gate\n")
    assert f"\n## {outcome.upper()}: " in text


def test_broken_input_is_refused(branch: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malaria.cli.root.ROOT", branch.root)
    branch.commit(cells())
    branch.write(cells().assign(label=0.5))
    answer = CliRunner().invoke(cli.app, ["gate", "--base", "main"])
    assert isinstance(answer.exception, MalariaError)  # exit code 2, by main()


def test_a_revision_is_judged_whatever_the_work_tree_has(
    branch: Branch, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr("malaria.cli.root.ROOT", branch.root)
    branch.commit(cells())
    git(branch.root, "switch", "-qc", "side")
    (branch.root / "sitecustomize.py").touch()
    worse = branch.commit(cells(loss=1.5))
    git(branch.root, "switch", "-q", "main")
    out = tmp_path_factory.mktemp("out") / "comment.md"
    options = ["--base", "main", "--comment", str(out)]
    said = "changed file that judges: sitecustomize.py\n"
    answer = CliRunner().invoke(cli.app, ["gate", *options, "--head", worse])
    assert (answer.exit_code, said in answer.stdout) == (1, True)
    assert "- <code>sitecustomize&#46;py</code>\n" in out.read_text()
    git(branch.root, "switch", "-q", "side")
    branch.write(cells())  # as good as the base's, in the work tree alone
    assert CliRunner().invoke(cli.app, ["gate", *options, "--head", worse]).exit_code == 1
    answer = CliRunner().invoke(cli.app, ["gate", *options])
    assert (answer.exit_code, said in answer.stdout) == (0, True)  # named without new results
    assert "## This pull request changes what judges pull requests" in out.read_text()
