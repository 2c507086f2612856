"""What the gate of a folder is held against: results that are gone, a late fork, the reference."""

import pandas as pd
import pytest

from malaria.gate.judgement import Comparison, Outcome
from malaria.paths import PREDICTIONS
from malaria.pipeline.git import REFERENCE
from tests.gate.branch import OTHER, Branch
from tests.gate.test_folder import LOOSE, judged, overall, pilot
from tests.gate.test_judge import REASON, cells
from tests.git_repo import git

# Results that are missing


@pytest.mark.parametrize("how", ["results", "folder", "no stages"])
def test_results_that_are_gone_are_named(branch: Branch, how: str) -> None:
    base = branch.commit(cells())
    git(branch.root, "rm", "-qr", "pilot" if how == "folder" else "pilot/reports")
    if how == "no stages":
        (branch.root / "pilot/dvc.yaml").write_text("stages: {}\n")
    git(branch.root, "add", "-A")
    git(branch.root, "commit", "-qm", "gone")
    git(branch.root, "branch", "head")
    git(branch.root, "reset", "-q", "--hard", base)
    found = overall(branch, "head")
    assert (pilot(found).judgement.outcome, found.exit_code) == (Outcome.GONE, 1)
    (reason,) = pilot(found).judgement.reasons
    assert reason.startswith(f"pilot/{PREDICTIONS} of the base ({base[:8]}) is gone; bring")
    assert "## GONE: the base's results are missing" in found.comment
    assert pilot(found).content()["exit_code"] == 1


def test_only_an_entry_that_names_the_base_retires_results(branch: Branch) -> None:
    branch.commit(cells())
    for named, outcome, code in ((OTHER, Outcome.GONE, 1), (branch.tip, Outcome.RETIRED, 0)):
        branch.write(None, retired=branch.decided(named))
        found = overall(branch)
        assert (pilot(found).judgement.outcome, found.exit_code) == (outcome, code)
    assert pilot(found).judgement.reasons == [REASON]
    assert "## RETIRED: by a reviewed decision" in found.comment


def test_worse_results_after_deleted_ones_are_no_first_run(branch: Branch) -> None:
    branch.commit(cells())
    branch.commit(None)
    branch.write(None)
    assert judged(branch).outcome == Outcome.NO_RESULTS  # it did not delete them
    tip = branch.tip
    git(branch.root, "switch", "-qc", "side")
    branch.commit(cells(loss=1.5))
    assert judged(branch).outcome == Outcome.FAIL
    branch.commit(cells(loss=1.5), accept_loss=branch.decided(tip))
    assert judged(branch).outcome == Outcome.LOSS_ACCEPTED
    git(branch.root, "switch", "-q", "main")
    branch.commit(None, retired=branch.decided())
    branch.write(cells(loss=1.5))
    git(branch.root, "add", "-A")  # results that Git does not have are none
    assert judged(branch).outcome == Outcome.FIRST_RUN


def test_a_fork_from_before_the_first_results_is_held_against_these(branch: Branch) -> None:
    git(branch.root, "branch", "early")
    tip = branch.commit(cells())
    git(branch.root, "switch", "-q", "early")
    branch.commit(cells(loss=1.5), **LOOSE)
    found = overall(branch, "early")
    assert pilot(found).judgement.outcome == Outcome.FAIL
    assert pilot(found).changed_rules
    branch.commit(cells(loss=1.5), accept_loss=branch.decided(tip))
    assert judged(branch, "early").outcome == Outcome.LOSS_ACCEPTED
    branch.commit(None)
    assert judged(branch, "early").outcome == Outcome.NO_RESULTS


# The reference


def test_the_tag_counts_and_a_base_without_predictions_is_a_first_run(branch: Branch) -> None:
    branch.write(cells())
    git(branch.root, "add", "-A")  # results that Git does not have are none
    assert judged(branch).outcome == Outcome.FIRST_RUN
    branch.commit(cells())
    git(branch.root, "tag", REFERENCE)
    branch.commit(cells(loss=1.4))
    branch.write(cells(loss=1.5))
    found = judged(branch)
    assert found.outcome == Outcome.FAIL
    assert found.reasons[0].startswith("sensitivity against the reference: worse")


def test_drift_is_seen_without_a_tag_and_unless_a_reset_was_void(branch: Branch) -> None:
    branch.commit(cells())
    for step in range(1, 5):
        branch.commit(cells(loss=0.2 * step), baseline_reset=branch.decided(OTHER))
    branch.write(cells(loss=1.0))
    found = judged(branch)
    assert (found.outcome, found.exit_code) == (Outcome.FAIL, 1)
    assert [reason.partition(":")[0] for reason in found.reasons] == [
        "sensitivity against the reference"
    ]


def test_a_tag_on_other_test_cells_hides_no_drift(branch: Branch) -> None:
    branch.commit(cells(patients=30))
    git(branch.root, "tag", REFERENCE)
    branch.commit(cells(), baseline_reset=branch.decided())
    for step in range(1, 5):
        branch.commit(cells(loss=0.2 * step))
    branch.write(cells(loss=1.0))
    found = judged(branch)
    assert found.outcome == Outcome.FAIL
    assert found.reasons[0].startswith("sensitivity against the reference: worse")
    git(branch.root, "tag", "-f", REFERENCE)
    assert judged(branch).outcome == Outcome.PASS  # the tag on the base: nothing older counts


def test_results_that_did_not_change_are_not_held_against_the_reference(branch: Branch) -> None:
    branch.commit(cells())
    branch.commit(cells(loss=1.5))  # merged though it failed
    branch.write(cells(loss=1.5))
    found = overall(branch)
    assert (pilot(found).judgement.outcome, found.exit_code) == (Outcome.PASS, 0)
    assert "- <code>pilot</code>: unchanged results pass" in found.comment


def test_a_loss_against_both_is_accepted_with_the_tag_on_the_base_until_it_is_merged(
    branch: Branch,
) -> None:
    branch.commit(cells())
    base = branch.commit(cells(loss=0.3))
    branch.write(cells(loss=2), accept_loss=branch.decided(base))
    assert judged(branch).outcome == Outcome.FAIL  # the reference is the first result
    git(branch.root, "tag", REFERENCE, base)
    assert judged(branch).outcome == Outcome.LOSS_ACCEPTED
    branch.commit(cells(loss=2), accept_loss=branch.decided(base))
    git(branch.root, "tag", "-d", REFERENCE)
    branch.write(cells(loss=1.9))
    assert judged(branch).outcome == Outcome.PASS


def test_drift_is_seen_though_a_label_is_corrected_in_each_step(branch: Branch) -> None:
    def step(number: int) -> pd.DataFrame:
        frame = cells(loss=0.2 * number)
        frame.loc[: number - 1, "label"] = 1 - frame["label"]
        return frame

    branch.commit(step(0))
    outcomes = []
    for number in range(1, 6):
        branch.write(step(number), baseline_reset=branch.decided())
        found = judged(branch)
        outcomes.append(found.outcome)
        against_base = found.against["base"]
        assert isinstance(against_base, Comparison)
        assert {one.verdict for one in against_base.metrics.values()} == {"pass"}
        branch.commit(step(number), baseline_reset=branch.decided())
    assert outcomes[:2] == [Outcome.RESET] * 2
    assert outcomes[-1] == Outcome.FAIL
    assert found.reasons[0].startswith("sensitivity against the reference: worse by ")
