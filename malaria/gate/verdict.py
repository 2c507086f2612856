"""The verdict on a metric's difference, and that on several of them together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto

import numpy as np

from malaria.gate.paired import PairedDifference
from malaria.gate.params import MetricRule

ROUNDING = 1e-9  # of a difference of two shares


class Verdict(StrEnum):
    """PASS: not worse by more than the margin. FAIL: worse. INCONCLUSIVE: too little data."""

    PASS = auto()
    FAIL = auto()
    INCONCLUSIVE = auto()


@dataclass(frozen=True)
class MetricVerdict:
    """A metric's verdict and why."""

    difference: PairedDifference
    rule: MetricRule
    p_corrected: float  # of the loss, by Holm; NaN if it is not known or not asked for
    verdict: Verdict
    reason: str


def judge_metric(
    difference: PairedDifference, rule: MetricRule, p_corrected: float, level: float
) -> MetricVerdict:
    """Return the verdict on one metric.

    FAIL if the floor is broken; if the estimate itself lies beyond the margin, however uncertain
    it is; or if a loss beyond the margin cannot be excluded and the loss is significant after
    correction (`p_corrected` NaN: that is not asked). A floor is compared with the estimate, so it
    belongs well below what the model is expected to reach.
    """
    lost, margin = -difference.difference, f"the margin is {points(rule.margin)}"
    most = -difference.at_least(level)
    if breaks_floor(difference.head, rule.floor):
        verdict, reason = Verdict.FAIL, f"{difference.head:.3f} is below the floor {rule.floor:g}"
    elif lost > rule.margin + ROUNDING:
        verdict, reason = Verdict.FAIL, f"worse by {points(lost)} points; {margin}"
    elif difference.reason:
        verdict, reason = Verdict.INCONCLUSIVE, difference.reason
    elif most <= rule.margin + ROUNDING:
        verdict, reason = Verdict.PASS, f"worse by {points(max(most, 0))} points at most; {margin}"
    elif p_corrected < 1 - level:
        verdict = Verdict.FAIL
        reason = (
            f"worse by {points(lost)} points (p {p_corrected:.2g}), and a loss of {points(most)} "
            f"cannot be excluded; {margin}"
        )
    else:
        verdict = Verdict.INCONCLUSIVE
        reason = (
            f"too few patients: the difference is {100 * difference.difference:+.1f} points, and a "
            f"loss of {points(most)} cannot be excluded; {margin}"
        )
    return MetricVerdict(difference, rule, p_corrected, verdict, reason)


def breaks_floor(value: float, floor: float | None) -> bool:
    """Return whether a metric is below its floor; one that is not defined is not."""
    return floor is not None and value < floor


def points(share: float) -> str:
    """Return a share in points of 100, with a tenth where there is one."""
    return f"{round(100 * share, 1) + 0:g}"


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values corrected for their number, in the order given; NaN counts, but stays NaN.

    Holm 1979, Scandinavian Journal of Statistics 6:65: the chance that any of the true
    hypotheses is rejected stays below the level, however the metrics depend on each other.
    """
    order = sorted(p_values, key=lambda name: np.nan_to_num(p_values[name], nan=1.0))
    corrected, highest = dict(p_values), 0.0
    for rank, name in enumerate(order):
        if not np.isnan(p_values[name]):
            highest = max(highest, min(1.0, (len(order) - rank) * p_values[name]))
            corrected[name] = highest
    return corrected


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict on all gated metrics together.

    PASS needs all to pass. A model that is worse in one metric passes as a whole only if it
    passes in that one, which happens in at most 1 - level of the cases, so the level needs no
    correction for their number (intersection-union test: Berger 1982, Technometrics 24:295).
    One FAIL is enough to fail, so there chance adds up, and the p-values are Holm's.
    """
    found = set(verdicts)
    if Verdict.FAIL in found:
        return Verdict.FAIL
    return Verdict.PASS if found == {Verdict.PASS} else Verdict.INCONCLUSIVE
