"""The comment: what it says, that it is found again, and that no text breaks out of it."""

import re

import pytest

from malaria.gate import Judgement, judge
from malaria.gate_comment import bar, code, comment, marker, points
from malaria.params.gate import BaselineReset
from malaria.revisions import ParamChange
from tests.test_gate import BASE, PARAMS, RESET, cells, evaluated, judged

NASTY = "`@everyone` | <img src=x onerror=alert(1)>\n\n# big [a](http://b) --> <!-- \u202e&amp;"


def lines_of(judgement: Judgement) -> list[str]:
    return comment(judgement, "pilot").splitlines()


def test_it_starts_with_the_marker_and_then_the_verdict() -> None:
    lines = lines_of(judged(cells(), cells()))
    assert lines[0] == "<!-- malaria-gate: pilot -->" == marker("pilot")
    assert lines[1] == "## PASS: not worse than the base by more than the margins"
    assert lines[3] == "Gate of <code>pilot</code>: 800 test cells of 20 patients."


def test_each_metric_has_a_line_with_difference_margin_bar_and_verdict() -> None:
    head = cells(loss=1.5)
    judgement = judged(head, cells())
    text = comment(judgement, "pilot")
    found = judgement.against["base"].metrics["sensitivity"].difference  # type: ignore[union-attr]
    low, high = found.interval(0.9)  # its ends are the one-sided 95 % bounds
    assert low == pytest.approx(found.at_least(0.95))
    cut = f"{points(found.difference)} ({points(low)} to {points(high)})"
    start = f"| sensitivity | {found.base:.3f} | {found.head:.3f} | {cut} | 5.0 | `"
    assert start in text
    assert len(re.findall(r"^\| .*` \| (PASS|FAIL|INCONCLUSIVE) \|$", text, re.MULTILINE)) == 3
    assert "- sensitivity against the base: worse, and a loss beyond 0.05 cannot be" in text


def test_slices_that_got_worse_are_told_as_exploratory() -> None:
    text = comment(judged(cells(loss=1.5), cells()), "pilot")
    assert "of 13 looked at, so some are chance; they decide nothing" in text
    assert re.search(r"^- infected patients \(13\): sensitivity -\d+\.\d points$", text, re.M)
    assert "Exploratory" not in comment(judged(cells(), cells()), "pilot")


def test_what_is_not_comparable_has_counts_and_no_difference() -> None:
    text = comment(judged(cells(30), cells()), "pilot")
    assert "## NOT COMPARABLE: base and head were not tested on the same cells" in text
    assert "800 cells of 20 patients" in text
    assert "difference, points" not in text
    assert "| sensitivity | 0.9" in text


def test_a_base_that_was_evaluated_anew_is_told() -> None:
    anew = cells()
    anew = anew[anew["patient"] != "C1"]
    others = {"base": evaluated(cells(12))}
    judgement = judge(evaluated(cells()), others, PARAMS, BASE, lambda *_: evaluated(anew))
    text = comment(judgement, "pilot")
    assert "## PASS" in text
    assert "The base was tested on other cells (320 in both test splits)" in text
    assert "the 760 test cells here of 19 patients that it was neither trained nor chosen" in text


def test_a_first_run_shows_the_heads_own_numbers() -> None:
    text = comment(judged(cells(), None), "pilot")
    assert "## FIRST RUN: there is no base to compare with" in text
    assert "| ROC AUC | 0.9" in text


def test_the_reference_has_a_table_of_its_own() -> None:
    others = {name: evaluated(cells()) for name in ("base", "reference")}
    text = comment(judge(evaluated(cells()), others, PARAMS, BASE), "pilot")
    assert "### Against the base" in text
    assert "### Against the reference" in text


def test_changed_params_and_uses_and_the_run_are_there_when_they_are_known() -> None:
    judgement = judged(cells(), cells())
    changed = [ParamChange("train.epochs", "5", "6"), ParamChange("b", None, "1")]
    run = "https://host/#/experiments/1/runs/2?a=b"
    text = comment(judgement, "pilot", changed, 7, "https://raw/o/r/sha", run)
    assert "| <code>b</code> | - | <code>1</code> |" in text
    assert "![evaluation](<https://raw/o/r/sha/pilot/reports/evaluation.png>)" in text
    row = "| <code>train&#46;epochs</code> | <code>5</code> | <code>6</code> |"
    assert row in text
    assert f"This test split (`{judgement.fingerprint[:8]}`) has decided 7 times before" in text
    assert "[The run in MLflow](<https://host/#/experiments/1/runs/2?a=b>)" in text
    bare = comment(judgement, "pilot")
    assert not re.search(r"Changed params|has decided|!\[|MLflow", bare)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://a>\n@all", "https://a b", ""])
def test_what_is_no_web_address_is_no_link(url: str) -> None:
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
    assert text.count("<!--") == text.count("-->") == 1
    assert "@" not in text
    assert "<img" not in text
    assert "\u202e" not in text
    assert not re.search(r"^# ", text, re.MULTILINE)
    for line in text.splitlines():
        if line.startswith("| <code>"):
            assert line.count("|") == 4


def test_foreign_text_is_code_without_marks() -> None:
    assert code("a_b") == "<code>a&#95;b</code>"
    assert code("<@x>`|\n*") == "<code>&#60;&#64;x&#62;&#96;&#124; &#42;</code>"
    assert code("Größe 5") == "<code>Größe 5</code>"


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("pilot", "<!-- malaria-gate: pilot -->"),
        (".", "<!-- malaria-gate: . -->"),
        ("a --> b", "<!-- malaria-gate: a%20--%3E%20b -->"),
    ],
)
def test_the_marker_is_one_comment_whatever_the_folder(folder: str, line: str) -> None:
    assert marker(folder) == line


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
