"""Data for `dvc plots`: curves of one split as small tables."""

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from malaria.core.table import LABELS
from malaria.evaluation.calibration import scaled
from malaria.evaluation.measures import equal_mass_bins
from malaria.prediction.table import DIGITS, arrays_of

CURVE_POINTS = 300


def compute_curves(
    predictions: pd.DataFrame, threshold: float, temperature: float
) -> dict[str, pd.DataFrame]:
    """Return the tables roc, pr, calibration, calibration_scaled and confusion of one split."""
    label, logit, probability = arrays_of(predictions)
    fpr, tpr, _ = sk.roc_curve(label, logit)
    precision, recall, _ = sk.precision_recall_curve(label, logit)
    called = (probability >= threshold).astype(int)
    tables = {
        "roc": _thinned(pd.DataFrame({"fpr": fpr, "tpr": tpr})),
        "pr": _thinned(pd.DataFrame({"recall": recall[::-1], "precision": precision[::-1]})),
        "calibration": _calibration(predictions),
        "calibration_scaled": _calibration(scaled(predictions, temperature)),
        "confusion": pd.DataFrame(
            {"actual": pd.Series(label).map(LABELS), "called": pd.Series(called).map(LABELS)}
        ),
    }
    return {name: table.round(DIGITS) for name, table in tables.items()}


def _calibration(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the mean probability and the share of parasitized cells of each equal-mass bin."""
    label, _, probability = arrays_of(predictions)
    bins = equal_mass_bins(probability)
    return pd.DataFrame(
        {
            "predicted": [probability[rows].mean() for rows in bins],
            "observed": [label[rows].mean() for rows in bins],
        }
    )


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """Return evenly spaced points, including both ends, so that the file stays small."""
    if len(curve) <= CURVE_POINTS:
        return curve
    return curve.iloc[np.linspace(0, len(curve) - 1, CURVE_POINTS).round().astype(int)]
