"""Every metric, defined once: from sums over cells that count as often as a row of weights says.

In the split itself each cell counts once, in a resample as often as its patient is drawn. So a
metric, its interval and its place in every table follow from its line in METRICS.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, logit

CALIBRATION_BINS = 10
NONE: frozenset[int] = frozenset()
BOTH = frozenset({0, 1})


@dataclass(frozen=True)
class Sums:
    """Sums over the cells of a split, for each of R rows of weights."""

    tp: np.ndarray  # (R,) parasitized cells that are called so
    fn: np.ndarray
    fp: np.ndarray
    tn: np.ndarray
    loss: np.ndarray  # (R,) of cross-entropies, in nats
    square: np.ndarray  # (R,) of (probability - label) squared
    gaps: np.ndarray  # (R, bins) of probability - label, by the split's `equal_mass_bins`
    # (R, logits) cells of a class at each logit that occurs, from the highest down
    parasitized: np.ndarray
    uninfected: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """All cells (R,)."""
        total: np.ndarray = self.tp + self.fn + self.fp + self.tn
        return total


@dataclass(frozen=True)
class Scale:
    """A scale without bounds: the function, its derivative, and its inverse."""

    to: Callable[[float], float]
    slope: Callable[[float], float]
    back: Callable[[float], float]


LOGIT = Scale(logit, lambda value: 1 / (value * (1 - value)), expit)  # of 0 to 1
FISHER_Z = Scale(np.arctanh, lambda value: 1 / (1 - value**2), np.tanh)  # of -1 to 1
LOGARITHM = Scale(np.log, lambda value: 1 / value, np.exp)  # of 0 and above


@dataclass(frozen=True)
class Metric:
    """A metric's formula, and what its value and its interval need."""

    of: Callable[[Sums], np.ndarray]  # (R,); NaN where it is not defined
    needs: frozenset[int] = field(default=BOTH, kw_only=True)  # classes that have to be there
    # Classes whose patients its interval rests on, one by one; () for the patients of all cells.
    rests_on: tuple[int, ...] = field(default=(), kw_only=True)
    scale: Scale = field(default=LOGIT, kw_only=True)  # on which its interval is symmetric


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


def _precision(sums: Sums) -> np.ndarray:
    """Return the share of called cells that are parasitized; 0 if none is called."""
    called = sums.tp + sums.fp
    return np.divide(sums.tp, called, out=np.zeros_like(sums.tp), where=called > 0)


def _mcc(sums: Sums) -> np.ndarray:
    """Return Matthews' correlation; 0 if all are called one class."""
    tp, fn, fp, tn = sums.tp, sums.fn, sums.fp, sums.tn
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    covariance = tp * tn - fp * fn
    return np.divide(covariance, np.sqrt(product), out=np.zeros_like(tp), where=product > 0)


def _roc_auc(sums: Sums) -> np.ndarray:
    """Return the share of pairs in which the parasitized cell's logit is higher; a tie is half."""
    below = sums.uninfected.sum(axis=1, keepdims=True) - sums.uninfected.cumsum(axis=1)
    wins = (sums.parasitized * (below + sums.uninfected / 2)).sum(axis=1)
    pairs = (sums.tp + sums.fn) * (sums.fp + sums.tn)
    return np.asarray(wins / pairs)


def _pr_auc(sums: Sums) -> np.ndarray:
    """Return the average precision: that at each logit, weighted by the sensitivity it adds."""
    tp = sums.parasitized.cumsum(axis=1)
    called = tp + sums.uninfected.cumsum(axis=1)
    precision = np.divide(tp, called, out=np.zeros_like(tp), where=called > 0)
    return np.asarray((sums.parasitized * precision).sum(axis=1) / tp[:, -1])


# By name, in the order of metrics.json; 'parasitized' is the positive class.
METRICS: dict[str, Metric] = {
    "accuracy": Metric(lambda sums: (sums.tp + sums.tn) / sums.total, needs=NONE),
    "sensitivity": Metric(
        lambda sums: sums.tp / (sums.tp + sums.fn), needs=frozenset({1}), rests_on=(1,)
    ),
    "specificity": Metric(
        lambda sums: sums.tn / (sums.tn + sums.fp), needs=frozenset({0}), rests_on=(0,)
    ),
    "precision": Metric(_precision),
    "f1": Metric(lambda sums: 2 * sums.tp / (2 * sums.tp + sums.fp + sums.fn)),
    "mcc": Metric(_mcc, scale=FISHER_Z),
    "roc_auc": Metric(_roc_auc, rests_on=(0, 1)),
    "pr_auc": Metric(_pr_auc),
    "log_loss": Metric(lambda sums: sums.loss / sums.total, needs=NONE, scale=LOGARITHM),
    "brier": Metric(lambda sums: sums.square / sums.total, needs=NONE),
    # The expected calibration error with adaptive bins: Nixon et al. 2019, Measuring Calibration
    # in Deep Learning.
    "ece": Metric(lambda sums: np.abs(sums.gaps).sum(axis=1) / sums.total, needs=NONE),
}
