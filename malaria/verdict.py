"""Three verdicts on a metric's difference, and what several of them say together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto

import numpy as np

from malaria.paired import PairedDifference
from malaria.params.gate import Gated


class Verdict(StrEnum):
    """PASS: not worse by more than the margin. FAIL: worse. INCONCLUSIVE: too little data."""

    PASS = auto()
    FAIL = auto()
    INCONCLUSIVE = auto()


@dataclass(frozen=True)
class Judged:
    """A metric's verdict and why."""

    difference: PairedDifference
    rule: Gated
    p_corrected: float  # of the loss, by Holm; NaN where nothing can be said
    verdict: Verdict
    reason: str


def judge_metric(
    difference: PairedDifference, rule: Gated, p_corrected: float, level: float
) -> Judged:
    """Return the verdict on one metric.

    FAIL where the floor is broken, or where a loss beyond the margin cannot be excluded and the
    loss is significant after correction. A floor is held against the estimate itself, so it
    belongs well below what the model is expected to reach.
    """
    verdict, reason = _judge(difference, rule, p_corrected, level)
    return Judged(difference, rule, p_corrected, verdict, reason)


def breaks_floor(value: float, rule: Gated) -> bool:
    """Tell whether a metric is below its floor; one that is not defined is not."""
    return rule.floor is not None and value < rule.floor


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values corrected for their number, in the order given; NaN counts, but stays NaN.

    Holm 1979, Scandinavian Journal of Statistics 6:65: the chance that any of the true
    hypotheses is rejected stays below the level, however the metrics depend on each other.
    """
    order = sorted(p_values, key=lambda name: np.nan_to_num(p_values[name], nan=1.0))
    corrected, highest = {}, 0.0
    for rank, name in enumerate(order):
        if np.isnan(p_values[name]):
            corrected[name] = np.nan
        else:
            highest = max(highest, min(1.0, (len(order) - rank) * p_values[name]))
            corrected[name] = highest
    return {name: corrected[name] for name in p_values}


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Return what the verdicts on all gated metrics say together.

    PASS needs all to pass. A model that is worse in one metric passes as a whole only if it
    passes in that one, which happens in at most 1 - level of the cases, so the level needs no
    correction for their number (intersection-union test: Berger 1982, Technometrics 24:295).
    One FAIL is enough to fail, so there chance adds up, and the p-values are Holm's.
    """
    found = set(verdicts)
    if Verdict.FAIL in found:
        return Verdict.FAIL
    return Verdict.PASS if found == {Verdict.PASS} else Verdict.INCONCLUSIVE


def _judge(
    difference: PairedDifference, rule: Gated, p_corrected: float, level: float
) -> tuple[Verdict, str]:
    if breaks_floor(difference.head, rule):
        return Verdict.FAIL, f"{difference.head:.3f} is below the floor {rule.floor:g}"
    if difference.reason:
        return Verdict.INCONCLUSIVE, difference.reason
    if difference.at_least(level) >= -rule.margin:
        return Verdict.PASS, f"not worse by more than {rule.margin:g}"
    if p_corrected < 1 - level:
        return Verdict.FAIL, f"worse, and a loss beyond {rule.margin:g} cannot be excluded"
    return Verdict.INCONCLUSIVE, f"too few patients to exclude a loss beyond {rule.margin:g}"
