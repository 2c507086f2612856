"""The difference of two models' metrics on the same cells, with its standard error and bounds.

Both models see the same cells, so what a patient's cells have in common cancels out of the
difference; the rest varies from patient to patient, so whole patients are resampled, with the
same draws for both models (Davison and Hinkley 1997, Bootstrap Methods, 3.8). The standard error
of the difference is the spread of these draws; bounds are Student's t with Kish's effective number
of patients less one as degrees of freedom, as in malaria/evaluation/intervals.py.
How often the bounds hold is measured in benchmarks/gate.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from malaria.evaluation.bootstrap import Units, draw_weights, patients_of
from malaria.evaluation.intervals import effective_number, missing
from malaria.gate.params import CAN_BE_GATED


@dataclass(frozen=True)
class PairedDifference:
    """A metric of two models on the same cells.

    If `reason` says why nothing can be said of the difference, bounds and p-values are NaN.
    """

    metric: str
    base: float
    head: float
    error: float  # standard error of the difference
    patients: float  # Kish's effective number
    reason: str = ""

    @property
    def difference(self) -> float:
        """Head less base: below 0 the head is worse."""
        return self.head - self.base

    def interval(self, level: float) -> tuple[float, float]:
        """Return the two-sided interval of the difference."""
        return self._quantile((1 - level) / 2), self._quantile((1 + level) / 2)

    def at_least(self, level: float) -> float:
        """Return the one-sided lower bound of the difference."""
        return self._quantile(1 - level)

    def p_loss(self) -> float:
        """Return the one-sided p-value of 'the head is not worse at all'; small: it is worse."""
        return self._p_below(0.0)

    def p_beyond(self, margin: float) -> float:
        """Return the p-value of 'the head is worse by more than the margin'; small: it is not."""
        return 1 - self._p_below(-margin)

    def _quantile(self, probability: float) -> float:
        if self.reason:
            return np.nan
        reach = stats.t.ppf(probability, self.patients - 1) * self.error
        return float(np.clip(self.difference + reach, -1, 1))

    def _p_below(self, value: float) -> float:
        """Return the probability of so low a difference if `value` were the truth."""
        if self.reason:
            return np.nan
        if self.error == 0:  # no patient differs from another, so the difference counts as exact
            return float(np.heaviside(self.difference - value, 1))
        return float(stats.t.cdf((self.difference - value) / self.error, self.patients - 1))


def paired_differences(
    base: pd.DataFrame,
    head: pd.DataFrame,
    thresholds: tuple[float, float],
    replicates: int,
    seed: int,
    metrics: Sequence[str] = CAN_BE_GATED,
) -> dict[str, PairedDifference]:
    """Return the difference of each metric between two models, each at its own threshold.

    `base` and `head` have the columns patient, label, logit and probability, and the same cells
    in the same order. Raises ValueError if patients or labels differ.
    """
    for column in ("patient", "label"):
        if not np.array_equal(base[column].to_numpy(), head[column].to_numpy()):
            raise ValueError(f"base and head differ in {column}: not the same cells")
    units = patients_of(base)
    label = base["label"].to_numpy()
    before, after = (
        _Sums(cells, threshold, units)
        for cells, threshold in zip((base, head), thresholds, strict=True)
    )
    once = np.ones((1, units.count))
    estimates = before.metrics(once), after.metrics(once)
    weights = np.concatenate(list(draw_weights(units, replicates, seed)))
    drawn = before.metrics(weights), after.metrics(weights)
    found = {}
    for name in metrics:
        old, new = (float(estimate[name][0]) for estimate in estimates)
        patients = effective_number(name, label, units)
        differences = drawn[1][name] - drawn[0][name]
        reason = missing(old, float(np.isnan(differences).mean()), patients)
        error = np.nan if reason else float(np.nanstd(differences, ddof=1))
        found[name] = PairedDifference(name, old, new, error, patients, reason)
    return found


def wins_by_patients(label: np.ndarray, score: np.ndarray, units: Units) -> np.ndarray:
    """Return how often a parasitized cell of one patient scores above an uninfected one of another.

    Float64 (units, units), the parasitized cell's patient first; a tie counts half. With weights
    w of the patients, w'Ww by the weighted numbers of pairs is the area under the ROC curve
    (Mann and Whitney's statistic by clusters: Obuchowski 1997, Biometrics 53:567).
    """
    positive = label == 1
    order = np.argsort(score[positive])  # sorted needles are found faster
    scores = score[positive][order]
    winners = units.of_cell[positive][order]
    wins = np.zeros((units.count, units.count))
    for loser in np.unique(units.of_cell[~positive]):
        theirs = np.sort(score[~positive & (units.of_cell == loser)])
        beaten = np.searchsorted(theirs, scores, "left") + np.searchsorted(theirs, scores, "right")
        wins[:, loser] = np.bincount(winners, beaten / 2, units.count)
    return wins


class _Sums:
    """The sums behind one model's metrics, by patient and by pair of patients."""

    def __init__(self, cells: pd.DataFrame, threshold: float, units: Units) -> None:
        label = cells["label"].to_numpy()
        called = cells["probability"].to_numpy() >= threshold
        self._positives, self._negatives, self._hits, self._rejections = (
            np.bincount(units.of_cell, chosen, units.count)
            for chosen in (label == 1, label == 0, (label == 1) & called, (label == 0) & ~called)
        )
        self._wins = wins_by_patients(label, cells["logit"].to_numpy(), units)

    def metrics(self, weights: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return each metric (R,) for weights (R, units); NaN where it is not defined."""
        positives, negatives = weights @ self._positives, weights @ self._negatives
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "sensitivity": weights @ self._hits / positives,
                "specificity": weights @ self._rejections / negatives,
                "roc_auc": ((weights @ self._wins) * weights).sum(axis=1) / (positives * negatives),
            }
