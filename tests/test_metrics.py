"""Metrics, curves and predictions, against numbers worked out by hand."""

import math
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from malaria.curves import CURVE_POINTS, compute_curves
from malaria.errors import MalariaError
from malaria.metrics import (
    PREDICTION_COLUMNS,
    choose_threshold,
    compute_metrics,
    read_predictions,
    with_probabilities,
    write_predictions,
    write_table,
)
from malaria.modelfile import logit_model
from malaria.prediction import BATCH, predict_logits
from tests.conftest import random_images

RULES = ["youden", "fixed_0.5", "sensitivity_0.95", "specificity_0.95"]
# Six uninfected and four parasitized cells; at .6 there are TP 3, FN 1, FP 1, TN 5.
INFECTED = [0.9, 0.8, 0.6, 0.3]
HEALTHY = [0.7, 0.4, 0.2, 0.1, 0.05, 0.02]


def arrays(infected: list[float], healthy: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([1] * len(infected) + [0] * len(healthy)),
        np.array([*infected, *healthy], dtype="float64"),
    )


def predictions_of(label: np.ndarray, probability: np.ndarray) -> pd.DataFrame:
    """Return a table of one patient for every two cells."""
    clipped = probability.clip(1e-9, 1 - 1e-9)
    return pd.DataFrame(
        {
            "cell_id": [f"cell_{row}" for row in range(len(label))],
            "patient": [f"C{row // 2}" for row in range(len(label))],
            "split": "val",
            "label": label,
            "logit": np.log(clipped / (1 - clipped)),
            "probability": probability,
        }
    )


def tiny() -> pd.DataFrame:
    return predictions_of(*arrays(INFECTED, HEALTHY))


def draw(seed: int, count: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and overlapping probabilities, some of them equal."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    logit = rng.normal(3 * (label - 0.5), 2)
    return label, (1 / (1 + np.exp(-logit))).round(3 if seed % 2 else 6)


def rates(label: np.ndarray, probability: np.ndarray, threshold: float) -> tuple[float, float]:
    """Return sensitivity and specificity."""
    called = probability >= threshold
    return float(called[label == 1].mean()), float((~called)[label == 0].mean())


def test_metrics_are_those_worked_out_by_hand() -> None:
    log_loss = -sum(math.log(p) for p in INFECTED) - sum(math.log(1 - p) for p in HEALTHY)
    assert compute_metrics(tiny(), 0.6) == {
        "n_cells": 10,
        "n_patients": 5,
        "threshold": 0.6,
        "accuracy": 0.8,
        "sensitivity": 0.75,
        "specificity": 0.833333,  # 5 of 6
        "precision": 0.75,
        "f1": 0.75,
        "mcc": 0.583333,  # (3 * 5 - 1 * 1) / sqrt(4 * 4 * 6 * 6)
        "roc_auc": 0.875,  # 6 + 6 + 5 + 4 of 24 pairs in the right order
        "pr_auc": 0.854167,  # (1 + 1 + 3/4 + 4/6) / 4
        "log_loss": round(log_loss / 10, 6),
        "brier": 0.14029,  # (.70 + .7029) / 10
        "ece": 0.287,  # each cell is a bin: the sum of |probability - label| is 2.87
    }


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("label", "there"), [(1, "sensitivity"), (0, "specificity")])
def test_what_one_class_alone_does_not_define_is_nan(label: int, there: str) -> None:
    cells = tiny()
    metrics = compute_metrics(cells[cells["label"] == label], 0.6)
    undefined = {name for name, value in metrics.items() if math.isnan(value)}
    losses = {"log_loss", "brier", "ece"}
    kept = {"n_cells", "n_patients", "threshold", "accuracy", there} | losses
    assert undefined == set(metrics) - kept
    assert metrics[there] == metrics["accuracy"] == compute_metrics(cells, 0.6)[there]


@pytest.mark.parametrize(("threshold", "called"), [(0.6, 4), (0.600001, 3), (0.599999, 4)])
def test_a_cell_at_the_threshold_is_called_parasitized(threshold: float, called: int) -> None:
    confusion = compute_curves(tiny(), threshold, temperature=1)["confusion"]
    assert (confusion["called"] == "parasitized").sum() == called
    sensitivity = (called - 1) / 4  # one of those called is uninfected
    assert compute_metrics(tiny(), threshold)["sensitivity"] == sensitivity


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("fixed_0.5", 0.5),
        ("youden", 0.3),  # 1 - 2/6 beats 3/4 - 1/6
        ("sensitivity_0.95", 0.3),  # of four, all must be found
        ("specificity_0.95", 0.8),  # of six, none may be called
    ],
)
def test_thresholds_are_those_worked_out_by_hand(rule: str, threshold: float) -> None:
    assert choose_threshold(*arrays(INFECTED, HEALTHY), rule) == threshold


@pytest.mark.parametrize(
    ("infected", "healthy", "threshold"),
    [
        ([0.9, 0.45], [0.6, 0.1], 0.45),  # .9 and .45 are equally good
        ([0.55, 0.1], [0.3, 0.05], 0.55),  # .55 and .1 are
        ([0.9, 0.45, 0.45], [0.45, 0.2], 0.45),  # all cells of one probability go together
    ],
)
def test_among_equals_the_threshold_nearest_a_half_is_taken(
    infected: list[float], healthy: list[float], threshold: float
) -> None:
    assert choose_threshold(*arrays(infected, healthy), "youden") == threshold


@pytest.mark.parametrize("seed", range(6))
def test_youden_is_the_best_sum_of_both_rates(seed: int) -> None:
    label, probability = draw(seed)
    chosen = sum(rates(label, probability, choose_threshold(label, probability, "youden")))
    best = max(sum(rates(label, probability, value)) for value in np.unique(probability))
    assert chosen == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("rule", "kept"), [("sensitivity_0.95", 0), ("specificity_0.95", 1)])
def test_a_promised_rate_holds_on_the_written_file_and_costs_no_more_than_it_must(
    tmp_path: Path, seed: int, rule: str, kept: int
) -> None:
    write_predictions(predictions_of(*draw(seed)), tmp_path / "predictions.csv")
    predictions = read_predictions(tmp_path / "predictions.csv")
    label, probability = predictions["label"].to_numpy(), predictions["probability"].to_numpy()
    threshold = choose_threshold(label, probability, rule)
    values = compute_metrics(predictions, threshold)
    assert (values["sensitivity"], values["specificity"])[kept] >= 0.95
    chosen = rates(label, probability, threshold)
    for candidate in np.unique(probability):
        found = rates(label, probability, candidate)
        assert found[kept] < 0.95 or found[1 - kept] <= chosen[1 - kept]


def test_specificity_holds_where_the_surest_calls_are_wrong() -> None:
    label, probability = arrays([0.9] * 5 + [0.1] * 5, [0.9] * 10)
    threshold = choose_threshold(label, probability, "specificity_0.95")
    assert compute_metrics(predictions_of(label, probability), threshold)["specificity"] >= 0.95


@pytest.mark.parametrize("rule", RULES)
def test_the_threshold_has_six_digits(rule: str) -> None:
    label, probability = arrays([0.12345678, 0.7], [0.1, 0.12])
    threshold = choose_threshold(label, probability, rule)
    assert threshold == round(threshold, 6)
    assert type(threshold) is float


def test_predictions_that_are_all_equal_have_metrics() -> None:
    predictions = predictions_of(*arrays([0.3] * 4, [0.3] * 6))
    assert choose_threshold(*arrays([0.3] * 4, [0.3] * 6), "youden") == 0.300001
    values = compute_metrics(predictions, 0.3)
    assert values["roc_auc"] == 0.5
    assert values["pr_auc"] == 0.4
    assert values["ece"] == 0.1
    assert (values["sensitivity"], values["specificity"]) == (1, 0)
    none = compute_metrics(predictions, 0.5)
    assert (none["sensitivity"], none["specificity"], none["precision"]) == (0, 1, 0)
    assert (none["f1"], none["mcc"]) == (0, 0)
    curves = compute_curves(predictions, 0.5, temperature=1)
    assert set(curves["confusion"]["called"]) == {"uninfected"}
    assert curves["calibration"].to_numpy().tolist() == [[0.3, 0.4]]


def test_a_sure_mistake_costs_as_much_as_its_logit_says(tmp_path: Path) -> None:
    logit = np.array([-15.0, 3.0, -3.0, -4.0])
    cells = predictions_of(np.array([1, 1, 0, 0]), np.zeros(4)).assign(logit=logit)
    write_predictions(with_probabilities(cells), tmp_path / "predictions.csv")
    losses = np.log1p(np.exp([15.0, -3.0, -3.0, -4.0]))
    values = compute_metrics(read_predictions(tmp_path / "predictions.csv"), 0.5)
    assert values["log_loss"] == pytest.approx(losses.mean(), abs=1e-5)


def test_predictions_are_written_with_six_digits_and_their_columns_alone(tmp_path: Path) -> None:
    predictions = tiny().assign(logit=-1.23456789, probability=2 / 3, width=80)
    write_predictions(predictions, tmp_path / "predictions.csv")
    lines = (tmp_path / "predictions.csv").read_bytes().split(b"\n")
    assert lines[0].decode() == ",".join(PREDICTION_COLUMNS)
    assert lines[1] == b"cell_0,C0,val,1,-1.234568,0.666667"
    assert len(lines) == 12
    assert b"\r" not in b"".join(lines)


def test_read_probabilities_are_the_very_numbers_that_were_rounded(tmp_path: Path) -> None:
    label, _ = draw(0, 20_000)
    probability = np.random.default_rng(1).random(20_000) ** 3
    write_predictions(predictions_of(label, probability), tmp_path / "predictions.csv")
    read = read_predictions(tmp_path / "predictions.csv")
    assert read["probability"].tolist() == [round(float(value), 6) for value in probability]
    assert read["cell_id"].dtype == "string"


def test_metrics_follow_from_the_written_file(tmp_path: Path) -> None:
    label, probability = draw(0)
    write_predictions(predictions_of(label, probability), tmp_path / "first.csv")
    first = read_predictions(tmp_path / "first.csv")
    write_predictions(first, tmp_path / "second.csv")
    second = read_predictions(tmp_path / "second.csv")
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()
    assert compute_metrics(first, 0.4) == compute_metrics(second, 0.4)


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
    label, probability = draw(2, 5000)
    predictions = predictions_of(label, probability)
    curves = compute_curves(predictions, 0.5, temperature=1)
    values = compute_metrics(predictions, 0.5)
    area = np.trapezoid(curves["roc"]["tpr"], curves["roc"]["fpr"])
    assert area == pytest.approx(values["roc_auc"], abs=2e-3)
    area = np.trapezoid(curves["pr"]["precision"], curves["pr"]["recall"])
    assert area == pytest.approx(values["pr_auc"], abs=2e-3)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_the_confusion_matrix_agrees_with_the_metrics(threshold: float) -> None:
    label, probability = draw(4)
    predictions = predictions_of(label, probability)
    table = compute_curves(predictions, threshold, temperature=1)["confusion"]
    counts = table.value_counts()
    hit, miss = counts["parasitized", "parasitized"], counts["parasitized", "uninfected"]
    right, wrong = counts["uninfected", "uninfected"], counts["uninfected", "parasitized"]
    values = compute_metrics(predictions, threshold)
    assert hit + miss + right + wrong == values["n_cells"]
    assert hit + miss == label.sum()
    assert values["sensitivity"] == pytest.approx(hit / (hit + miss), abs=1e-6)
    assert values["specificity"] == pytest.approx(right / (right + wrong), abs=1e-6)
    assert values["precision"] == pytest.approx(hit / (hit + wrong), abs=1e-6)
    assert values["accuracy"] == pytest.approx((hit + right) / len(table), abs=1e-6)


def test_calibration_sets_what_was_predicted_beside_what_was_seen() -> None:
    label = np.array([0] * 70 + [1] * 30)
    probability = np.array([0.1] * 50 + [0.8] * 50)
    calibration = compute_curves(predictions_of(label, probability), 0.5, temperature=1)[
        "calibration"
    ]
    assert calibration.to_numpy() == pytest.approx(np.array([[0.1, 0], [0.8, 0.6]]))


def test_rows_of_the_table_may_have_any_index() -> None:
    predictions = tiny()
    moved = predictions.set_index(predictions.index + 100)
    assert compute_metrics(moved, 0.6) == compute_metrics(predictions, 0.6)
    for name, curve in compute_curves(moved, 0.6, temperature=1).items():
        assert curve.equals(compute_curves(predictions, 0.6, temperature=1)[name])


def small_model() -> keras.Model:
    """Return a model whose logit is the image's mean, seen as a number from -1 to 1."""
    image = keras.Input((4, 4, 3), dtype="uint8")
    x = keras.layers.Rescaling(2 / 255, offset=-1.0)(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    logit = keras.layers.Dense(1, kernel_initializer="ones", name="logit")(x)
    return keras.Model(image, keras.layers.Activation("sigmoid", name="probability")(logit))


def test_logits_are_those_of_the_rows_asked_for_in_their_order() -> None:
    images = random_images(2 * BATCH, 4)
    rows = np.random.default_rng(0).permutation(2 * BATCH)[: BATCH + 3]
    model = small_model()
    logits = predict_logits(model, images, rows)
    assert logits.shape == (BATCH + 3,)
    assert logits.dtype == np.float64
    by_hand = 3 * (images[rows].mean(axis=(1, 2, 3)) * 2 / 255 - 1)
    assert logits == pytest.approx(by_hand, abs=1e-5)
    assert logits == pytest.approx(
        logit_model(model).predict(images[rows], verbose=0)[:, 0], abs=1e-6
    )


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(MalariaError, match="takes images of 4 x 4 x 3, but these have 5 x 5 x 3"):
        predict_logits(small_model(), random_images(3, 5), np.arange(3))


def test_logits_that_are_not_finite_are_refused() -> None:
    model = small_model()
    kernel, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([kernel, np.full_like(bias, np.nan)])
    with pytest.raises(MalariaError, match="gives 3 of 3 cells no finite logit"):
        predict_logits(model, random_images(3, 4), np.arange(3))


def test_probabilities_are_the_sigmoid_of_the_logits_at_any_size() -> None:
    cells = pd.DataFrame({"cell_id": list("abcd"), "logit": [0.0, 2.0, -800.0, 800.0]})
    cells = with_probabilities(cells)
    assert cells["probability"].tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-2)), 0, 1])
    assert list(cells) == ["cell_id", "logit", "probability"]


def test_roc_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    label, probability = draw(1)
    wins = np.subtract.outer(probability[label == 1], probability[label == 0])
    auc = ((wins > 0) + 0.5 * (wins == 0)).mean()
    assert compute_metrics(predictions_of(label, probability), 0.5)["roc_auc"] == round(auc, 6)


def test_tables_have_six_digits(tmp_path: Path) -> None:
    table = pd.DataFrame({"cell_id": ["a", "b"], "fall": [1 / 3, np.nan], "windows": [4, 5]})
    write_table(table, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "cell_id,fall,windows\na,0.333333,4\nb,,5\n"
