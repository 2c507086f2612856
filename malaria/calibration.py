"""How far probabilities can be taken at their word, and what one number mends."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.metrics import brier_score_loss

from malaria.metrics import cross_entropies

BINS = 10
LOWEST, HIGHEST = 0.05, 20.0  # temperatures that are looked at


def expected_calibration_error(label: np.ndarray, probability: np.ndarray) -> float:
    """Return the mean distance of predicted probability and observed share, over bins.

    Bins hold equally many cells (to one), so none is empty; equal probabilities may fall into
    two (Nixon et al. 2019, Measuring Calibration in Deep Learning: adaptive binning).
    """
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, min(BINS, len(order)))
    gaps = [abs(probability[rows].mean() - label[rows].mean()) * len(rows) for rows in bins]
    return float(sum(gaps) / len(label))


def fit_temperature(label: np.ndarray, logit: np.ndarray) -> float:
    """Return the temperature T that makes sigmoid(logit / T) most likely; give it val cells.

    Guo et al. 2017, On Calibration of Modern Neural Networks. Above 1 the model was too sure.
    Where no T is best (all cells on the right side) the nearest bound is returned.
    """
    found = minimize_scalar(
        lambda power: cross_entropies(label, logit / np.exp(power)).mean(),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(np.exp(found.x))


def calibration_table(splits: dict[str, pd.DataFrame], temperature: float) -> pd.DataFrame:
    """Return Brier score, log loss and calibration error of each split, before and after."""
    rows = []
    for split, predictions in splits.items():
        label = predictions["label"].to_numpy()
        for name, divisor in (("as trained", 1.0), ("scaled", temperature)):
            logit = predictions["logit"].to_numpy() / divisor
            probability = expit(logit)
            rows.append(
                {
                    "split": split,
                    "probability": name,
                    "temperature": divisor,
                    "brier": brier_score_loss(label, probability),
                    "log_loss": cross_entropies(label, logit).mean(),
                    "ece": expected_calibration_error(label, probability),
                }
            )
    return pd.DataFrame(rows)
