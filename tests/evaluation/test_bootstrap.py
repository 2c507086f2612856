"""Metrics of many resamples at once, against scikit-learn on the resampled cells."""

import numpy as np
import pandas as pd
import pytest

from malaria.evaluation.bootstrap import CHUNK, Resampled, cells_of, draw_weights, patients_of
from malaria.evaluation.intervals import interval_table
from malaria.evaluation.measures import METRICS, Metric, equal_mass_bins
from malaria.evaluation.metrics import compute_metrics
from malaria.prediction.table import with_probabilities
from tests.evaluation.examples import by_scikit_learn

THRESHOLD = 0.4


def predictions(count: int = 200, patients: int = 12, seed: int = 0) -> pd.DataFrame:
    """Return cells of patients of uneven sizes; some logits are equal."""
    rng = np.random.default_rng(seed)
    share = np.arange(1, patients + 1) / (patients + 1) / patients * 2
    patient = [f"C{number}" for number in rng.choice(patients, count, p=share)]
    label = rng.integers(0, 2, count)
    logit = (rng.normal(size=count) + 1.5 * (label - 0.5)).round(1)
    table = pd.DataFrame({"patient": patient, "label": label, "logit": logit})
    return with_probabilities(table)


def whole(cells: pd.DataFrame) -> dict[str, float]:
    """Return the metrics with each patient drawn once."""
    units = patients_of(cells)
    found = Resampled(cells, THRESHOLD, units).metrics(np.ones((1, units.count)))
    return {name: float(value) for name, (value,) in found.items()}


@pytest.mark.parametrize("make", [patients_of, cells_of])
def test_each_resample_has_the_metrics_of_its_cells(make: type) -> None:
    cells = predictions()
    units = make(cells)
    weights = next(draw_weights(units, 20, seed=3))
    found = Resampled(cells, THRESHOLD, units).metrics(weights)
    for number, row in enumerate(weights):
        times = row[units.of_cell].astype(int)
        expected = by_scikit_learn(cells.loc[cells.index.repeat(times)], THRESHOLD)
        # The bins of the calibration error stay those of the split.
        gap = times * (cells["probability"] - cells["label"]).to_numpy()
        bins = equal_mass_bins(cells["probability"].to_numpy())
        expected["ece"] = sum(abs(gap[rows].sum()) for rows in bins) / times.sum()
        for name, values in found.items():
            if name in expected:
                assert values[number] == pytest.approx(expected[name], abs=1e-9), name


def test_a_metric_that_scikit_learn_lacks_needs_only_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    npv = Metric(lambda sums: sums.tn / (sums.tn + sums.fn))
    monkeypatch.setitem(METRICS, "npv", npv)
    cells = predictions()
    is_called = cells["probability"] >= THRESHOLD
    expected = (cells["label"][~is_called] == 0).mean()
    assert compute_metrics(cells, THRESHOLD)["npv"] == pytest.approx(expected, abs=1e-6)
    found = interval_table(cells, THRESHOLD, 300, seed=1).set_index("metric").loc["npv"]
    assert found["low"] < expected < found["high"]


def test_all_cells_once_are_the_split_itself() -> None:
    expected = compute_metrics(predictions(), THRESHOLD)
    for name in ("n_cells", "n_patients", "threshold"):
        del expected[name]
    assert {name: round(value, 6) for name, value in whole(predictions()).items()} == expected


def test_equal_predictions_are_worth_a_guess() -> None:
    cells = predictions().assign(logit=0.0, probability=0.5)
    found = whole(cells)
    assert (found["roc_auc"], found["mcc"]) == (0.5, 0)
    assert found["pr_auc"] == pytest.approx(cells["label"].mean())


def test_a_metric_that_needs_a_missing_class_is_not_defined() -> None:
    cells = predictions().assign(label=1)
    found = whole(cells)
    assert np.isnan([found["specificity"], found["roc_auc"]]).all()
    assert found["sensitivity"] == pytest.approx((cells["probability"] >= THRESHOLD).mean())


def test_patients_are_drawn_with_replacement_with_all_their_cells() -> None:
    cells = predictions()
    units = patients_of(cells)
    assert units.count == cells["patient"].nunique()
    for name, rows in cells.groupby("patient").groups.items():
        assert len(set(units.of_cell[rows])) == 1, name
    weights = np.concatenate(list(draw_weights(units, CHUNK + 5, seed=1)))
    assert weights.shape == (CHUNK + 5, units.count)
    assert (weights.sum(axis=1) == units.count).all()
    assert (weights == 0).any()
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.4


def test_the_seed_fixes_the_draws() -> None:
    units = patients_of(predictions())
    first, again, other = (next(draw_weights(units, 50, seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
