"""The gate: what it refuses to compare, and what it says."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from malaria.core.params import parse
from malaria.errors import MalariaError
from malaria.evaluation.metrics import compute_metrics
from malaria.gate.judge import judge
from malaria.gate.judgement import Comparison, Judgement, Outcome, Overlap
from malaria.gate.params import CAN_BE_GATED, BaselineReset, GateParams, MetricRule
from malaria.gate.predictions import Evaluated, Files, read_evaluated
from malaria.prediction.table import PREDICTION_COLUMNS

BASE, OTHER = "a" * 40, "b" * 40
REASON = "the test split has grown by two hospitals"
RULES: dict[str, Any] = {  # as params.yaml has them
    "metrics": {metric: {"margin": 0.05, "floor": "none"} for metric in CAN_BE_GATED},
    "patients": {"cells": 10, "margin": 0.3},
    "slices": "none",
    "level": 0.95,
    "replicates": 1000,
    "seed": 1,
    "inconclusive": "neutral",
    "baseline_reset": "none",
    "accept_loss": "none",
    "retired": "none",
}
PARAMS = parse(GateParams, RULES)
RESET = PARAMS.model_copy(update={"baseline_reset": BaselineReset(commit=BASE, reason=REASON)})


def cells(patients: int = 24, noise: float = 0.0, loss: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Return predictions as the pipeline writes them; every third patient is healthy.

    `noise` is what another model adds, `loss` what it takes from parasitized cells.
    """
    rng = np.random.default_rng(0)
    number = np.repeat(np.arange(patients), 40)
    label = np.where(number % 3 == 0, 0, rng.integers(0, 2, len(number)))
    logit = rng.normal(scale=1.2, size=len(number)) + 5 * (label - 0.5) - loss * label
    logit += np.random.default_rng(seed).normal(scale=noise, size=len(number))
    frame = pd.DataFrame(
        {
            "cell_id": [f"cell{row:05}" for row in range(len(number))],
            "patient": [f"C{one}" for one in number],
            "split": np.where(number < patients - 4, "test", "val"),
            "label": label,
            "logit": logit.round(6),
        }
    )
    return frame.assign(probability=expit(frame["logit"]).round(6))[PREDICTION_COLUMNS]


def files(frame: pd.DataFrame, threshold: float = 0.5, **metrics: Any) -> Files:
    """Return what the pipeline leaves in Git of these predictions."""
    test = compute_metrics(frame[frame["split"] == "test"], threshold) | metrics
    content = json.dumps({"val": {}, "test": test})
    return Files(frame.to_csv(index=False).encode(), content.encode())


def evaluated(frame: pd.DataFrame) -> Evaluated:
    return read_evaluated(files(frame), "the head")


def judged(
    head: pd.DataFrame,
    base: pd.DataFrame | None,
    params: GateParams = PARAMS,
    reference: pd.DataFrame | None = None,
    **options: Any,
) -> Judgement:
    theirs, third = (None if other is None else files(other) for other in (base, reference))
    return judge(files(head), theirs, third, params, **{"base_commit": BASE} | options)


def compared(found: Judgement, other: str = "base") -> Comparison:
    comparison = found.against[other]
    assert isinstance(comparison, Comparison)
    return comparison


def moved() -> pd.DataFrame:
    """Return predictions whose test split lacks the patient C1 and has C23."""
    frame = cells()
    frame.loc[frame["patient"] == "C1", "split"] = "val"
    frame.loc[frame["patient"] == "C23", "split"] = "test"
    return frame


# What is compared


def test_other_cells_are_counted_not_compared() -> None:
    found = judged(cells(), moved())
    assert (found.outcome, found.exit_code) == (Outcome.NOT_COMPARABLE, 1)
    assert "set gate.baseline_reset" in found.reasons[0]
    assert found.against == {"base": Overlap(760, 0, 40, 40, 20, 20, 19)}
    content = json.loads(judged(cells(30), cells()).to_json())
    assert content["against"]["base"]["overlap"]["shared"] == 800


@pytest.mark.parametrize(
    ("column", "value"), [("patient", "C2"), ("label", 0)], ids=["patients", "labels"]
)
def test_cells_that_changed_patient_or_label_are_refused_unless_reviewed(
    column: str, value: object
) -> None:
    head = cells()
    chosen = head["patient"].isin(["C1", "C4"])
    head.loc[chosen, column] = value
    changed = int((head[column] != cells()[column]).sum())
    said = rf"^{changed} of the 800 test cells that .* have another {column} than in the base \(c"
    for evaluate_base in (None, lambda *_: pytest.fail("is not asked")):
        with pytest.raises(MalariaError, match=said):
            judged(head, cells(), evaluate_base=evaluate_base)
    assert judged(head, cells(), RESET).outcome == Outcome.RESET


def test_patients_that_vanished_are_refused_unless_reviewed() -> None:
    head = cells()
    head = head[head["patient"] != "C1"]
    with pytest.raises(MalariaError, match=r"1 of the base's 20 test patients .* \(C1\) and no"):
        judged(head, cells())
    assert judged(head, cells(), RESET).outcome == Outcome.RESET
    assert judged(head, None, reference=cells()).outcome == Outcome.FIRST_RUN


def test_cells_that_vanished_are_refused_unless_reviewed() -> None:
    base = cells(noise=1.5, seed=4)
    wrong = (base["probability"] >= 0.5) != (base["label"] == 1)
    head = cells(loss=2)[~wrong | (base["split"] == "val")]  # all patients are kept
    asked = lambda *_: pytest.fail("is not asked")  # noqa: E731
    lost = int((wrong & (base["split"] == "test")).sum())
    said = rf"^{lost} of the base's 800 test cells are not in .*, though their patients are; test"
    for evaluate_base in (None, asked):
        with pytest.raises(MalariaError, match=said):
            judged(head, base, evaluate_base=evaluate_base)
    # Nor if another patient came in.
    head = cells(30).query("patient != 'C1'")[5:]
    with pytest.raises(MalariaError, match=r"^5 of the base's 800 test cells are not in"):
        judged(head, cells(), evaluate_base=asked)


def test_a_reset_holds_only_for_its_base() -> None:
    found = judged(cells(), cells(50), RESET)
    assert (found.outcome, found.exit_code, found.reasons) == (Outcome.RESET, 0, [REASON])
    with pytest.raises(MalariaError, match="and no other came in"):
        judged(cells(), cells(50), RESET, base_commit=OTHER)


def test_a_reset_is_for_another_yardstick_so_common_cells_are_judged() -> None:
    base = cells()
    relabelled = base.copy()
    relabelled.loc[0, "label"] = 1 - relabelled.loc[0, "label"]
    for before in (base, relabelled):
        found = judged(cells(loss=1.5), before, RESET)
        assert (found.outcome, found.exit_code) == (Outcome.FAIL, 1)
        assert found.reasons[0].startswith("sensitivity against the base: worse by ")
        assert "a loss on them is accepted by gate.accept_loss" in found.reasons[-1]
    comparison = compared(found)
    assert (comparison.cells, comparison.overlap) == (799, Overlap(800, 1, 0, 0, 20, 20, 20))
    found = judged(cells(), relabelled, RESET)
    assert (found.outcome, found.reasons[0]) == (Outcome.RESET, REASON)
    assert len(found.reasons) == 4


def test_a_base_that_cannot_be_read_is_left_behind_by_a_reset() -> None:
    broken = Files(b"cell_id,", b"{}")
    with pytest.raises(
        MalariaError, match=r"^the base's reports/predictions.csv is not .*; or in a"
    ):
        judge(files(cells()), broken, None, PARAMS, BASE)
    assert judge(files(cells()), broken, None, RESET, BASE).outcome == Outcome.RESET


def test_a_base_of_other_cells_is_compared_if_its_model_is_evaluated_on_the_new() -> None:
    asked = []

    def evaluate_base(theirs: Evaluated, ours: Evaluated) -> Evaluated:
        asked.append((theirs.fingerprint, ours.fingerprint))
        new = cells()
        return evaluated(new[new["patient"] != "C1"])

    head = cells(loss=1.5)
    found = judged(head, moved(), evaluate_base=evaluate_base)
    assert asked == [(evaluated(moved()).fingerprint, evaluated(head).fingerprint)]
    comparison = compared(found)
    assert (comparison.cells, comparison.patients) == (760, 19)
    assert comparison.overlap == Overlap(760, 0, 40, 40, 20, 20, 19)
    assert found.outcome == Outcome.FAIL
    assert judged(head, head, evaluate_base=evaluate_base).outcome == Outcome.PASS
    assert len(asked) == 1  # not for the same cells


def test_without_a_base_it_is_the_first_run() -> None:
    found = judged(cells(), None)
    assert (found.outcome, found.exit_code, found.against) == (Outcome.FIRST_RUN, 0, {})
    assert set(found.head) == set(PARAMS.metrics)


def test_a_reference_that_is_the_base_is_not_compared_again() -> None:
    assert list(judged(cells(), cells(), reference=cells()).against) == ["base"]
    with pytest.raises(MalariaError, match=r"^the base's reports/predictions\.csv"):
        judge(files(cells()), Files(b"", b""), None, PARAMS, BASE)


# What it says


def test_the_same_model_passes_and_one_that_lost_much_fails() -> None:
    found = judged(cells(), cells())
    assert (found.outcome, found.exit_code, len(found.reasons)) == (Outcome.PASS, 0, 3)
    found = judged(cells(loss=1.5), cells())
    assert (found.outcome, found.exit_code) == (Outcome.FAIL, 1)
    lost = -100 * compared(found).metrics["sensitivity"].difference.difference
    assert found.reasons[0] == (
        f"sensitivity against the base: worse by {lost:.1f} points; the margin is 5"
    )


@pytest.mark.parametrize(("meaning", "code"), [("neutral", 3), ("fail", 1)])
def test_too_little_data_means_what_the_params_say(meaning: str, code: int) -> None:
    strict = dict.fromkeys(CAN_BE_GATED, MetricRule(margin=0.01, floor=1e-9))
    params = PARAMS.model_copy(update={"metrics": strict, "inconclusive": meaning})
    found = judged(cells(noise=0.3, seed=2), cells(noise=0.3, seed=3), params)
    assert (found.outcome, found.exit_code) == (Outcome.INCONCLUSIVE, code)
    assert "too few patients" in found.reasons[0]


@pytest.mark.parametrize("base", [None, cells()], ids=["first run", "same model"])
@pytest.mark.parametrize("reset", [None, RESET.baseline_reset])
def test_a_floor_holds_in_any_case(base: pd.DataFrame | None, reset: BaselineReset | None) -> None:
    floors = PARAMS.metrics | {"specificity": MetricRule(margin=0.05, floor=0.999)}
    params = PARAMS.model_copy(update={"metrics": floors, "baseline_reset": reset})
    found = judged(cells(), base, params)
    assert found.outcome == Outcome.FAIL
    assert found.reasons[0].endswith("is below the floor 0.999")


def test_only_the_gated_metrics_count() -> None:
    params = PARAMS.model_copy(update={"metrics": {"specificity": PARAMS.metrics["specificity"]}})
    found = judged(cells(loss=3), cells(), params)
    assert found.outcome == Outcome.PASS
    assert list(found.head) == ["specificity"]


def test_the_reference_can_fail_a_model_that_the_base_lets_pass() -> None:
    found = judged(cells(loss=1.5), cells(loss=1.4), reference=cells())
    assert {one.verdict for one in compared(found).metrics.values()} == {"pass"}
    assert found.outcome == Outcome.FAIL
    assert "sensitivity against the reference" in found.reasons[0]


def test_a_reference_of_other_cells_is_only_shown() -> None:
    found = judged(cells(), cells(), reference=cells(patients=30))
    assert found.outcome == Outcome.PASS
    assert isinstance(found.against["reference"], Overlap)


def test_losses_against_both_are_corrected_together() -> None:
    head = cells(loss=0.3, noise=0.3)
    found = (judged(head, cells(), reference=other) for other in (None, cells(noise=1e-6)))
    smallest = [min(x.p_corrected for x in compared(one).metrics.values()) for one in found]
    assert smallest[1] == pytest.approx(2 * smallest[0], rel=0.01)


def test_slices_show_where_a_loss_is() -> None:
    head = cells()
    healthy = head["patient"].isin([f"C{number}" for number in range(0, 24, 3)])
    head.loc[healthy, "logit"] += 2
    head["probability"] = expit(head["logit"]).round(6)
    slices = compared(judged(head, cells())).slices
    worse = {(part.name, part.difference.metric) for part in slices if part.got_worse}
    assert worse == {("healthy", "specificity")}
    assert {part.patients for part in slices if part.name == "healthy"} == {7}
    assert len(slices) == 1 + 4 * 3  # no parasitized cell in healthy patients


def test_the_json_has_all_numbers_and_no_nan() -> None:
    head = cells(noise=0.2)
    head = head[(head["label"] == 0) | (head["split"] == "val")]  # no parasitized test cell
    base = cells()[cells()["cell_id"].isin(head["cell_id"])]
    content = json.loads(judged(head, base).to_json(), parse_constant=pytest.fail)
    assert (content["outcome"], content["exit_code"]) == ("inconclusive", 3)
    assert content["params"]["metrics"]["roc_auc"] == {"margin": 0.05, "floor": None}
    metrics = content["against"]["base"]["metrics"]
    assert metrics["sensitivity"]["at_least"] is None
    assert metrics["sensitivity"]["reason"] == "not defined"
    specificity = metrics["specificity"]
    assert specificity["difference"] == pytest.approx(specificity["head"] - specificity["other"])
    assert specificity["low"] < specificity["at_least"] < specificity["high"]
    assert specificity["verdict"] == "pass"
    assert content["test"]["cells"] == len(head[head["split"] == "test"])
