"""What the predictions of one split are worth, computed from predictions.csv alone."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn import metrics as sk

PREDICTION_COLUMNS = ["cell_id", "patient", "split", "label", "logit", "probability"]
DIGITS = 6
CALIBRATION_BINS = 10
Metrics = dict[str, float | int]
# Classes without which a metric is not defined, or says nothing; of all others: both.
NEEDS: dict[str, set[int]] = {
    "accuracy": set(),
    "sensitivity": {1},
    "specificity": {0},
    "log_loss": set(),
    "brier": set(),
    "ece": set(),
}
BOTH = {0, 1}


def with_probabilities(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells with the probability of 'parasitized' that their `logit` stands for."""
    return cells.assign(probability=expit(cells["logit"]))


def write_predictions(predictions: pd.DataFrame, path: Path) -> None:
    """Write one row a cell; logit and probability with 6 digits after the point."""
    predictions[PREDICTION_COLUMNS].to_csv(
        path, index=False, float_format=f"%.{DIGITS}f", lineterminator="\n"
    )


def read_predictions(path: Path | BinaryIO) -> pd.DataFrame:
    """Return the predictions as written, so that every number follows from the file."""
    return pd.read_csv(path, dtype={"cell_id": "string", "patient": "string", "split": "string"})


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table with 6 digits after the point."""
    table.to_csv(path, index=False, float_format=f"%.{DIGITS}f", lineterminator="\n")


def choose_threshold(label: np.ndarray, probability: np.ndarray, rule: str) -> float:
    """Return the probability from which on a cell is called parasitized, by the rule.

    `fixed_0.5`; `youden` (largest sensitivity + specificity - 1; Youden 1950, Cancer 3:32);
    `sensitivity_0.95` and `specificity_0.95` (the best of the other that keeps .95 of this
    one). Candidates are the probabilities that occur, and one just above them all, which calls
    no cell; among equals the one nearest .5 is taken. Give it validation cells only.
    """
    if rule == "fixed_0.5":
        return 0.5
    fpr, tpr, candidates = sk.roc_curve(label, probability, drop_intermediate=False)
    candidates[0] = probability.max() + 10**-DIGITS  # scikit-learn has infinity there
    if rule == "youden":
        score = tpr - fpr
    elif rule == "sensitivity_0.95":
        score = np.where(tpr >= 0.95, 1 - fpr, -1)
    else:
        score = np.where(1 - fpr >= 0.95, tpr, -1)
    best = np.flatnonzero(np.isclose(score, score.max(), rtol=0, atol=1e-12))
    return round(float(candidates[best[np.abs(candidates[best] - 0.5).argmin()]]), DIGITS)


def cross_entropies(label: np.ndarray, logit: np.ndarray) -> np.ndarray:
    """Return each cell's negative log-likelihood (N,) in nats, exact for sure cells too."""
    return np.logaddexp(0, logit * (1 - 2 * label))


def equal_mass_bins(probability: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each bin of probabilities, lowest first; bins end at the deciles.

    So they hold equally many cells, but that equal probabilities share a bin; none is empty.
    """
    inner = np.quantile(probability, np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS)
    number = np.searchsorted(np.unique(inner), probability)
    return [np.flatnonzero(number == found) for found in np.unique(number)]


def expected_calibration_error(label: np.ndarray, probability: np.ndarray) -> float:
    """Return the mean distance of predicted probability and observed share, over equal-mass bins.

    Nixon et al. 2019, Measuring Calibration in Deep Learning (adaptive binning).
    """
    bins = equal_mass_bins(probability)
    return float(sum(abs((probability - label)[rows].sum()) for rows in bins) / len(label))


def missing_classes(metric: str, label: np.ndarray) -> set[int]:
    """Return the classes that a metric needs and that no cell has."""
    return NEEDS.get(metric, BOTH) - set(label.tolist())


def compute_metrics(predictions: pd.DataFrame, threshold: float) -> Metrics:
    """Return the metrics of one split at `threshold`; 'parasitized' is the positive class.

    A cell is called parasitized when its probability is at least the threshold. Ranks and log
    loss come from the logits, because the probability of a sure cell is written as 0 or 1. A
    metric whose classes are not there is NaN.
    """
    label = predictions["label"].to_numpy()
    logit = predictions["logit"].to_numpy()
    probability = predictions["probability"].to_numpy()
    called = (probability >= threshold).astype(int)
    measures: dict[str, Callable[[], float]] = {
        "accuracy": lambda: sk.accuracy_score(label, called),
        "sensitivity": lambda: sk.recall_score(label, called),
        "specificity": lambda: sk.recall_score(label, called, pos_label=0),
        "precision": lambda: sk.precision_score(label, called, zero_division=0),
        "f1": lambda: sk.f1_score(label, called),
        "mcc": lambda: sk.matthews_corrcoef(label, called),
        "roc_auc": lambda: sk.roc_auc_score(label, logit),
        "pr_auc": lambda: sk.average_precision_score(label, logit),
        "log_loss": lambda: cross_entropies(label, logit).mean(),
        "brier": lambda: sk.brier_score_loss(label, probability),
        "ece": lambda: expected_calibration_error(label, probability),
    }
    return {
        "n_cells": len(predictions),
        "n_patients": predictions["patient"].nunique(),
        "threshold": threshold,
        **{
            name: math.nan if missing_classes(name, label) else round(float(measure()), DIGITS)
            for name, measure in measures.items()
        },
    }


def defined(metrics: Metrics) -> Metrics:
    """Return the metrics without those that are NaN."""
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def write_metrics(
    splits: Mapping[str, Metrics], external: Mapping[str, Metrics], path: Path
) -> None:
    """Write the splits' metrics and, where there are any, those of external sets; NaN as null."""
    content: dict[str, object] = {name: _with_null(metrics) for name, metrics in splits.items()}
    if external:
        content["external"] = {name: _with_null(metrics) for name, metrics in external.items()}
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def _with_null(metrics: Metrics) -> dict[str, float | int | None]:
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}
