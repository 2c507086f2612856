"""Losses: accepted by a reviewed word, added up over merges, of one patient, in a slice."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from malaria.evaluation.metrics import compute_metrics
from malaria.gate.judgement import Outcome
from malaria.gate.params import CAN_BE_GATED, AcceptLoss, MetricRule
from malaria.gate.predictions import Evaluated
from tests.gate.test_judge import BASE, OTHER, PARAMS, REASON, cells, compared, evaluated, judged

ACCEPT = PARAMS.model_copy(update={"accept_loss": AcceptLoss(commit=BASE, reason=REASON)})

# Losses that are accepted, and the reference


def test_a_loss_is_accepted_by_its_own_word_for_one_base_alone() -> None:
    head, base = cells(loss=1.5), cells()
    found = judged(head, base, ACCEPT)
    assert (found.outcome, found.exit_code) == (Outcome.LOSS_ACCEPTED, 0)
    assert found.reasons[:2] == [REASON, judged(head, base).reasons[0]]
    assert judged(head, base, ACCEPT, base_commit=OTHER).outcome == Outcome.FAIL
    assert judged(base, base, ACCEPT).outcome == Outcome.PASS  # there is nothing to accept
    floors = {metric: MetricRule(margin=0.05, floor=0.99) for metric in CAN_BE_GATED}
    held = judged(head, base, ACCEPT.model_copy(update={"metrics": floors}))
    assert held.outcome == Outcome.FAIL


def test_what_a_person_must_decide_is_decided_by_that_word_too() -> None:
    strict = dict.fromkeys(CAN_BE_GATED, MetricRule(margin=0.01, floor=1e-9))
    head, base = cells(noise=0.3, seed=2), cells(noise=0.3, seed=3)
    assert judged(head, base, PARAMS.model_copy(update={"metrics": strict})).exit_code == 3
    found = judged(head, base, ACCEPT.model_copy(update={"metrics": strict}))
    assert (found.outcome, found.exit_code) == (Outcome.LOSS_ACCEPTED, 0)


def test_the_reference_speaks_though_a_loss_is_accepted() -> None:
    head, base = cells(loss=1.5), cells(loss=0.7)
    for options in (
        {"reference": cells()},
        {"accepted": lambda head: [evaluated(base), evaluated(cells())]},
    ):
        found = judged(head, base, ACCEPT, **options)
        assert (found.outcome, found.exit_code) == (Outcome.FAIL, 1)
        assert any("against the reference: worse by" in reason for reason in found.reasons)
        assert "by the tag gate-reference on the base" in found.reasons[-1]


def test_small_losses_that_add_up_are_seen_without_a_tag() -> None:
    steps = [cells(loss=0.2 * step) for step in range(6)]
    for number in range(1, 6):
        assert judged(steps[number], steps[number - 1]).outcome == Outcome.PASS
    outcomes = [
        judged(
            steps[number],
            steps[number - 1],
            accepted=lambda _, last=number: map(evaluated, steps[:last]),
        ).outcome
        for number in range(1, 6)
    ]
    first = outcomes.index(Outcome.FAIL)
    assert set(outcomes[:first]) == {Outcome.PASS}
    assert set(outcomes[first:]) == {Outcome.FAIL}


def test_the_reference_is_the_accepted_result_to_which_the_head_loses_most() -> None:
    asked = []

    def accepted(head: Evaluated) -> list[Evaluated]:
        asked.append(head)
        return [evaluated(cells(loss=0.3)), evaluated(cells()), evaluated(cells(loss=0.2))]

    found = judged(cells(loss=0.4), cells(loss=0.4), accepted=accepted)
    assert asked == [evaluated(cells(loss=0.4))]
    other = compared(found, "reference")
    assert other.is_chosen
    best = compute_metrics(cells().query("split == 'test'"), 0.5)["sensitivity"]
    assert other.metrics["sensitivity"].difference.base == pytest.approx(best, abs=1e-6)
    assert np.isnan(other.metrics["sensitivity"].p_corrected)
    # A tag counts instead, a result that is the base's is not compared again.
    assert (
        "reference" not in judged(cells(), cells(), accepted=lambda _: [evaluated(cells())]).against
    )
    tagged = judged(cells(), cells(), reference=cells(loss=0.1), accepted=pytest.fail)
    assert not compared(tagged, "reference").is_chosen


# Single patients and slices


def rescored(frame: pd.DataFrame, chosen: "pd.Series[bool]", by: float) -> pd.DataFrame:
    """Return predictions with other logits of some cells."""
    logit = frame["logit"].where(~chosen, frame["logit"] + by).round(6)
    return frame.assign(logit=logit, probability=expit(logit).round(6))


def without_sensitivity_on(patient: str) -> pd.DataFrame:
    """Return predictions that miss every parasitized cell of a patient."""
    head = cells()
    return rescored(head, (head["patient"] == patient) & (head["label"] == 1), -12)


def with_one_large_patient() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a base, and a head that misses every parasite of the largest patient."""
    base, head = cells(), without_sensitivity_on("C1")
    again = [
        frame[frame["patient"] == "C1"].assign(cell_id=lambda rows, n=n: rows["cell_id"] + f"_{n}")
        for frame in (base, head)
        for n in range(12)
    ]
    return pd.concat([base, *again[:12]]), pd.concat([head, *again[12:]])


def test_the_largest_patients_collapse_fails_however_wide_the_interval() -> None:
    base, head = with_one_large_patient()
    found = judged(head, base)
    assert (found.outcome, found.exit_code) == (Outcome.FAIL, 1)
    sensitivity = compared(found).metrics["sensitivity"]
    assert sensitivity.p_corrected > 0.05  # by patients it is not significant
    assert re.match(r"sensitivity against the base: worse by \d+\.\d points; the", found.reasons[0])
    assert any(reason.startswith("patient C1 collapsed") for reason in found.reasons)


def test_a_small_patients_collapse_is_found_within_the_margins() -> None:
    params = PARAMS.model_copy(
        update={"metrics": dict.fromkeys(CAN_BE_GATED, MetricRule(margin=0.25, floor=1e-9))}
    )
    found = judged(without_sensitivity_on("C4"), cells(), params)
    assert {one.verdict for one in compared(found).metrics.values()} == {"pass"}
    assert (found.outcome, found.exit_code) == (Outcome.FAIL, 1)
    (lost,) = compared(found).collapsed
    assert (lost.patient, lost.metric, lost.won) == ("C4", "sensitivity", 0)
    assert found.reasons == [
        f"patient C4 collapsed against the base: {100 * lost.loss:.1f} points of sensitivity lost "
        f"on {lost.cells} cells (p {lost.p_corrected:.2g})"
    ]
    content = json.loads(found.to_json())["against"]["base"]["collapsed_patients"]
    assert content[0]["patient"] == "C4"
    assert (
        judged(
            without_sensitivity_on("C4"),
            cells(),
            params.model_copy(update={"accept_loss": ACCEPT.accept_loss}),
        ).outcome
        == Outcome.LOSS_ACCEPTED
    )


def test_a_slice_has_a_floor_of_its_own() -> None:
    params = PARAMS.model_copy(update={"slices": {"healthy": {"specificity": 0.95}}})
    healthy = cells()["patient"].isin([f"C{number}" for number in range(0, 24, 3)])
    head = rescored(cells(), healthy, 1.2)
    for base in (None, head):
        found = judged(head, base, params)
        assert (found.outcome, len(found.reasons)) == (Outcome.FAIL, 1)
        assert re.fullmatch(
            r"specificity of healthy patients 0\.\d{3} is below the floor 0\.95", found.reasons[0]
        )
    assert judged(cells(), cells(), params).outcome == Outcome.PASS


def test_many_collapsed_patients_are_counted() -> None:
    base = cells(60)
    found = judged(rescored(base, base["label"] == 1, -12), base)
    assert len(compared(found).collapsed) == 37
    told = [reason for reason in found.reasons if "collapsed" in reason]
    assert len(told) == 6
    assert told[-1] == "32 more patients collapsed against the base"
    content = json.loads(found.to_json())["against"]["base"]
    assert (content["collapsed"], len(content["collapsed_patients"])) == (37, 37)
