"""The simulation behind the gate's margins: its truths, its fit, and the margins it asks for."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from benchmarks.gate import FAILED, PASSED
from benchmarks.gate_population import (
    Disagreement,
    Population,
    draw_patients,
    fitted,
    read_runs,
)
from benchmarks.gate_runs import margin_of, margins_in, spoilt_labels, write_margins
from benchmarks.gate_simulate import (
    BALANCED,
    Compared,
    behind_accepted,
    margins_for,
    shift_for,
    smallest_caught,
    verdict_on,
    with_margins,
    worse,
)
from malaria.core.params import load
from malaria.evaluation.metrics import compute_metrics
from malaria.gate.paired import PairedDifference
from malaria.gate.params import CAN_BE_GATED, GateParams
from malaria.gate.patients import PatientLoss
from malaria.gate.verdict import Verdict
from malaria.prediction.table import read_predictions
from tests.conftest import REPO

DISAGREEMENTS = {0: Disagreement(0.2, 0.4, 0.8), 1: Disagreement(0.3, 0.2, 0.6)}


def cells() -> pd.DataFrame:
    """Return real patients' cells with one model's margins."""
    rows = read_predictions(REPO / "pilot/reports/predictions.csv")
    return rows.assign(margin=rows["logit"])


def population() -> Population:
    return Population(cells(), DISAGREEMENTS)


def test_the_truth_is_what_many_patients_tend_to() -> None:
    shift = (-0.5, 0.3)
    (run,) = population().draw(3000, [shift], np.random.default_rng(0))
    truth = population().truth(shift)
    found = compute_metrics(run, 0.5)
    assert {name: found[name] for name in CAN_BE_GATED} == pytest.approx(truth, abs=0.004)


def test_a_shift_costs_what_it_should() -> None:
    drawn = population()
    for metric in CAN_BE_GATED:
        truth = drawn.truth(drawn.shift_for(metric, 0.02))
        assert truth[metric] == pytest.approx(drawn.truth((0, 0))[metric] - 0.02, abs=1e-6)


def test_the_disagreement_of_runs_is_found_again() -> None:
    rng = np.random.default_rng(1)
    scale = [DISAGREEMENTS[label].run for label in (1, 0)]
    shifts = [tuple(rng.normal(scale=scale)) for _ in range(16)]
    runs = population().draw(100, shifts, rng)
    found = fitted([run.assign(margin=run["logit"]) for run in runs])
    for label, expected in DISAGREEMENTS.items():
        assert found[label] == pytest.approx(expected, abs=0.1)
        assert found[label][1:] == pytest.approx(expected[1:], abs=0.06)


def test_what_is_kept_of_a_run_are_its_calls_and_its_order(tmp_path: Path) -> None:
    probability = np.array([0.2, 0.7, 0.6, 0.65, 0.649999])
    run = pd.DataFrame(
        {
            "cell_id": list("edcba"),
            "patient": "C1",
            "label": 1,
            "probability": probability,
            "logit": logit(probability).round(6),
            "called": probability >= 0.65,
        }
    )
    margins = {"one": margin_of(run), "none": margin_of(run.assign(called=False))}
    write_margins(margins, tmp_path / "runs.csv")
    kept = read_runs(tmp_path / "runs.csv")
    assert kept["one"]["cell_id"].tolist() == list("abcde")
    assert (kept["one"]["probability"] >= 0.5).tolist() == [False, True, False, True, False]
    assert kept["one"]["margin"].argsort().tolist() == [4, 2, 0, 1, 3]
    assert (kept["none"]["probability"] < 0.5).all()
    again = margins_in(tmp_path / "runs.csv")
    assert list(again) == ["one", "none"]
    write_margins(again, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "runs.csv").read_bytes()
    assert margins_in(tmp_path / "none.csv") == {}


def test_runs_of_different_cells_are_refused(tmp_path: Path) -> None:
    run = pd.DataFrame({"cell_id": ["a"], "patient": ["C1"], "label": [1], "margin": [0.5]})
    one, other = (
        table.set_index(["cell_id", "patient", "label"])["margin"]
        for table in (run, run.assign(label=0))
    )
    with pytest.raises(SystemExit, match=r"runs\.csv has runs that were tested on other cells"):
        write_margins({"one": one, "other": other}, tmp_path / "runs.csv")


def test_labels_are_spoilt_as_their_names_say() -> None:
    train = cells()
    lists = spoilt_labels(train)
    assert len(lists["noise20"][0]) == len(train) // 5
    assert set(lists["missed20"][0]["label"]) == {1}
    burden = train[train["label"] == 1].groupby("patient").size()
    dropped = lists["nohigh"][0]["patient"].unique()
    assert burden[dropped].min() >= burden.drop(dropped).max()


def test_drawn_patients_are_whole_and_the_same_in_all_runs() -> None:
    run = pd.DataFrame({"patient": list("aabccc"), "label": 1, "margin": range(6)})
    one, other = draw_patients([run, run.assign(margin=0)], 5, np.random.default_rng(0))
    assert one["patient"].nunique() == 5
    assert one["patient"].equals(other["patient"])
    sizes = one.groupby("patient")["margin"].agg(["size", "min"])
    assert all({0: 2, 2: 1, 3: 3}[first] == size for size, first in sizes.to_numpy())


def test_the_margins_are_the_smallest_with_which_the_claim_holds() -> None:
    params = load(GateParams, REPO / "params.yaml")
    rng = np.random.default_rng(0)
    measured = [
        Compared(
            {
                metric: PairedDifference(metric, 0.9, 0.9 + rng.normal(scale=0.01), 0.01, 30)
                for metric in CAN_BE_GATED
            },
            [],
        )
        for _ in range(200)
    ]
    needed = with_margins(params, margins_for(measured, params, PASSED, FAILED))
    verdicts = [verdict_on(one, needed) for one in measured]
    assert verdicts.count(Verdict.PASS) >= 0.8 * len(verdicts)
    assert verdicts.count(Verdict.FAIL) <= 0.05 * len(verdicts)
    smaller = {metric: rule.margin - 0.001 for metric, rule in needed.metrics.items()}
    verdicts = [verdict_on(one, with_margins(params, smaller)) for one in measured]
    assert verdicts.count(Verdict.PASS) < 0.8 * len(verdicts) or verdicts.count(
        Verdict.FAIL
    ) > 0.05 * len(verdicts)


def test_a_loss_that_is_caught_is_the_smallest_that_fails_so_often() -> None:
    params = load(GateParams, REPO / "params.yaml")
    drawn = population()
    loss = smallest_caught(drawn, 20, "specificity", 0.8, 20, 100, params)
    for less, is_caught in ((0, True), (0.001, False)):
        shift = drawn.shift_for("specificity", loss - less)
        found = worse(drawn, 20, shift, 20, 100, params)
        failed = [verdict_on(one, params) == Verdict.FAIL for one in found]
        assert (np.mean(failed) >= 0.8) == is_caught


def test_balanced_accuracy_is_lost_as_both_of_its_rates() -> None:
    drawn = population()
    before, after = (drawn.truth(one) for one in ((0, 0), shift_for(drawn, BALANCED, 0.03)))
    for metric in ("sensitivity", "specificity"):
        assert before[metric] - after[metric] == pytest.approx(0.03, abs=1e-6)


def test_the_more_was_accepted_the_more_is_an_equal_model_behind() -> None:
    params = with_margins(load(GateParams, REPO / "params.yaml"), dict.fromkeys(CAN_BE_GATED, 0.02))
    few, many = (behind_accepted(population(), 20, count, 30, params) for count in (1, 8))
    assert 0 <= few < many <= 1
    far = with_margins(params, dict.fromkeys(CAN_BE_GATED, 0.9))
    assert behind_accepted(population(), 20, 8, 5, far) == 0


def test_a_collapsed_patient_fails_whatever_the_metrics_say() -> None:
    params = load(GateParams, REPO / "params.yaml")
    same = {metric: PairedDifference(metric, 0.9, 0.9, 0.001, 30) for metric in CAN_BE_GATED}
    lost = PatientLoss("C1", "sensitivity", 20, 20, 0, 1e-4)
    assert verdict_on(Compared(same, []), params) == Verdict.PASS
    assert verdict_on(Compared(same, [lost]), params) == Verdict.FAIL
