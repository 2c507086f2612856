"""The gate of a folder: whose rules and results count, also of a base from older revisions."""

from pathlib import Path
from typing import Any

import pytest

from malaria.core.yaml_files import dump_yaml
from malaria.errors import MalariaError
from malaria.gate.folder import gate_folder
from malaria.gate.judgement import Judgement, Outcome
from malaria.gate.params import CAN_BE_GATED
from malaria.paths import METRICS, PARAMS, PREDICTIONS
from malaria.pipeline.git import REFERENCE
from tests.gate.test_judge import REASON, RULES, cells, files
from tests.git_repo import git

LOOSE = RULES | {"metrics": {"sensitivity": {"margin": 0.9, "floor": "none"}}}
OLD_RULES = RULES | {  # before params.yaml had words for null
    "metrics": {metric: {"margin": 0.05, "floor": None} for metric in CAN_BE_GATED},
    "baseline_reset": None,
}


def write(root: Path, loss: float, **sections: Any) -> None:
    """Leave the results of a model and the params in the work tree."""
    found = files(cells(loss=loss))
    (root / "pilot/reports").mkdir(parents=True, exist_ok=True)
    (root / "pilot" / PREDICTIONS).write_bytes(found.predictions)
    (root / "pilot" / METRICS).write_bytes(found.metrics)
    (root / "pilot" / PARAMS).write_text(dump_yaml(sections))


def commit(root: Path, loss: float, **sections: Any) -> str:
    write(root, loss, **sections)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "results")
    return git(root, "rev-parse", "HEAD")


def judged(root: Path) -> Judgement:
    return gate_folder(root, "pilot", "main").judgement


@pytest.fixture
def root(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "no results")
    return tmp_path


@pytest.mark.parametrize("rules", [RULES, OLD_RULES])
def test_the_rules_of_the_base_hold(root: Path, rules: dict[str, Any]) -> None:
    commit(root, 0, gate=rules)
    write(root, 1.5, gate=LOOSE)
    found = gate_folder(root, "pilot", "main")
    assert found.judgement.outcome == Outcome.FAIL
    rule = found.judgement.params.metrics["sensitivity"]
    assert (rule.margin, rule.floor) == (0.05, None)
    assert "| <code>gate&#46;metrics&#46;sensitivity&#46;margin</code> |" in found.comment
    assert "has decided 1 time before" in found.comment
    write(root, 0, gate=LOOSE)
    assert judged(root).outcome == Outcome.PASS


@pytest.mark.parametrize("rules", [{"gate": OLD_RULES}, {}])
def test_the_reset_is_that_of_the_work_tree(root: Path, rules: dict[str, Any]) -> None:
    base = commit(root, 0, **rules)
    write(root, 1.5, gate=RULES | {"baseline_reset": {"commit": base, "reason": REASON}})
    assert (judged(root).outcome, judged(root).reasons) == (Outcome.RESET, [REASON])


def test_the_reference_counts_and_a_base_without_predictions_is_a_first_run(root: Path) -> None:
    write(root, 0, gate=RULES)
    assert judged(root).outcome == Outcome.FIRST_RUN
    commit(root, 0, gate=RULES)
    git(root, "tag", REFERENCE)
    commit(root, 1.4, gate=RULES)
    write(root, 1.5, gate=RULES)
    found = judged(root)
    assert found.outcome == Outcome.FAIL
    assert found.reasons[0].startswith("sensitivity against the reference: worse")


def test_missing_metrics_are_refused(root: Path) -> None:
    commit(root, 0, gate=RULES)
    (root / "pilot" / METRICS).unlink()
    with pytest.raises(MalariaError, match=r"^the pull request's reports/metrics\.json is not JS"):
        judged(root)
