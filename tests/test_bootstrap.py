"""Metrics of many resamples at once, against scikit-learn on the resampled cells themselves."""

import numpy as np
import pandas as pd
import pytest

from malaria.bootstrap import (
    CHUNK,
    Resampled,
    Units,
    cells_of,
    draw_weights,
    patients_of,
)
from malaria.metrics import compute_metrics, equal_mass_bins

THRESHOLD = 0.4


def predictions(count: int = 200, patients: int = 12, seed: int = 0) -> pd.DataFrame:
    """Return cells of patients of uneven sizes; some logits are equal."""
    rng = np.random.default_rng(seed)
    patient = rng.choice(
        patients, count, p=np.arange(1, patients + 1) / (patients + 1) / patients * 2
    )
    label = rng.integers(0, 2, count)
    logit = (rng.normal(size=count) + 1.5 * (label - 0.5)).round(1)
    return pd.DataFrame(
        {
            "patient": [f"C{number}" for number in patient],
            "label": label,
            "logit": logit,
            "probability": 1 / (1 + np.exp(-logit)),
        }
    )


def repeated(cells: pd.DataFrame, units: Units, weights: np.ndarray) -> pd.DataFrame:
    """Return the cells as often as their unit was drawn."""
    return cells.loc[cells.index.repeat(weights[units.of_cell].astype(int))]


@pytest.mark.parametrize("make", [patients_of, cells_of])
def test_each_resample_has_the_metrics_of_its_cells(make: type) -> None:
    cells = predictions()
    units = make(cells)
    weights = next(draw_weights(units, 20, seed=3))
    found = Resampled(cells, THRESHOLD, units).metrics(weights)
    for number, row in enumerate(weights):
        expected = compute_metrics(repeated(cells, units, row), THRESHOLD)
        for name in set(found) - {"ece"}:  # its bins stay those of the split itself
            assert found[name][number] == pytest.approx(expected[name], abs=1e-6), name


def test_the_calibration_error_of_a_resample_keeps_the_bins() -> None:
    cells = predictions()
    units = patients_of(cells)
    weights = next(draw_weights(units, 20, seed=3))
    found = Resampled(cells, THRESHOLD, units).metrics(weights)["ece"]
    for number, row in enumerate(weights):
        times = row[units.of_cell]
        gap = times * (cells["probability"] - cells["label"]).to_numpy()
        bins = equal_mass_bins(cells["probability"].to_numpy())
        expected = sum(abs(gap[rows].sum()) for rows in bins) / times.sum()
        assert found[number] == pytest.approx(expected)


def test_all_cells_once_are_the_split_itself() -> None:
    cells = predictions()
    units = patients_of(cells)
    found = Resampled(cells, THRESHOLD, units).metrics(np.ones((1, units.count)))
    expected = compute_metrics(cells, THRESHOLD)
    assert {name: round(float(value), 6) for name, (value,) in found.items()} == {
        name: expected[name] for name in found
    }
    assert set(expected) - set(found) == {"n_cells", "n_patients", "threshold"}


def test_equal_predictions_are_worth_a_guess() -> None:
    cells = predictions().assign(logit=0.0, probability=0.5)
    units = patients_of(cells)
    found = Resampled(cells, THRESHOLD, units).metrics(np.ones((1, units.count)))
    assert found["roc_auc"] == 0.5
    assert found["pr_auc"] == pytest.approx(cells["label"].mean())
    assert found["mcc"] == 0


def test_what_a_class_that_is_not_there_would_need_is_not_defined() -> None:
    cells = predictions().assign(label=1)
    units = patients_of(cells)
    found = Resampled(cells, THRESHOLD, units).metrics(np.ones((1, units.count)))
    assert np.isnan(found["specificity"])
    assert np.isnan(found["roc_auc"])
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
    first, again, other = (
        np.concatenate(list(draw_weights(units, 50, seed))) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()
