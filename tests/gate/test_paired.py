"""Paired differences, against hand-worked values and against cells that are repeated one by one."""

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from malaria.evaluation.bootstrap import draw_weights, patients_of
from malaria.evaluation.metrics import compute_metrics
from malaria.gate.paired import PairedDifference, paired_differences, wins_by_patients
from malaria.gate.params import CAN_BE_GATED
from tests.evaluation.test_bootstrap import THRESHOLD, predictions

OTHER_THRESHOLD = 0.6


def rescored(cells: pd.DataFrame, spread: float = 0.8, seed: int = 1) -> pd.DataFrame:
    """Return the same cells as another model sees them; some logits stay equal."""
    moved = np.random.default_rng(seed).normal(scale=spread, size=len(cells))
    logit = (cells["logit"] + moved).round(1)
    return cells.assign(logit=logit, probability=1 / (1 + np.exp(-logit)))


def four_patients() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two models on one parasitized cell of each of four patients; the head misses one."""
    base = pd.DataFrame({"patient": list("abcd"), "label": 1, "logit": 1.0, "probability": 0.7})
    return base, base.assign(probability=[0.3, 0.8, 0.9, 0.95])


def test_wins_of_each_pair_of_patients_by_hand() -> None:
    # a: parasitized 3 and 1, uninfected 1; b: parasitized 2, uninfected 0 and 2.
    units = patients_of(pd.DataFrame({"patient": list("aaabbb")}))
    label = np.array([1, 1, 0, 1, 0, 0])
    score = np.array([3.0, 1, 1, 2, 0, 2])
    # a of a: 3 wins, 1 ties. a of b: 3 beats both, 1 beats 0. b: 2 beats 1, beats 0 and ties.
    assert wins_by_patients(label, score, units).tolist() == [[1.5, 3], [1, 1.5]]


def test_each_resample_is_that_of_its_repeated_cells() -> None:
    base = predictions()
    head = rescored(base)
    units = patients_of(base)
    replicates, seed = 40, 3
    found = paired_differences(base, head, (THRESHOLD, OTHER_THRESHOLD), replicates, seed)
    weights = np.concatenate(list(draw_weights(units, replicates, seed)))
    repeated = [base.index.repeat(row[units.of_cell].astype(int)) for row in weights]
    differences = [
        pd.Series(compute_metrics(head.loc[rows], OTHER_THRESHOLD))
        - pd.Series(compute_metrics(base.loc[rows], THRESHOLD))
        for rows in repeated
    ]
    for name in CAN_BE_GATED:
        error = np.std([difference[name] for difference in differences], ddof=1)
        assert found[name].error == pytest.approx(error, abs=1e-6), name


def test_estimates_are_the_metrics_themselves() -> None:
    base = predictions()
    head = rescored(base)
    found = paired_differences(base, head, (THRESHOLD, OTHER_THRESHOLD), 100, seed=3)
    for cells, threshold, side in ((base, THRESHOLD, "base"), (head, OTHER_THRESHOLD, "head")):
        expected = compute_metrics(cells, threshold)
        for name in CAN_BE_GATED:
            assert getattr(found[name], side) == pytest.approx(expected[name], abs=1e-6)
    area = roc_auc_score(head["label"], head["logit"]) - roc_auc_score(base["label"], base["logit"])
    assert found["roc_auc"].difference == pytest.approx(area)


def test_the_spread_of_one_lost_cell_of_four_by_hand() -> None:
    # Each resample loses a quarter times how often `a` is drawn: binomial, variance 4 * 1/4 * 3/4.
    found = paired_differences(*four_patients(), (0.5, 0.5), 20_000, seed=1)["sensitivity"]
    assert found.difference == -0.25
    assert found.error == pytest.approx(0.75**0.5 / 4, rel=0.02)
    assert found.patients == 4


def test_bounds_and_p_values_are_students() -> None:
    # By hand: t(.95, 9) = 1.8331, t(.975, 9) = 2.2622
    found = PairedDifference("sensitivity", 0.95, 0.93, error=0.01, patients=10)
    assert found.difference == pytest.approx(-0.02)
    assert found.at_least(0.95) == pytest.approx(-0.02 - 0.018331, abs=1e-6)
    assert found.interval(0.95) == pytest.approx((-0.042622, 0.002622), abs=1e-6)
    assert found.p_loss() == pytest.approx(stats.t.cdf(-2, 9))
    assert found.p_beyond(0.03) == pytest.approx(1 - stats.t.cdf(1, 9))
    assert found.p_beyond(-found.at_least(0.95)) == pytest.approx(0.05)
    # No difference is beyond 1.
    assert PairedDifference("sensitivity", 0.9, 0.6, 0.2, patients=2.1).interval(0.95) == (-1, 1)


def test_a_model_against_itself_loses_nothing() -> None:
    cells = predictions()
    for found in paired_differences(cells, cells, (THRESHOLD, THRESHOLD), 100, seed=1).values():
        assert (found.difference, found.error, found.at_least(0.95)) == (0, 0, 0)
        assert found.p_loss() == 1
        assert found.p_beyond(0.01) == 0


def test_models_that_agree_have_a_smaller_error_of_the_difference() -> None:
    cells = predictions(count=2000, patients=30)
    close, far = (rescored(cells, spread) for spread in (0.2, 2.0))
    errors = [
        paired_differences(cells, head, (THRESHOLD, THRESHOLD), 500, seed=1)["roc_auc"].error
        for head in (close, far)
    ]
    assert errors[0] < errors[1] / 3


def test_the_metrics_asked_for_are_given_and_the_seed_fixes_the_draws() -> None:
    base = predictions()
    head = rescored(base)
    first, again, other = (
        paired_differences(base, head, (THRESHOLD, THRESHOLD), 100, seed, ["roc_auc"])
        for seed in (1, 1, 2)
    )
    assert list(first) == ["roc_auc"]
    assert first == again
    assert first != other


def test_what_has_no_cells_of_a_class_is_not_defined() -> None:
    base, head = four_patients()
    found = paired_differences(base, head, (0.5, 0.5), 100, seed=1)
    assert found["specificity"].reason == "not defined"
    assert np.isnan(found["roc_auc"].at_least(0.95))
    assert np.isnan(found["roc_auc"].p_loss())


def test_what_many_resamples_lack_or_one_patient_holds_has_no_bounds() -> None:
    cells = predictions(patients=12).assign(label=0)
    cells.loc[cells["patient"] == "C5", "label"] = 1
    found = paired_differences(cells, cells, (0.5, 0.5), 500, seed=1)["sensitivity"]
    assert found.reason.startswith("not defined in ")
    cells["label"] = 0
    cells.loc[cells["patient"] == "C11", "label"] = 1
    for patient in ("C1", "C2", "C3", "C4"):
        cells.loc[cells.index[cells["patient"] == patient][0], "label"] = 1
    found = paired_differences(cells, cells, (0.5, 0.5), 500, seed=1)["sensitivity"]
    assert found.reason.startswith("too few patients (1.")


def test_ten_thousand_resamples_of_a_large_test_split_take_seconds() -> None:
    base = predictions(count=8000, patients=60)
    started = time.process_time()
    paired_differences(base, rescored(base), (THRESHOLD, THRESHOLD), 10_000, seed=1)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("column", ["patient", "label"])
def test_other_cells_are_refused(column: str) -> None:
    base = predictions()
    head = base.assign(**{column: base[column].iloc[::-1].tolist()})
    with pytest.raises(ValueError, match=column):
        paired_differences(base, head, (0.5, 0.5), 100, seed=1)
