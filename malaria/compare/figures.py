"""The charts of a comparison: metrics, curves, patients and training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from malaria.compare.charts import Series, Span, line_chart, row_chart, widened
from malaria.compare.measure import Row, by_patient
from malaria.compare.side import EPOCH, Side
from malaria.evaluation.curves import compute_curves
from malaria.evaluation.names import name_of
from malaria.gate.predictions import Evaluated
from malaria.report.recipe_changes import shortened

CHARTED = 40  # patients
CORNER = 0.7  # where the curves of good models differ; the whole square shows one line
# The metrics that share an axis.
IN_POINTS = (
    "accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "f1",
    "mcc",
    "roc_auc",
    "pr_auc",
)


def differences(rows: Sequence[Row]) -> Markup | None:
    """Return the chart of two models' differences; None if none has an interval."""
    spans = []
    for row in rows:
        found = row.difference
        if row.metric in IN_POINTS and found and found.low is not None and found.high is not None:
            kind = {True: "better", False: "worse", None: ""}[row.is_better]
            low, value, high = (100 * one for one in (found.low, found.estimate, found.high))
            spans.append(
                Span(name_of(row.metric), f"{value:+.1f}", [(1, value)], (low, high), kind)
            )
    if not spans:
        return None
    x = widened([0, *(end for span in spans for end in span.line)])
    said = ", ".join(f"{span.label} {span.value}" for span in spans)
    return row_chart(spans, x, "B less A, points of 100", f"Differences of the metrics: {said}.")


def spread(rows: Sequence[Row]) -> Markup:
    """Return the chart of each metric's values over the models."""
    spans = []
    for row in rows:
        values = [value.estimate for value in row.values]
        if row.metric in IN_POINTS and np.isfinite(values).all():
            text = f"±{100 * np.std(values, ddof=1):.1f}"
            ends = (min(values), max(values))
            spans.append(Span(name_of(row.metric), text, list(enumerate(values)), ends))
    x = widened(value for span in spans for value in span.line)
    alt = "Each metric of each model; at the right, their standard deviation in points of 100."
    return row_chart(spans, x, "value", alt)


def curves(models: Sequence[Evaluated], names: Sequence[str]) -> Iterator[tuple[str, Markup]]:
    """Give a caption and a chart: ROC, precision-recall, calibration."""
    if any(model.cells["label"].nunique() < 2 for model in models):
        return  # no curve is defined
    found = [compute_curves(model.cells, model.threshold, 1.0) for model in models]
    of = f" of {', '.join(names)}."
    for table, x, y, title in (
        ("roc", "fpr", "tpr", "ROC curve"),
        ("pr", "recall", "precision", "Precision-recall curve"),
    ):
        axes = {"fpr": "1 - specificity", "tpr": "sensitivity"}
        lines = [list(one[table][[x, y]].itertuples(index=False, name=None)) for one in found]
        series = [Series(line, number) for number, line in enumerate(lines)]
        if table == "roc":
            series += [Series([_point(model)], number, True) for number, model in enumerate(models)]
        # Each curve passes through the corner, or its ends alone would be shown.
        is_corner = all(
            any((1 - a if x == "fpr" else a) > CORNER + 0.1 < b for a, b in line) for line in lines
        )
        ranges = ((0.0, 1.0), (0.0, 1.0))
        if is_corner:
            ranges = ((0.0, 1 - CORNER) if x == "fpr" else (CORNER, 1.0), (CORNER, 1.0))
        label = (axes.get(x, x), axes.get(y, y))
        caption = title + (", its corner." if is_corner else ".")
        if table == "roc":
            caption += " The marks are the models' own thresholds."
        chart = line_chart(
            series, *ranges, label, title + of, has_diagonal=table == "roc" and not is_corner
        )
        yield caption, chart
    series = [
        Series(list(one["calibration"].itertuples(index=False, name=None)), number, True)
        for number, one in enumerate(found)
    ]
    unit = (0.0, 1.0)
    names_of_axes = ("mean probability", "share parasitized")
    chart = line_chart(series, unit, unit, names_of_axes, "Calibration" + of, has_diagonal=True)
    yield "Calibration, in ten bins of equally many cells.", chart


def _point(model: Evaluated) -> tuple[float, float]:
    label = model.cells["label"].to_numpy()
    called = model.cells["probability"].to_numpy() >= model.threshold
    return float(called[label == 0].mean()), float(called[label == 1].mean())


def patients(models: Sequence[Evaluated]) -> dict[str, Any]:
    """Return the chart of the patients whose number of right calls changed, and all of them."""
    table = by_patient(models)
    columns = list(range(len(models)))
    share = table[columns].div(table["cells"], axis=0)
    table["change"] = share[columns[-1]] - share[0] if len(models) == 2 else share.mean(axis=1)
    differs = share.max(axis=1) > share.min(axis=1)
    changed = table[differs].sort_values(["change", "patient"], ignore_index=True)
    shown = changed
    if len(changed) > CHARTED:
        shown = pd.concat([changed.head(CHARTED // 2), changed.tail(CHARTED // 2)])
    spans = [_patient(row, len(models)) for row in shown.to_dict("records")]
    x = widened([value for span in spans for value in span.line] or [0, 100], least=1)
    alt = "Share of right calls of each patient by model, the same numbers as in the table below."
    return {
        "chart": row_chart(spans, (x[0], min(x[1], 101)), "right calls, %", alt) if spans else None,
        "better": int((changed["change"] > 0).sum()),
        "worse": int((changed["change"] < 0).sum()),
        "same": int((~differs).sum()),
        "left_out": len(changed) - len(shown),
        "rows": table.sort_values(["change", "patient"]).to_dict("records"),
        "columns": columns,
    }


def _patient(row: Mapping[Any, Any], models: int) -> Span:
    values = [100 * row[number] / row["cells"] for number in range(models)]
    change, kind = row[models - 1] - row[0], ""
    text = f"{change:+d}" if models == 2 else f"{max(values) - min(values):.0f} %"
    if models == 2:
        kind = "better" if change > 0 else "worse"
    label = f"{shortened(row['patient'])} ({row['cells']})"
    return Span(label, text, list(enumerate(values)), (min(values), max(values)), kind)


def learning_curves(sides: Sequence[Side], names: Sequence[str]) -> list[Markup]:
    """Return charts of loss and accuracy by epoch, of val and, of two sides, of train too."""
    charts = []
    for column in ("loss", "accuracy"):
        series = []
        for number, side in enumerate(sides):
            for key, is_train in ((f"val_{column}", False), (column, True)):
                if side.history is None or key not in side.history or (is_train and len(sides) > 2):
                    continue
                table = side.history[[EPOCH, key]].dropna()
                points = list(table.itertuples(index=False, name=None))
                if points:
                    series.append(Series(points, number, not is_train, is_train))
        if series:
            epochs, values = zip(*(point for one in series for point in one.points), strict=True)
            x = (min(epochs), max(max(epochs), min(epochs) + 1))
            alt = f"Learning curves: {column} of val cells by epoch, of {', '.join(names)}."
            charts.append(line_chart(series, x, widened(values), ("epoch", column), alt))
    return charts
