"""Curves and the confusion matrix: small, complete, and in agreement with the metrics."""

import numpy as np
import pytest

from malaria.evaluation.curves import CURVE_POINTS, compute_curves
from malaria.evaluation.metrics import compute_metrics
from tests.evaluation.examples import arrays, draw, predictions_of, tiny


@pytest.mark.parametrize(("threshold", "called"), [(0.6, 4), (0.600001, 3), (0.599999, 4)])
def test_a_cell_at_the_threshold_is_called_parasitized(threshold: float, called: int) -> None:
    confusion = compute_curves(tiny(), threshold, temperature=1)["confusion"]
    assert (confusion["called"] == "parasitized").sum() == called
    sensitivity = (called - 1) / 4  # one of those called is uninfected
    assert compute_metrics(tiny(), threshold)["sensitivity"] == sensitivity


@pytest.mark.parametrize("count", [40, 5000])
def test_curves_have_both_ends_and_few_points(count: int) -> None:
    label, probability = draw(2, count)
    curves = compute_curves(predictions_of(label, probability), 0.5, temperature=1)
    for name, x, y in (("roc", "fpr", "tpr"), ("pr", "recall", "precision")):
        curve = curves[name]
        assert 2 < len(curve) <= CURVE_POINTS == 300
        assert len(curve) == CURVE_POINTS or count == 40
        assert curve[x].is_monotonic_increasing
        assert (curve[x].iloc[0], curve[x].iloc[-1]) == (0, 1)
        assert curve[[x, y]].to_numpy().min() >= 0
        assert curve[[x, y]].to_numpy().max() <= 1
    assert (curves["roc"]["tpr"].iloc[0], curves["roc"]["tpr"].iloc[-1]) == (0, 1)
    assert curves["pr"]["precision"].iloc[-1] == pytest.approx(label.mean(), abs=1e-6)


def test_a_thinned_curve_encloses_the_same_area() -> None:
    predictions = predictions_of(*draw(2, 5000))
    curves = compute_curves(predictions, 0.5, temperature=1)
    values = compute_metrics(predictions, 0.5)
    for curve, x, y, area in (
        ("roc", "fpr", "tpr", "roc_auc"),
        ("pr", "recall", "precision", "pr_auc"),
    ):
        found = np.trapezoid(curves[curve][y], curves[curve][x])
        assert found == pytest.approx(values[area], abs=2e-3)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_the_confusion_matrix_agrees_with_the_metrics(threshold: float) -> None:
    predictions = predictions_of(*draw(4))
    cells = compute_curves(predictions, threshold, temperature=1)["confusion"]
    values = compute_metrics(predictions, threshold)
    assert len(cells) == values["n_cells"]
    assert (cells["actual"] == "parasitized").tolist() == (predictions["label"] == 1).tolist()
    right = cells["actual"] == cells["called"]
    by_actual, by_called = (right.groupby(cells[name]).mean() for name in ("actual", "called"))
    assert values["sensitivity"] == pytest.approx(by_actual["parasitized"], abs=1e-6)
    assert values["specificity"] == pytest.approx(by_actual["uninfected"], abs=1e-6)
    assert values["precision"] == pytest.approx(by_called["parasitized"], abs=1e-6)
    assert values["accuracy"] == pytest.approx(right.mean(), abs=1e-6)


def test_calibration_compares_the_predicted_with_the_observed_share() -> None:
    label = np.array([0] * 70 + [1] * 30)
    probability = np.array([0.1] * 50 + [0.8] * 50)
    curves = compute_curves(predictions_of(label, probability), 0.5, temperature=1)
    assert curves["calibration"].to_numpy() == pytest.approx(np.array([[0.1, 0], [0.8, 0.6]]))


def test_predictions_that_are_all_equal_have_curves() -> None:
    curves = compute_curves(predictions_of(*arrays([0.3] * 4, [0.3] * 6)), 0.5, temperature=1)
    assert set(curves["confusion"]["called"]) == {"uninfected"}
    assert curves["calibration"].to_numpy().tolist() == [[0.3, 0.4]]


def test_rows_of_the_table_may_have_any_index() -> None:
    predictions = tiny()
    moved = predictions.set_index(predictions.index + 100)
    assert compute_metrics(moved, 0.6) == compute_metrics(predictions, 0.6)
    for name, curve in compute_curves(moved, 0.6, temperature=1).items():
        assert curve.equals(compute_curves(predictions, 0.6, temperature=1)[name])
