"""Metrics of many resamples of a split at once: patients (or cells) drawn with replacement.

A resample is a row of weights: how often each unit was drawn. So a few matrix products and
cumulative sums give all metrics of all resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from malaria.evaluation.measures import METRICS, Sums, cross_entropies, equal_mass_bins
from malaria.prediction.table import arrays_of

CHUNK = 100  # resamples at once; each has a row of weights by cell


@dataclass(frozen=True)
class Units:
    """What is drawn with replacement, and the cells of each unit."""

    count: int
    of_cell: np.ndarray  # (N,) number of the cell's unit


def patients_of(predictions: pd.DataFrame) -> Units:
    """Return the patients as units, numbered in the order of their names."""
    names, numbers = np.unique(predictions["patient"].to_numpy(dtype=str), return_inverse=True)
    return Units(len(names), numbers)


def cells_of(predictions: pd.DataFrame) -> Units:
    """Return each cell as one unit."""
    return Units(len(predictions), np.arange(len(predictions)))


def draw_weights(units: Units, replicates: int, seed: int) -> Iterator[np.ndarray]:
    """Give float64 weights (at most CHUNK, units): how often each unit is drawn."""
    rng = np.random.default_rng(seed)
    for start in range(0, replicates, CHUNK):
        rows = min(CHUNK, replicates - start)
        drawn = rng.integers(units.count, size=(rows, units.count))
        drawn += np.arange(rows)[:, None] * units.count
        counts = np.bincount(drawn.ravel(), minlength=rows * units.count)
        yield counts.reshape(rows, units.count).astype("float64")


class Resampled:
    """The metrics of a split at a threshold, for any weights of its units."""

    def __init__(self, predictions: pd.DataFrame, threshold: float, units: Units) -> None:
        """`predictions` has the columns label, logit and probability."""
        label, logit, probability = arrays_of(predictions)
        called = probability >= threshold
        by_cell = {
            "tp": label * called,
            "fn": label * ~called,
            "fp": (1 - label) * called,
            "tn": (1 - label) * ~called,
            "loss": cross_entropies(label, logit),
            "square": (probability - label) ** 2,
        }

        def sums(values: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
            return np.bincount(units.of_cell[rows], values[rows], units.count)

        self._names = list(by_cell)
        self._sums = np.stack([sums(values) for values in by_cell.values()], axis=1)
        # The bins are those of the split, so a resample's error is a sum over its units too.
        gaps = [sums(probability - label, rows) for rows in equal_mass_bins(probability)]
        self._gaps = np.stack(gaps, axis=1)
        order = np.argsort(-logit, kind="stable")  # from the highest logit down
        self._unit = units.of_cell[order]
        self._is_positive = label[order].astype("float64")
        self._first_of_tie = np.flatnonzero(np.diff(logit[order], prepend=np.inf))

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return each metric (R,) for weights (R, units); NaN where it is not defined."""
        by_cell = weights[:, self._unit]
        parasitized, uninfected = (
            np.add.reduceat(by_cell * share, self._first_of_tie, axis=1)
            for share in (self._is_positive, 1 - self._is_positive)
        )
        sums = Sums(
            **dict(zip(self._names, (weights @ self._sums).T, strict=True)),
            gaps=weights @ self._gaps,
            parasitized=parasitized,
            uninfected=uninfected,
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            return {name: metric.of(sums) for name, metric in METRICS.items()}
