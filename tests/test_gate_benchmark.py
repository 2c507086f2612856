"""The simulation behind the gate's margins: its truths, its fit, and the margins it asks for."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.gate import (
    Disagreement,
    Population,
    fitted,
    from_threshold,
    margins_for,
    one_run,
    verdict_on,
    with_margins,
)
from malaria.metrics import compute_metrics
from malaria.paired import PAIRED, PairedDifference
from malaria.params.base import load
from malaria.params.gate import GateParams
from malaria.verdict import Verdict
from tests.conftest import REPO

DISAGREEMENTS = {0: Disagreement(0.2, 0.4, 0.8), 1: Disagreement(0.3, 0.2, 0.6)}


def population() -> Population:
    return Population(one_run(REPO / "pilot/reports/predictions.csv"), DISAGREEMENTS)


def test_the_truth_is_what_many_patients_tend_to() -> None:
    shift = (-0.5, 0.3)
    (run,) = population().draw(3000, [shift], np.random.default_rng(0))
    truth = population().truth(shift)
    found = compute_metrics(run, 0.5)
    assert {name: found[name] for name in PAIRED} == pytest.approx(truth, abs=0.004)


@pytest.mark.parametrize("metric", PAIRED)
def test_a_shift_costs_what_it_should(metric: str) -> None:
    drawn = population()
    truth = drawn.truth(drawn.shift_for(metric, 0.02))
    assert truth[metric] == pytest.approx(drawn.truth((0, 0))[metric] - 0.02, abs=1e-6)


def test_the_disagreement_of_runs_is_found_again() -> None:
    rng = np.random.default_rng(1)
    scale = [DISAGREEMENTS[label].run for label in (1, 0)]
    shifts = [tuple(rng.normal(scale=scale)) for _ in range(16)]
    runs = population().draw(100, shifts, rng)
    found = fitted([run.assign(margin=run["logit"]) for run in runs])
    for label, (run, patient, cell) in DISAGREEMENTS.items():
        assert found[label].run == pytest.approx(run, abs=0.1)
        assert found[label].patient == pytest.approx(patient, abs=0.06)
        assert found[label].cell == pytest.approx(cell, abs=0.06)


def test_a_series_keeps_its_calls() -> None:
    probability = np.array([0.2, 0.7, 0.6, 0.65])
    run = pd.DataFrame(
        {
            "cell_id": list("dcba"),
            "probability": probability,
            "logit": np.log(probability / (1 - probability)),
            "called": probability >= 0.62,
        }
    )
    moved = from_threshold(run)
    assert moved["cell_id"].tolist() == list("abcd")
    assert (moved["probability"] >= 0.5).tolist() == [True, False, True, False]
    assert (from_threshold(run.assign(called=False))["probability"] < 0.5).all()


def test_the_margins_are_the_smallest_with_which_the_claim_holds() -> None:
    params = load(GateParams, REPO / "params.yaml")
    rng = np.random.default_rng(0)
    measured = [
        {
            metric: PairedDifference(metric, 0.9, 0.9 + rng.normal(scale=0.01), 0.01, 30)
            for metric in PAIRED
        }
        for _ in range(200)
    ]
    needed = with_margins(params, margins_for(measured, params))
    verdicts = [verdict_on(one, needed) for one in measured]
    assert verdicts.count(Verdict.PASS) >= 0.8 * len(verdicts)
    assert verdicts.count(Verdict.FAIL) <= 0.05 * len(verdicts)
    smaller = {metric: rule.margin - 0.001 for metric, rule in needed.metrics.items()}
    verdicts = [verdict_on(one, with_margins(params, smaller)) for one in measured]
    assert verdicts.count(Verdict.PASS) < 0.8 * len(verdicts) or verdicts.count(
        Verdict.FAIL
    ) > 0.05 * len(verdicts)
