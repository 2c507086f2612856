"""How far probabilities can be taken at their word, and what one number mends."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit

from malaria.intervals import metric_intervals
from malaria.metrics import cross_entropies

CALIBRATION_METRICS = ("brier", "log_loss", "ece")
NO_THRESHOLD = 0.5  # these metrics take none
LOWEST, HIGHEST = 0.05, 20.0  # temperatures that are looked at


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


def scaled(predictions: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Return predictions whose logits are divided by the temperature."""
    logit = predictions["logit"] / temperature
    return predictions.assign(logit=logit, probability=expit(logit))


def calibration_table(
    splits: dict[str, pd.DataFrame], temperature: float, replicates: int, seed: int
) -> pd.DataFrame:
    """Return Brier score, log loss and calibration error of each split, before and after scaling.

    With their 95 % intervals by patient. `splits` has the columns patient, label, logit and
    probability.
    """
    rows = []
    for split, predictions in splits.items():
        for name, divisor in (("as trained", 1.0), ("scaled", temperature)):
            looked_at = predictions if divisor == 1 else scaled(predictions, divisor)
            found = metric_intervals(looked_at, NO_THRESHOLD, replicates, seed)
            for metric in CALIBRATION_METRICS:
                estimate, interval = found[metric]
                rows.append(
                    {
                        "split": split,
                        "probability": name,
                        "temperature": divisor,
                        "metric": metric,
                        "estimate": estimate,
                        "low": interval.low,
                        "high": interval.high,
                        "reason": interval.reason,
                    }
                )
    return pd.DataFrame(rows)
