"""The metrics of one split, computed only from predictions.csv."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from malaria.core.files import write_file
from malaria.errors import MalariaError
from malaria.evaluation.bootstrap import Resampled, cells_of
from malaria.evaluation.measures import METRICS
from malaria.prediction.table import DIGITS

CHOSEN_ON = "val"  # the split whose cells choose the threshold
Metrics = dict[str, float | int]
# What DVC shows of an experiment by split; metrics.json has all.
HEADLINE = {
    "test": ("sensitivity", "specificity", "roc_auc", "accuracy", "mcc"),
    "val": ("roc_auc", "accuracy"),
}


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


def missing_classes(metric: str, label: np.ndarray) -> frozenset[int]:
    """Return the classes that a metric needs but no cell has."""
    return METRICS[metric].needs - set(label.tolist())


def compute_metrics(predictions: pd.DataFrame, threshold: float) -> Metrics:
    """Return the metrics of one split at `threshold`; 'parasitized' is the positive class.

    A cell is called parasitized when its probability is at least the threshold. Ranks and log
    loss come from the logits, because a probability near 0 or 1 is written as 0 or 1. A metric
    that lacks a class it needs is NaN.
    """
    label = predictions["label"].to_numpy()
    once = np.ones((1, len(predictions)))
    found = Resampled(predictions, threshold, cells_of(predictions)).metrics(once)
    return {
        "n_cells": len(predictions),
        "n_patients": predictions["patient"].nunique(),
        "threshold": threshold,
        **{
            name: math.nan if missing_classes(name, label) else round(float(value), DIGITS)
            for name, (value,) in found.items()
        },
    }


def write_metrics(
    splits: Mapping[str, Metrics], external: Mapping[str, Metrics], path: Path
) -> None:
    """Write the metrics of the splits and of external sets, if there are any; NaN as null."""
    content: dict[str, object] = _with_null(splits)
    if external:
        content["external"] = _with_null(external)
    write_file(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_headline(splits: Mapping[str, Metrics], path: Path) -> None:
    """Write the metrics by which experiments are compared first; NaN as null."""
    chosen = {
        split: {name: splits[split][name] for name in names} for split, names in HEADLINE.items()
    }
    write_file(path, json.dumps(_with_null(chosen), indent=2, allow_nan=False) + "\n")


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
