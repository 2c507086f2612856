"""Calibration of the probabilities, before and after temperature scaling."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from malaria.evaluation.intervals import metric_intervals
from malaria.evaluation.measures import cross_entropies
from malaria.evaluation.names import name_of
from malaria.prediction.table import with_probabilities

CALIBRATION_METRICS = ("brier", "log_loss", "ece")
ANY_THRESHOLD = 0.5  # these metrics do not depend on it
LOWEST, HIGHEST = 0.05, 20.0  # temperatures that are searched
AS_TRAINED, SCALED = "as trained", "scaled"
SHOWN = 3  # decimals; a change that no reader sees is no warning


def fit_temperature(label: np.ndarray, logit: np.ndarray) -> float:
    """Return the temperature T that makes sigmoid(logit / T) most likely; give it val cells.

    Guo et al. 2017, On Calibration of Modern Neural Networks. A T above 1 means that the model was
    overconfident. If no T is best (all cells on the right side), the nearest bound is returned.
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
    return with_probabilities(predictions.assign(logit=predictions["logit"] / temperature))


def calibration_table(
    splits: dict[str, pd.DataFrame], temperature: float, replicates: int, seed: int
) -> pd.DataFrame:
    """Return Brier score, log loss and calibration error of each split, before and after scaling.

    With 95 % intervals by patient. `splits` has the columns patient, label, logit and probability.
    """
    rows = []
    for split, predictions in splits.items():
        for name, divisor, cells in (
            (AS_TRAINED, 1.0, predictions),
            (SCALED, temperature, scaled(predictions, temperature)),
        ):
            found = metric_intervals(cells, ANY_THRESHOLD, replicates, seed)
            first = {"split": split, "probability": name, "temperature": divisor}
            rows += [first | {"metric": key, **found[key].row()} for key in CALIBRATION_METRICS]
    return pd.DataFrame(rows)


def calibration_warnings(table: pd.DataFrame) -> Iterator[str]:
    """Give a sentence if temperature scaling makes the test cells worse in a metric.

    `table` is that of `calibration_table`.
    """
    test = table[table["split"] == "test"].pivot(
        index="metric", columns="probability", values="estimate"
    )
    shown = test.round(SHOWN).loc[list(CALIBRATION_METRICS)]
    worse = shown[shown[SCALED] > shown[AS_TRAINED]]
    if not worse.empty:
        changes = ", ".join(
            f"{name_of(metric)} {row[AS_TRAINED]:.{SHOWN}f} to {row[SCALED]:.{SHOWN}f}"
            for metric, row in worse.to_dict("index").items()
        )
        yield (
            "temperature scaling, fitted to val cells, makes the test calibration worse "
            f"({changes}): use the probabilities as trained"
        )
