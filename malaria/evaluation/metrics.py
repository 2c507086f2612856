"""The metrics of one split, computed only from predictions.csv."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from malaria.core.files import write_file
from malaria.errors import MalariaError
from malaria.prediction.table import DIGITS, arrays_of

CALIBRATION_BINS = 10
CHOSEN_ON = "val"  # the split whose cells choose the threshold
Metrics = dict[str, float | int]
# Classes a metric needs; a metric not listed needs both.
NEEDS: dict[str, set[int]] = {"sensitivity": {1}, "specificity": {0}}
NEEDS |= {name: set() for name in ("accuracy", "log_loss", "brier", "ece")}
BOTH = {0, 1}


def choose_threshold(label: np.ndarray, probability: np.ndarray, rule: str) -> float:
    """Return the lowest probability at which a cell is called parasitized, by the rule.

    `fixed_0.5`; `youden` (largest sensitivity + specificity - 1; Youden 1950, Cancer 3:32);
    `sensitivity_0.95` and `specificity_0.95` (at least .95 of this rate, and the most of the
    other). Candidates are the probabilities that occur, and one just above them all, which calls
    no cell; among equals the one nearest .5 is taken. Give it validation cells only.
    """
    if rule == "fixed_0.5":
        return 0.5
    fpr, tpr, candidates = sk.roc_curve(label, probability, drop_intermediate=False)
    candidates[0] = probability.max() + 10**-DIGITS  # scikit-learn has infinity there
    score = {
        "youden": tpr - fpr,
        "sensitivity_0.95": np.where(tpr >= 0.95, 1 - fpr, -1),
        "specificity_0.95": np.where(1 - fpr >= 0.95, tpr, -1),
    }[rule]
    best = np.flatnonzero(np.isclose(score, score.max(), rtol=0, atol=1e-12))
    return round(float(candidates[best[np.abs(candidates[best] - 0.5).argmin()]]), DIGITS)


def cross_entropies(label: np.ndarray, logit: np.ndarray) -> np.ndarray:
    """Return each cell's negative log-likelihood (N,) in nats, exact for large logits too."""
    return np.logaddexp(0, logit * (1 - 2 * label))


def equal_mass_bins(probability: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each bin of probabilities, lowest first; bins end at the deciles.

    So bins have equal numbers of cells, except that equal probabilities share a bin; no bin is
    empty.
    """
    inner = np.quantile(probability, np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS)
    number = np.searchsorted(np.unique(inner), probability)
    return [np.flatnonzero(number == found) for found in np.unique(number)]


def expected_calibration_error(label: np.ndarray, probability: np.ndarray) -> float:
    """Return the mean gap between predicted probability and observed share, in equal-mass bins.

    Nixon et al. 2019, Measuring Calibration in Deep Learning (adaptive binning).
    """
    bins = equal_mass_bins(probability)
    return float(sum(abs((probability - label)[rows].sum()) for rows in bins) / len(label))


def missing_classes(metric: str, label: np.ndarray) -> set[int]:
    """Return the classes that a metric needs but no cell has."""
    return NEEDS.get(metric, BOTH) - set(label.tolist())


def compute_metrics(predictions: pd.DataFrame, threshold: float) -> Metrics:
    """Return the metrics of one split at `threshold`; 'parasitized' is the positive class.

    A cell is called parasitized when its probability is at least the threshold. Ranks and log
    loss come from the logits, because a probability near 0 or 1 is written as 0 or 1. A metric
    that lacks a class it needs is NaN.
    """
    label, logit, probability = arrays_of(predictions)
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
    """Write the metrics of the splits and of external sets, if there are any; NaN as null."""
    content: dict[str, object] = _with_null(splits)
    if external:
        content["external"] = _with_null(external)
    write_file(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def threshold_in(metrics: Any, where: Path) -> float:
    """Return the operating point from the content of a metrics.json.

    Raises MalariaError if it is missing; `where` is for the message.
    """
    try:
        threshold = float(metrics[CHOSEN_ON]["threshold"])
    except (KeyError, TypeError, ValueError):
        threshold = math.nan
    if not math.isfinite(threshold):
        raise MalariaError(
            f"{where} has no number for {CHOSEN_ON}.threshold; evaluate again with `uv run dvc "
            "repro`."
        )
    return threshold


def _with_null(groups: Mapping[str, Metrics]) -> dict[str, object]:
    return {
        group: {name: None if math.isnan(value) else value for name, value in metrics.items()}
        for group, metrics in groups.items()
    }
