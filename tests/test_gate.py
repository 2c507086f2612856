"""The gate: what it refuses to compare, and what it says."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from malaria.errors import MalariaError
from malaria.evaluated import Evaluated, Files, read_evaluated
from malaria.gate import (
    Comparison,
    Judgement,
    Outcome,
    Overlap,
    judge,
    judge_files,
)
from malaria.metrics import PREDICTION_COLUMNS, compute_metrics
from malaria.params.gate import BaselineReset, Gated, GateParams

BASE, OTHER = "a" * 40, "b" * 40
REASON = "the test split has grown by two hospitals"
PARAMS = GateParams(
    metrics={
        "sensitivity": Gated(margin=0.05, floor=None),
        "specificity": Gated(margin=0.05, floor=None),
        "roc_auc": Gated(margin=0.05, floor=None),
    },
    level=0.95,
    replicates=1000,
    seed=1,
    inconclusive="neutral",
    baseline_reset=None,
)
RESET = PARAMS.model_copy(update={"baseline_reset": BaselineReset(commit=BASE, reason=REASON)})


def cells(patients: int = 24, noise: float = 0.0, loss: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Return predictions as evaluate writes them; every third patient is healthy.

    `noise` is what a model of its own adds, `loss` what it takes from parasitized cells.
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
    """Return what evaluate leaves in Git of these predictions."""
    test = compute_metrics(frame[frame["split"] == "test"], threshold) | metrics
    content = json.dumps({"val": {}, "test": test})
    return Files(frame.to_csv(index=False).encode(), content.encode())


def evaluated(frame: pd.DataFrame) -> Evaluated:
    return read_evaluated(files(frame), "the head")


def judged(head: pd.DataFrame, base: pd.DataFrame | None, params: GateParams = PARAMS) -> Judgement:
    others = {} if base is None else {"base": evaluated(base)}
    return judge(evaluated(head), others, params, BASE)


# What is compared


def test_other_labels_are_told_not_computed() -> None:
    base = cells()
    base.loc[base["patient"] == "C1", "label"] = 0
    found = judged(cells(), base)
    assert (found.outcome, found.exit_code) == (Outcome.NOT_COMPARABLE, 1)
    assert "set gate.baseline_reset" in found.reasons[0]
    changed = int((base["label"] != cells()["label"]).sum())
    assert found.against == {"base": Overlap(800, changed, 0, 0, 20, 20, 20)}


def test_other_cells_are_counted() -> None:
    base = cells()
    base.loc[base["patient"] == "C1", "split"] = "val"
    base.loc[base["patient"] == "C23", "split"] = "test"
    found = judged(cells(), base)
    assert found.outcome == Outcome.NOT_COMPARABLE
    assert found.against == {"base": Overlap(760, 0, 40, 40, 20, 20, 19)}


def test_patients_that_vanished_are_refused_unless_reviewed() -> None:
    head = cells()
    head = head[head["patient"] != "C1"]
    with pytest.raises(MalariaError, match=r"1 of the base's 20 test patients .* \(C1\) and no"):
        judged(head, cells())
    assert judged(head, cells(), RESET).outcome == Outcome.RESET
    assert judge(evaluated(head), {"reference": evaluated(cells())}, PARAMS, BASE)


def test_a_reset_holds_for_its_base_alone() -> None:
    base = cells().assign(label=lambda rows: 1 - rows["label"])
    found = judged(cells(), base, RESET)
    assert (found.outcome, found.exit_code, found.reasons) == (Outcome.RESET, 0, [REASON])
    others = {"base": evaluated(base)}
    assert judge(evaluated(cells()), others, RESET, OTHER).outcome == Outcome.NOT_COMPARABLE


def test_a_reset_shows_the_comparison_that_it_overrules() -> None:
    found = judged(cells(loss=1.5), cells(), RESET)
    assert found.outcome == Outcome.RESET
    assert isinstance(found.against["base"], Comparison)


def test_a_base_of_other_cells_is_compared_where_its_model_is_evaluated_anew() -> None:
    base = cells()
    base.loc[base["patient"] == "C1", "split"] = "val"
    base.loc[base["patient"] == "C23", "split"] = "test"
    asked = []

    def evaluate_base(theirs: Evaluated, ours: Evaluated) -> Evaluated:
        asked.append((theirs.fingerprint, ours.fingerprint))
        new = cells()
        return evaluated(new[new["patient"] != "C1"])

    others = {"base": evaluated(base)}
    head = evaluated(cells(loss=1.5))
    found = judge(head, others, PARAMS, BASE, evaluate_base)
    assert asked == [(others["base"].fingerprint, head.fingerprint)]
    compared = found.against["base"]
    assert isinstance(compared, Comparison)
    assert (compared.cells, compared.patients) == (760, 19)
    assert compared.overlap == Overlap(760, 0, 40, 40, 20, 20, 19)
    assert found.outcome == Outcome.FAIL
    assert judge(head, {"base": head}, PARAMS, BASE, evaluate_base).outcome == Outcome.PASS
    assert len(asked) == 1  # of the same cells there is nothing to evaluate


def test_without_a_base_it_is_the_first_run() -> None:
    found = judged(cells(), None)
    assert (found.outcome, found.exit_code, found.against) == (Outcome.FIRST_RUN, 0, {})
    assert set(found.head) == set(PARAMS.metrics)


# What it says


def test_the_same_model_passes() -> None:
    found = judged(cells(), cells())
    assert (found.outcome, found.exit_code) == (Outcome.PASS, 0)
    assert len(found.reasons) == 3


def test_a_model_that_lost_much_fails() -> None:
    found = judged(cells(loss=1.5), cells())
    assert (found.outcome, found.exit_code) == (Outcome.FAIL, 1)
    assert found.reasons[0] == (
        "sensitivity against the base: worse, and a loss beyond 0.05 cannot be excluded"
    )


@pytest.mark.parametrize(("meaning", "code"), [("neutral", 0), ("fail", 1)])
def test_too_little_data_means_what_the_params_say(meaning: str, code: int) -> None:
    strict = {name: Gated(margin=0.001, floor=None) for name in PARAMS.metrics}
    params = PARAMS.model_copy(update={"metrics": strict, "inconclusive": meaning})
    found = judged(cells(noise=0.3, seed=2), cells(noise=0.3, seed=3), params)
    assert (found.outcome, found.exit_code) == (Outcome.INCONCLUSIVE, code)
    assert "too few patients" in found.reasons[0]


@pytest.mark.parametrize("base", [None, cells()], ids=["first run", "same model"])
@pytest.mark.parametrize("reset", [None, RESET.baseline_reset])
def test_a_floor_holds_in_any_case(base: pd.DataFrame | None, reset: BaselineReset | None) -> None:
    floors = PARAMS.metrics | {"specificity": Gated(margin=0.05, floor=0.999)}
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
    others = {"base": evaluated(cells(loss=1.4)), "reference": evaluated(cells())}
    found = judge(evaluated(cells(loss=1.5)), others, PARAMS, BASE)
    base = found.against["base"]
    assert isinstance(base, Comparison)
    assert {judged.verdict for judged in base.metrics.values()} == {"pass"}
    assert found.outcome == Outcome.FAIL
    assert "sensitivity against the reference" in found.reasons[0]


def test_a_reference_of_other_cells_is_only_shown() -> None:
    reference = evaluated(cells(patients=30))
    found = judge(
        evaluated(cells()), {"base": evaluated(cells()), "reference": reference}, PARAMS, BASE
    )
    assert found.outcome == Outcome.PASS
    assert isinstance(found.against["reference"], Overlap)


def test_losses_against_both_are_corrected_together() -> None:
    head, base = evaluated(cells(loss=0.3, noise=0.3)), evaluated(cells())
    alone = judge(head, {"base": base}, PARAMS, BASE).against["base"]
    both = judge(head, {"base": base, "reference": base}, PARAMS, BASE).against["base"]
    assert isinstance(alone, Comparison)
    assert isinstance(both, Comparison)
    smallest = [min(one.p_corrected for one in found.metrics.values()) for found in (alone, both)]
    assert smallest[1] == pytest.approx(2 * smallest[0])


def test_slices_tell_where_a_loss_is() -> None:
    head = cells()
    healthy = head["patient"].isin([f"C{number}" for number in range(0, 24, 3)])
    head.loc[healthy, "logit"] += 2
    head["probability"] = expit(head["logit"]).round(6)
    comparison = judged(head, cells()).against["base"]
    assert isinstance(comparison, Comparison)
    worse = {(part.name, part.difference.metric) for part in comparison.slices if part.got_worse}
    assert worse == {("healthy patients", "specificity")}
    assert {part.patients for part in comparison.slices if part.name == "healthy patients"} == {7}
    assert len(comparison.slices) == 1 + 4 * 3  # no parasitized cell in healthy patients


# Bytes in, JSON out


def test_files_are_judged_and_a_reference_that_is_the_base_is_none() -> None:
    base, head = files(cells()), files(cells(noise=0.2), threshold=0.4)
    found = judge_files(head, base, base, PARAMS, BASE)
    assert list(found.against) == ["base"]
    assert judge_files(head, None, base, PARAMS, BASE).outcome == Outcome.FIRST_RUN
    with pytest.raises(MalariaError, match=r"^the base's reports/predictions\.csv"):
        judge_files(head, Files(b"", base.metrics), None, PARAMS, BASE)


def test_the_json_has_all_numbers_and_no_nan() -> None:
    head = cells(noise=0.2)
    head = head[(head["label"] == 0) | (head["split"] == "val")]  # no parasitized test cell
    base = cells()[cells()["cell_id"].isin(head["cell_id"])]
    content = json.loads(judged(head, base).to_json(), parse_constant=pytest.fail)
    assert content["outcome"] == "inconclusive"
    assert content["exit_code"] == 0
    assert content["params"]["metrics"]["roc_auc"] == {"margin": 0.05, "floor": None}
    metrics = content["against"]["base"]["metrics"]
    assert metrics["sensitivity"]["at_least"] is None
    assert metrics["sensitivity"]["reason"] == "not defined for these cells"
    specificity = metrics["specificity"]
    assert specificity["difference"] == pytest.approx(specificity["head"] - specificity["other"])
    assert specificity["low"] < specificity["at_least"] < specificity["high"]
    assert specificity["verdict"] == "pass"
    assert content["test"]["cells"] == len(head[head["split"] == "test"])


def test_the_json_of_other_cells_has_the_counts() -> None:
    content = json.loads(judged(cells(30), cells()).to_json())
    assert content["against"]["base"]["overlap"]["shared"] == 800
