"""Metrics and thresholds, against numbers worked out by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from malaria.evaluation.measures import METRICS
from malaria.evaluation.metrics import (
    HEADLINE,
    Metrics,
    choose_threshold,
    compute_metrics,
    write_headline,
    write_metrics,
)
from malaria.prediction.table import (
    arrays_of,
    read_predictions,
    with_probabilities,
    write_predictions,
)
from malaria.tracking.store import COLUMNS
from tests.evaluation.examples import HEALTHY, INFECTED, arrays, draw, predictions_of, tiny


def rates(label: np.ndarray, probability: np.ndarray, threshold: float) -> tuple[float, float]:
    """Return sensitivity and specificity."""
    called = probability >= threshold
    return float(called[label == 1].mean()), float((~called)[label == 0].mean())


def test_metrics_are_those_worked_out_by_hand() -> None:
    log_loss = -sum(math.log(p) for p in INFECTED) - sum(math.log(1 - p) for p in HEALTHY)
    by_hand = {
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
    new = METRICS.keys() - by_hand.keys()
    assert not new, f"work {new} out by hand for the ten cells of examples.py, and add it here"
    assert compute_metrics(tiny(), 0.6) == by_hand


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("label", "there"), [(1, "sensitivity"), (0, "specificity")])
def test_a_metric_is_nan_without_its_classes(label: int, there: str) -> None:
    cells = tiny()
    metrics = compute_metrics(cells[cells["label"] == label], 0.6)
    undefined = {name for name, value in metrics.items() if math.isnan(value)}
    assert undefined == {name for name, metric in METRICS.items() if metric.needs - {label}}
    assert {"roc_auc", "mcc"} < undefined
    assert metrics[there] == metrics["accuracy"] == compute_metrics(cells, 0.6)[there]


@pytest.mark.parametrize(
    ("infected", "healthy", "rule", "threshold"),
    [
        (INFECTED, HEALTHY, "fixed_0.5", 0.5),
        (INFECTED, HEALTHY, "youden", 0.3),  # 1 - 2/6 beats 3/4 - 1/6
        (INFECTED, HEALTHY, "sensitivity_0.95", 0.3),  # of four, all must be found
        (INFECTED, HEALTHY, "specificity_0.95", 0.8),  # of six, none may be called
        # Among equals the one nearest a half is taken.
        ([0.9, 0.45], [0.6, 0.1], "youden", 0.45),  # .9 and .45 are equally good
        ([0.55, 0.1], [0.3, 0.05], "youden", 0.55),  # .55 and .1 are
        ([0.9, 0.45, 0.45], [0.45, 0.2], "youden", 0.45),  # equal probabilities go together
        ([0.3] * 4, [0.3] * 6, "youden", 0.300001),  # just above them all
        ([0.9] * 5 + [0.1] * 5, [0.9] * 10, "specificity_0.95", 0.900001),
        ([0.12345678, 0.7], [0.1, 0.12], "youden", 0.123457),  # six digits
    ],
)
def test_thresholds_are_those_worked_out_by_hand(
    infected: list[float], healthy: list[float], rule: str, threshold: float
) -> None:
    found = choose_threshold(*arrays(infected, healthy), rule)
    assert found == threshold
    assert type(found) is float


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
    label, _, probability = arrays_of(predictions)
    threshold = choose_threshold(label, probability, rule)
    values = compute_metrics(predictions, threshold)
    assert (values["sensitivity"], values["specificity"])[kept] >= 0.95
    chosen = rates(label, probability, threshold)
    for candidate in np.unique(probability):
        found = rates(label, probability, candidate)
        assert found[kept] < 0.95 or found[1 - kept] <= chosen[1 - kept]


def test_predictions_that_are_all_equal_have_metrics() -> None:
    predictions = predictions_of(*arrays([0.3] * 4, [0.3] * 6))
    values, none = (compute_metrics(predictions, threshold) for threshold in (0.3, 0.5))
    assert [values[name] for name in ("roc_auc", "pr_auc", "ece")] == [0.5, 0.4, 0.1]
    assert (values["sensitivity"], values["specificity"]) == (1, 0)
    assert (none["sensitivity"], none["specificity"], none["precision"]) == (0, 1, 0)
    assert (none["f1"], none["mcc"]) == (0, 0)


def test_a_wrong_call_costs_as_much_as_its_logit_says(tmp_path: Path) -> None:
    logit = np.array([-15.0, 3.0, -3.0, -4.0])
    cells = predictions_of(np.array([1, 1, 0, 0]), np.zeros(4)).assign(logit=logit)
    write_predictions(with_probabilities(cells), tmp_path / "predictions.csv")
    losses = np.log1p(np.exp([15.0, -3.0, -3.0, -4.0]))
    values = compute_metrics(read_predictions(tmp_path / "predictions.csv"), 0.5)
    assert values["log_loss"] == pytest.approx(losses.mean(), abs=1e-5)


def test_roc_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    label, probability = draw(1)
    wins = np.subtract.outer(probability[label == 1], probability[label == 0])
    auc = ((wins > 0) + 0.5 * (wins == 0)).mean()
    assert compute_metrics(predictions_of(label, probability), 0.5)["roc_auc"] == round(auc, 6)


def test_without_external_sets_only_the_splits_are_written(tmp_path: Path) -> None:
    splits: dict[str, Metrics] = {"val": {"n_cells": 3, "mcc": 0.25}, "test": {"mcc": 0.5}}
    write_metrics(splits, {}, tmp_path / "metrics.json")
    assert (tmp_path / "metrics.json").read_text() == json.dumps(splits, indent=2) + "\n"


def test_the_headline_is_a_part_of_the_metrics(tmp_path: Path) -> None:
    splits = {
        "val": compute_metrics(tiny(), 0.6),
        "test": compute_metrics(tiny(), 0.6) | {"mcc": math.nan},
    }
    write_headline(splits, tmp_path / "headline.json")
    written = json.loads((tmp_path / "headline.json").read_text())
    assert {split: tuple(values) for split, values in written.items()} == HEADLINE
    assert written["test"]["mcc"] is None
    assert written["val"]["accuracy"] == splits["val"]["accuracy"]


def test_dvc_and_mlflow_show_the_same_first() -> None:
    names = [f"metrics.`{split}.{name}`" for split, names in HEADLINE.items() for name in names]
    assert names == [column for column in COLUMNS if column.startswith("metrics.")]
