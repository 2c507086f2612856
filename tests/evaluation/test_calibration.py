"""Calibration: its error, and the temperature that corrects it."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from malaria.evaluation.calibration import (
    HIGHEST,
    LOWEST,
    calibration_table,
    calibration_warnings,
    fit_temperature,
)
from malaria.evaluation.measures import cross_entropies
from malaria.prediction.table import arrays_of, with_probabilities
from tests.evaluation.examples import by_scikit_learn, calibration_error


def cells(count: int, overconfident: float, seed: int = 0) -> pd.DataFrame:
    """Return cells whose logits are `overconfident` times what they should be."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(scale=2, size=count)
    label = (rng.random(count) < expit(logit)).astype(int)
    patient = rng.integers(0, 40, count).astype(str)
    table = {"patient": patient, "label": label, "logit": logit * overconfident}
    return with_probabilities(pd.DataFrame(table))


def test_the_error_is_the_mean_gap_of_bins_with_equal_numbers_of_cells() -> None:
    # Ten bins of two cells, one of each class: half of each is parasitized.
    probability = np.repeat([0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95], 2)
    label = np.array([0, 1] * 10)
    expected = np.abs(np.unique(probability) - 0.5).mean()
    for order in (np.arange(20), np.random.default_rng(0).permutation(20)):
        found = calibration_error(label[order], probability[order])
        assert found == pytest.approx(expected)


def test_few_cells_have_as_few_bins() -> None:
    assert calibration_error(np.array([1, 0]), np.array([0.9, 0.4])) == pytest.approx(0.25)


@pytest.mark.parametrize("overconfident", [0.5, 1, 3])
def test_the_temperature_is_found_again(overconfident: float) -> None:
    label, logit, _ = arrays_of(cells(20_000, overconfident))
    assert fit_temperature(label, logit) == pytest.approx(overconfident, rel=0.05)


def test_no_other_temperature_is_more_likely() -> None:
    label, logit, _ = arrays_of(cells(500, overconfident=2))
    lowest = cross_entropies(label, logit / fit_temperature(label, logit)).mean()
    others = np.geomspace(LOWEST, HIGHEST, 400)
    assert lowest <= min(cross_entropies(label, logit / x).mean() for x in others) + 1e-9


def test_if_all_are_right_or_all_wrong_the_bound_is_given() -> None:
    label = np.array([0, 1, 0, 1])
    assert fit_temperature(label, 2.0 * label - 1) == pytest.approx(LOWEST, rel=1e-3)
    assert fit_temperature(label, 1 - 2.0 * label) == pytest.approx(HIGHEST, rel=1e-3)


def test_the_table_agrees_with_scikit_learn_before_and_after() -> None:
    splits = {"val": cells(3000, 3), "test": cells(2000, 3, seed=1)}
    table = calibration_table(splits, temperature=3.0, replicates=100, seed=0)
    rows = table.set_index(["split", "probability", "metric"]).sort_index()
    assert len(rows) == len(rows.index.unique()) == 12
    for split, predictions in splits.items():
        for name, divisor in (("as trained", 1), ("scaled", 3)):
            after = with_probabilities(predictions.assign(logit=predictions["logit"] / divisor))
            found = rows.loc[split, name]
            assert set(found["temperature"]) == {divisor}
            expected = by_scikit_learn(after, 0.5)
            expected = {metric: expected[metric] for metric in ("brier", "log_loss", "ece")}
            assert found["estimate"].to_dict() == pytest.approx(expected)
            assert found["estimate"].between(found["low"], found["high"], inclusive="neither").all()
        for metric in ("log_loss", "ece"):
            before, after = (rows.loc[(split, name, metric)] for name in ("as trained", "scaled"))
            assert after["high"] < before["low"]


def test_scaling_that_makes_the_test_cells_worse_is_a_warning() -> None:
    splits = {"val": cells(1000, 3), "test": cells(1000, 1, seed=1)}
    (warning,) = calibration_warnings(calibration_table(splits, 3.0, replicates=20, seed=0))
    table = calibration_table(splits, 3.0, replicates=20, seed=0).set_index(
        ["split", "probability", "metric"]
    )["estimate"]
    before, after = (table["test", name, "ece"] for name in ("as trained", "scaled"))
    assert f"ECE {before:.3f} to {after:.3f}" in warning
    assert "log loss" in warning
    splits["test"] = cells(1000, 3, seed=1)  # as overconfident as val
    assert not list(calibration_warnings(calibration_table(splits, 3.0, replicates=20, seed=0)))
