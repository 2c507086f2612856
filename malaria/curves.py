"""Plot data that `dvc plots` draws: curves of one split as small tables."""

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from malaria.calibration import scaled
from malaria.metrics import DIGITS, equal_mass_bins

CURVE_POINTS = 300
NAMES = {0: "uninfected", 1: "parasitized"}


def compute_curves(
    predictions: pd.DataFrame, threshold: float, temperature: float
) -> dict[str, pd.DataFrame]:
    """Return the tables roc, pr, calibration, calibration_scaled and confusion of one split."""
    label = predictions["label"].to_numpy()
    probability = predictions["probability"].to_numpy()
    logit = predictions["logit"].to_numpy()
    fpr, tpr, _ = sk.roc_curve(label, logit)
    precision, recall, _ = sk.precision_recall_curve(label, logit)
    called = (probability >= threshold).astype(int)
    tables = {
        "roc": _thinned(pd.DataFrame({"fpr": fpr, "tpr": tpr})),
        "pr": _thinned(pd.DataFrame({"recall": recall[::-1], "precision": precision[::-1]})),
        "calibration": _calibration(predictions),
        "calibration_scaled": _calibration(scaled(predictions, temperature)),
        "confusion": pd.DataFrame(
            {"actual": pd.Series(label).map(NAMES), "called": pd.Series(called).map(NAMES)}
        ),
    }
    return {name: table.round(DIGITS) for name, table in tables.items()}


def _calibration(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the mean probability and the share parasitized of each equal-mass bin."""
    label, probability = predictions["label"].to_numpy(), predictions["probability"].to_numpy()
    bins = equal_mass_bins(probability)
    return pd.DataFrame(
        {
            "predicted": [probability[rows].mean() for rows in bins],
            "observed": [label[rows].mean() for rows in bins],
        }
    )


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """Keep evenly spaced points, both ends among them, so the file stays small."""
    if len(curve) <= CURVE_POINTS:
        return curve
    return curve.iloc[np.linspace(0, len(curve) - 1, CURVE_POINTS).round().astype(int)]
