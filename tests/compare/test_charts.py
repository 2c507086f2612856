"""Charts: valid SVG, round ticks, foreign text as text."""

from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from malaria.compare.charts import Series, Span, legend, line_chart, row_chart, ticks, widened

HOSTILE = '"><script>alert(1)</script>'


def parsed(chart: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(str(chart))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.7, 1, [0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1]),
        (-4.1, 2.2, [-4, -2, 0, 2]),
        (1, 2, [1, 1.2, 1.4, 1.6, 1.8, 2]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_a_range_has_all_finite_values() -> None:
    low, high = widened([1, 3, float("nan")])
    assert low < 1 < 3 < high
    assert widened([2, 2])[0] < 2 < widened([2, 2])[1]
    assert widened([float("nan")]) == pytest.approx((-0.06, 1.06))


def test_a_line_chart_has_its_lines_marks_and_alt_text() -> None:
    series = [Series([(0, 0), (0.5, float("nan")), (1, 1)], 0), Series([(0.2, 0.9)], 1)]
    chart = parsed(line_chart(series, (0, 1), (0, 1), ("x", HOSTILE), HOSTILE))
    assert chart.attrib["aria-label"] == HOSTILE
    assert chart.attrib["role"] == "img"
    assert not list(chart.iter("script"))
    paths = [part.attrib for part in chart.iter("path")]
    (line, _) = [part for part in paths if part["class"].startswith("line")]
    assert line["d"].count("L") == 1  # what is not defined is left out
    assert [part["class"] for part in paths if part["class"].startswith("mark")] == ["mark s1"]


def test_a_row_chart_has_a_row_for_each_span() -> None:
    spans = [Span(HOSTILE, "-3", [(0, 90), (1, 80)], (80, 90), "worse"), Span("b", "", [], (1, 2))]
    chart = parsed(row_chart(spans, (0, 100), "%", "alt"))
    texts = [part.text for part in chart.iter("text")]
    assert {HOSTILE, "-3", "b", "%"} <= set(texts)
    assert sum(part.attrib["class"].startswith("span") for part in chart.iter("path")) == 2


def test_models_have_their_own_marks_and_dashes() -> None:
    assert len({str(legend(number)) for number in range(8)}) == 8
    assert parsed(legend(9)) is not None
