"""95 % intervals of a split's metrics, with patients as the units that vary.

Cells of one patient share stain, microscope and parasites, so an interval that treats cells as
independent is too narrow; it is given too, for contrast.

The standard error is the spread of a bootstrap that draws whole patients (Davison and Hinkley
1997, Bootstrap Methods, 3.8). The interval is Student's t on a scale without bounds (logit,
Fisher's z, logarithm), with Kish's effective number of patients less one as degrees of freedom
(Kish 1965, Survey Sampling, 11.7): a few patients hold most of the parasitized cells, and the
plain percentile interval misses the truth too often (measured in benchmarks/coverage.py).
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from malaria.evaluation.bootstrap import Resampled, Units, cells_of, draw_weights, patients_of
from malaria.evaluation.measures import METRICS

LEVEL = 0.95
MOST_UNDEFINED = 0.05  # of the resamples
LEAST_PATIENTS = 2  # effectively; with fewer there is no degree of freedom
LEAST_ERROR = 1e-9  # less is rounding: sums in another order differ in their last bits


@dataclass(frozen=True)
class Interval:
    """The estimate of a metric with its bounds, or with the reason why it has no bounds."""

    estimate: float
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def width(self) -> float:
        """Distance of the bounds, NaN without bounds."""
        return np.nan if self.low is None or self.high is None else self.high - self.low

    def row(self, **more: object) -> dict[str, object]:
        """Return columns of a table: estimate, low and high, then `more`, then the reason."""
        bounds = {"estimate": self.estimate, "low": self.low, "high": self.high}
        return {**bounds, **more, "reason": self.reason}


def interval_table(
    predictions: pd.DataFrame, threshold: float, replicates: int, seed: int
) -> pd.DataFrame:
    """Return a row for each metric, with its interval by patient and, for contrast, by cell.

    `predictions` has the columns patient, label, logit and probability. Columns: metric,
    estimate, low, high (by patient), cell_low, cell_high, width_ratio (the first's width by the
    second's), patients (Kish's effective number) and reason, if a value is missing.
    """
    by_patient, by_cell = (
        _intervals(predictions, threshold, units, replicates, seed)
        for units in (patients_of(predictions), cells_of(predictions))
    )
    rows = []
    for name, (interval, patients) in by_patient.items():
        cells, _ = by_cell[name]
        row = interval.row(
            cell_low=cells.low,
            cell_high=cells.high,
            width_ratio=interval.width / cells.width,
            patients=patients,
        )
        rows.append({"metric": name, **row, "reason": interval.reason or cells.reason})
    return pd.DataFrame(rows)


def metric_intervals(
    predictions: pd.DataFrame, threshold: float, replicates: int, seed: int
) -> dict[str, Interval]:
    """Return the interval by patient of each metric."""
    found = _intervals(predictions, threshold, patients_of(predictions), replicates, seed)
    return {name: interval for name, (interval, _) in found.items()}


def missing(estimate: float, undefined: float, patients: float) -> str:
    """Return why an estimate can have no interval, in a few words; '' if it can.

    `undefined` is the share of the resamples in which it is not defined, `patients` the effective
    number of those it rests on.
    """
    if np.isnan(estimate):
        return "not defined"
    if undefined > MOST_UNDEFINED:
        return f"not defined in {100 * undefined:.0f} % of resamples"
    if patients < LEAST_PATIENTS:
        return f"too few patients ({math.floor(10 * patients) / 10:.1f})"
    return ""


def t_interval(name: str, estimate: float, error: float, units: float) -> Interval:
    """Return the interval of the metric `name` from its standard error and effective units."""
    scale = METRICS[name].scale
    with np.errstate(divide="ignore"):
        middle = scale.to(estimate)
    if error < LEAST_ERROR or not np.isfinite(middle):
        return Interval(estimate, reason="does not vary between patients")
    reach = stats.t.ppf((1 + LEVEL) / 2, units - 1) * error * scale.slope(estimate)
    return Interval(estimate, float(scale.back(middle - reach)), float(scale.back(middle + reach)))


def effective_units(cells_of_unit: np.ndarray) -> float:
    """Return Kish's effective number of units, (sum n)^2 / sum n^2, for their numbers of cells."""
    return float(cells_of_unit.sum() ** 2 / max((cells_of_unit**2).sum(), 1))


def _intervals(
    predictions: pd.DataFrame, threshold: float, units: Units, replicates: int, seed: int
) -> dict[str, tuple[Interval, float]]:
    """Return the interval and the effective number of units of each metric."""
    resampled = Resampled(predictions, threshold, units)
    parts = [resampled.metrics(weights) for weights in draw_weights(units, replicates, seed)]
    result = {}
    for name, (value,) in resampled.metrics(np.ones((1, units.count))).items():
        estimate = float(value)
        values = np.concatenate([part[name] for part in parts])
        effective = effective_number(name, predictions["label"].to_numpy(), units)
        if reason := missing(estimate, float(np.isnan(values).mean()), effective):
            interval = Interval(estimate, reason=reason)
        else:
            interval = t_interval(name, estimate, float(np.nanstd(values, ddof=1)), effective)
        result[name] = (interval, effective)
    return result


def effective_number(name: str, label: np.ndarray, units: Units) -> float:
    """Return the effective number of the units that a metric rests on."""
    rests_on = METRICS[name].rests_on
    if not rests_on:
        return effective_units(np.bincount(units.of_cell, minlength=units.count))
    return min(
        effective_units(np.bincount(units.of_cell, label == value, units.count))
        for value in rests_on
    )
