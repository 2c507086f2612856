"""The comment: what it says, and that no text breaks out of it."""

import re

import pandas as pd
import pytest

from malaria.gate.comment import bar, code, comment, points
from malaria.gate.judgement import Judgement
from malaria.gate.params import BaselineReset
from malaria.pipeline.git import ParamChange
from tests.gate.test_judge import (
    BASE,
    REASON,
    RESET,
    cells,
    compared,
    evaluated,
    judged,
)
from tests.gate.test_losses import without_sensitivity_on

NASTY = "`@everyone` | <img src=x onerror=alert(1)>\n\n# big [a](http://b) --> <!-- \u202e&amp;"


def test_it_starts_with_the_verdict_and_has_a_line_per_metric() -> None:
    lines = comment(judged(cells(), cells()), "pilot").splitlines()
    assert lines[0] == "## PASS: not worse than the base by more than the margins"
    assert lines[2] == "Gate of <code>pilot</code>: 800 test cells of 20 patients."
    judgement = judged(cells(loss=1.5), cells())
    text = comment(judgement, "pilot")
    found = compared(judgement).metrics["sensitivity"].difference
    low, high = found.interval(0.9)  # its ends are the one-sided 95 % bounds
    assert low == pytest.approx(found.at_least(0.95))
    cut = f"{points(found.difference)} ({points(low)} to {points(high)})"
    p = judgement_p(judgement)
    assert f"| sensitivity | {found.base:.3f} | {found.head:.3f} | {cut} | 5.0 | {p} | `" in text
    assert len(re.findall(r"^\| .*` \| (PASS|FAIL|INCONCLUSIVE) \|$", text, re.MULTILINE)) == 3
    lost = f"{100 * -found.difference:.1f}".replace(".", "&#46;")
    assert f"- sensitivity against the base&#58; worse by {lost} points&#59; the" in text
    assert "is\nbelow 0.05, corrected by Holm for all losses that are tested. Each model" in text


def judgement_p(judgement: Judgement) -> str:
    return f"{compared(judgement).metrics['sensitivity'].p_corrected:.2g}"


def test_a_reference_that_was_chosen_has_no_p() -> None:
    text = comment(judged(cells(), cells(), accepted=lambda _: [evaluated(cells(loss=0.1))]), "p")
    _, reference = text.split("### Against the reference")
    assert re.search(r"^\| sensitivity \| .* \| 5\.0 \| - \| `", reference, re.MULTILINE)
    assert (
        "this is the one to which the\nhead loses most, so no p is given. Each model" in reference
    )


def test_collapsed_patients_are_listed() -> None:
    text = comment(judged(without_sensitivity_on("C4"), cells()), "pilot")
    assert "Patients whose cells collapsed, more than 30 points down by" in text
    assert re.search(
        r"^- <code>C4</code>: \d+\.\d points of sensitivity lost on 23 cells", text, re.M
    )


def test_slices_that_got_worse_are_exploratory() -> None:
    text = comment(judged(cells(loss=1.5), cells()), "pilot")
    assert "of the 13 slices got worse. Some do by chance, and they decide nothing." in text
    assert re.search(r"^- infected patients \(13\): sensitivity -\d+\.\d points$", text, re.M)
    assert "Exploratory" not in comment(judged(cells(), cells()), "pilot")


def without_c1() -> pd.DataFrame:
    return cells().query("patient != 'C1'")


@pytest.mark.parametrize(
    ("judgement", "said"),
    [
        (
            judged(cells(30), cells()),
            [
                "## NOT COMPARABLE: base and head were not tested on the same cells",
                "have 800 cells of 20 patients in common, 0 of\nthem with another label",
                "| metric | head |\n| --- | ---: |\n| sensitivity | 0.9",
            ],
        ),
        (
            judged(cells(), cells(12), evaluate_base=lambda *_: evaluated(without_c1())),
            [
                "## PASS",
                "The base was tested on other cells (320 are in both test splits)",
                "on the 760 test cells here of the 19 patients that it was neither trained nor",
            ],
        ),
        (
            judged(cells(), cells()[:-161], RESET),
            [
                "## RESET: by a reviewed decision, the yardstick is another than the base's",
                f"- {REASON}",
                "The base was tested on other cells, but nearly all are the same: 799 cells of 20",
                "Of the rest, 0 have another label or patient, 0 only the base has, 1 only the",
            ],
        ),
        (
            judged(cells(), None),
            ["## FIRST RUN: there is no base to compare with", "| ROC AUC | 0.9"],
        ),
        (
            judged(cells(), cells(), reference=cells(noise=0.1)),
            ["### Against the base", "### Against the reference"],
        ),
    ],
    ids=[
        "other cells",
        "base evaluated on the new cells",
        "nearly the same",
        "first run",
        "reference",
    ],
)
def test_what_was_compared_is_described(judgement: Judgement, said: list[str]) -> None:
    text = comment(judgement, "pilot")
    for part in said:
        assert part in text


def test_changed_params_uses_and_the_run_are_shown_if_known() -> None:
    judgement = judged(cells(), cells())
    changed = [ParamChange("train.epochs", "5", "6"), ParamChange("b", None, "1")]
    run = "https://host/#/experiments/1/runs/2?a=b"
    text = comment(judgement, "pilot", changed, 7, "https://raw/o/r/sha", run)
    assert "| <code>b</code> | - | <code>1</code> |" in text
    assert "![" not in text  # a picture under the bot's name could show any verdict
    assert "- [evaluation](<https://raw/o/r/sha/pilot/reports/figures/evaluation.png>)" in text
    assert "| <code>train&#46;epochs</code> | <code>5</code> | <code>6</code> |" in text
    assert f"This test split (`{judgement.fingerprint[:8]}`) has decided 7 times before" in text
    assert "[The run in MLflow](<https://host/#/experiments/1/runs/2?a=b>)" in text
    bare = comment(judgement, "pilot")
    assert not re.search(r"Changed params|has decided|!\[|MLflow", bare)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://a>\n@all", "https://a b", ""])
def test_only_a_web_address_becomes_a_link(url: str) -> None:
    text = comment(judged(cells(), cells()), "pilot", pictures=url, mlflow_url=url)
    assert not re.search(r"!\[|MLflow", text)


def test_many_changed_params_are_cut() -> None:
    added = [ParamChange(f"key{number}", None, "1") for number in range(40)]
    text = comment(judged(cells(), cells()), "pilot", added)
    assert text.count("| <code>key") == 30
    assert "Changed params (40)" in text
    assert "And 10 more." in text


def test_no_foreign_text_breaks_out() -> None:
    params = RESET.model_copy(update={"baseline_reset": BaselineReset(commit=BASE, reason=NASTY)})
    changed = [ParamChange(NASTY, NASTY, "1")]
    text = comment(judged(cells(), cells(), params), NASTY, changed, 1, NASTY, NASTY)
    for mark in ("<!--", "-->", "@", "<img", "\u202e"):
        assert mark not in text
    assert not re.search(r"^# ", text, re.MULTILINE)
    for line in text.splitlines():
        if line.startswith("| <code>"):
            assert line.count("|") == 4


def test_foreign_text_is_code_without_marks() -> None:
    assert code("a_b") == "<code>a&#95;b</code>"
    assert code("<@x>`|\n*") == "<code>&#60;&#64;x&#62;&#96;&#124; &#42;</code>"
    assert code("Größe 5") == "<code>Größe 5</code>"


def test_points_have_a_sign() -> None:
    values = (-0.0213, 0.004, -0.0001, -0.0, float("nan"))
    assert [points(value) for value in values] == ["-2.1", "+0.4", "+0.0", "+0.0", "-"]


@pytest.mark.parametrize(
    ("difference", "low", "high", "line"),
    [
        (0, -0.03, 0.03, "······┊━━━━━●━━━━━━······"),
        (-0.03, -0.045, -0.015, "···━━━●━━━··│············"),
        (0.01, 0.005, 0.02, "······┊·····│━●━━········"),
        (-0.08, -0.12, 0.08, "●━━━━━┊━━━━━│━━━━━━━━━━━▶"),
        (-0.03, -0.12, 0.0, "◀━━━━━●━━━━━│············"),
        (0, float("nan"), float("nan"), ""),
    ],
)
def test_the_bar_is_drawn_from_minus_two_to_two_margins(
    difference: float, low: float, high: float, line: str
) -> None:
    assert bar(difference, low, high, margin=0.03) == line
