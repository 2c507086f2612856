"""Verdicts: every branch, Holm against a hand-worked case, and several together."""

import numpy as np
import pytest

from malaria.core.params import parse
from malaria.gate.paired import PairedDifference
from malaria.gate.params import MetricRule
from malaria.gate.verdict import Verdict, breaks_floor, holm, judge_metric, overall

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
LEVEL = 0.95
RULE = parse(MetricRule, {"margin": 0.03, "floor": "none"})


def lost(points: float, error: float, reason: str = "") -> PairedDifference:
    """Return a sensitivity of .95 less some points, known by 31 patients: t(.95, 30) = 1.697."""
    return PairedDifference("sensitivity", 0.95, 0.95 - points / 100, error / 100, 31, reason)


@pytest.mark.parametrize(
    ("difference", "verdict", "reason"),
    [
        (lost(0, 1), PASS, "worse by 1.7 points at most; the margin is 3"),
        (lost(1, 1), PASS, "worse by 2.7 points at most; the margin is 3"),
        (lost(2, 0.2), PASS, "worse by 2.3 points at most; the margin is 3"),  # surely a small loss
        (lost(-3, 1), PASS, "worse by 0 points at most; the margin is 3"),
        (lost(3, 0), PASS, "worse by 3 points at most; the margin is 3"),  # the margin itself
        (
            lost(0, 2),
            INCONCLUSIVE,
            "too few patients: the difference is +0.0 points, and a loss of 3.4 cannot be "
            "excluded; the margin is 3",
        ),
        (
            lost(2, 1.5),
            INCONCLUSIVE,
            "too few patients: the difference is -2.0 points, and a loss of 4.5 cannot be "
            "excluded; the margin is 3",
        ),
        (
            lost(2, 1),
            FAIL,
            "worse by 2 points (p 0.027), and a loss of 3.7 cannot be excluded; the margin is 3",
        ),
        (lost(5, 1), FAIL, "worse by 5 points; the margin is 3"),
        (lost(11.5, 40), FAIL, "worse by 11.5 points; the margin is 3"),  # however uncertain
        (lost(5, np.nan, "too few patients (1.4)"), FAIL, "worse by 5 points; the margin is 3"),
        (lost(2, np.nan, "too few patients (1.4)"), INCONCLUSIVE, "too few patients (1.4)"),
        (lost(np.nan, np.nan, "not defined"), INCONCLUSIVE, "not defined"),
    ],
)
def test_the_verdict_on_one_metric(
    difference: PairedDifference, verdict: Verdict, reason: str
) -> None:
    judged = judge_metric(difference, RULE, difference.p_loss(), LEVEL)
    assert (judged.verdict, judged.reason) == (verdict, reason)


def test_the_corrected_p_value_decides() -> None:
    assert judge_metric(lost(2, 1), RULE, 0.049, LEVEL).verdict == FAIL
    assert judge_metric(lost(2, 1), RULE, 0.051, LEVEL).verdict == INCONCLUSIVE
    assert judge_metric(lost(2, 1), RULE, np.nan, LEVEL).verdict == INCONCLUSIVE  # not asked
    assert judge_metric(lost(5, 1), RULE, np.nan, LEVEL).verdict == FAIL


@pytest.mark.parametrize("reason", ["", "not defined in 30 % of resamples"])
def test_a_broken_floor_fails_however_little_is_known(reason: str) -> None:
    judged = judge_metric(lost(0, 0.1, reason), MetricRule(margin=0.03, floor=0.96), 1.0, LEVEL)
    assert (judged.verdict, judged.reason) == (FAIL, "0.950 is below the floor 0.96")


def test_a_floor_is_kept_at_its_own_value_and_without_a_number() -> None:
    for value in (0.9, np.nan):
        assert not breaks_floor(value, 0.9)
    assert not breaks_floor(0.1, None)
    assert breaks_floor(0.1, 0.9)


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .04, times 4 3 2 1: .04 .06 .06 .04, and never less than the one before.
    p_values = {"a": 0.03, "b": 0.01, "c": 0.04, "d": 0.02}
    assert holm(p_values) == pytest.approx({"a": 0.06, "b": 0.04, "c": 0.06, "d": 0.06})
    assert list(holm(p_values)) == list(p_values)


def test_holm_ends_at_one_and_counts_what_is_not_known() -> None:
    assert holm({"a": 0.5, "b": 0.9}) == {"a": 1, "b": 1}
    corrected = holm({"a": np.nan, "b": 0.02})
    assert corrected["b"] == pytest.approx(0.04)
    assert np.isnan(corrected["a"])
    assert holm({}) == {}


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        ([PASS, PASS, PASS], PASS),
        ([PASS, INCONCLUSIVE, PASS], INCONCLUSIVE),
        ([PASS, FAIL, INCONCLUSIVE], FAIL),
        ([FAIL], FAIL),
        ([], INCONCLUSIVE),
    ],
)
def test_all_must_pass_and_one_can_fail(verdicts: list[Verdict], together: Verdict) -> None:
    assert overall(verdicts) == together
