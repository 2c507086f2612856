"""What the page of a comparison shows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from malaria.compare.cells import flipped_cells
from malaria.compare.charts import legend
from malaria.compare.figures import curves, differences, learning_curves, patients, spread
from malaria.compare.measure import Overlap, Row, measure, on_common_cells
from malaria.compare.pictures import Local
from malaria.compare.side import Side
from malaria.core.table import LABELS
from malaria.errors import MalariaError
from malaria.evaluation.intervals import Interval
from malaria.gate.predictions import Evaluated
from malaria.pipeline.git import run_git
from malaria.prediction.params import EvaluateParams
from malaria.report.recipe_changes import shortened

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def gather(
    root: Path, sides: Sequence[Side], local: Local, params: EvaluateParams, has_maps: bool
) -> dict[str, Any]:
    """Return what the template shows.

    With `has_maps`, heat maps too, as far as the models are in `local`. Raises MalariaError if two
    models share no test cell.
    """
    names = letters(len(sides))
    named = list(zip(names, sides, strict=True))
    tested = [side.evaluated for side in sides if side.evaluated is not None]
    found: dict[str, Any] = {"rows": _written(sides)}
    if len(tested) == len(sides):
        found = _tested(sides, names, tested, local, params, has_maps)
    return {
        "sides": [(name, side, legend(number)) for number, (name, side) in enumerate(named)],
        "is_pair": len(sides) == 2,
        "labels": LABELS,
        "params": changed_params(sides),
        "code": changed_code(root, sides),
        "unknown_code": [name for name, side in named if not side.code],
        "without_predictions": [name for name, side in named if side.evaluated is None],
        "warnings": list(_warnings(named)),
        "learning": learning_curves(sides, names),
        "summary": _summary(found["rows"]) if len(sides) > 2 else None,
        "overlap": None,
        "chart": None,
        "curves": [],
        "patients": None,
        "cells": None,
        **found,
    }


def letters(count: int) -> list[str]:
    """Return the names of the sides: A, B, ..., Z, A2, ..."""
    turns = (divmod(number, len(LETTERS)) for number in range(count))
    return [f"{LETTERS[at]}{turn + 1 if turn else ''}" for turn, at in turns]


def changed_params(sides: Sequence[Side]) -> dict[str, list[str]]:
    """Return the params that differ: the value of each side, '-' where it has none."""
    keys = sorted({key for side in sides for key in side.params})
    differ = [key for key in keys if len({side.params.get(key) for side in sides}) > 1]
    return {key: [shortened(side.params.get(key, "-")) for side in sides] for key in differ}


def changed_code(root: Path, sides: Sequence[Side]) -> tuple[list[str], list[str]]:
    """Return the code by path that stages of two sides ran with another content.

    And the files that differ there, of two sides whose commits Git has.
    """
    known = [side.code for side in sides if side.code]
    paths = sorted({path for code in known for path in code})
    differ = [path for path in paths if len({code.get(path) for code in known}) > 1]
    commits = [side.source.commit for side in sides]
    if len(commits) != 2 or not all(commits):
        return differ, []
    listed = run_git(root, "diff", "--name-only", "-z", *commits, "--", *differ) if differ else b""
    return differ, [file for file in listed.decode(errors="replace").split("\0") if file]


def _tested(
    sides: Sequence[Side],
    names: Sequence[str],
    tested: Sequence[Evaluated],
    local: Local,
    params: EvaluateParams,
    has_maps: bool,
) -> dict[str, Any]:
    """Return what follows from the predictions of test cells."""
    models, overlap = on_common_cells(tested)
    count = len(models[0].cells)
    if not count and len(sides) == 2:
        raise MalariaError(
            f"{sides[0].source.name} and {sides[1].source.name} have no test cell in common (with "
            "the same label and patient), so they cannot be compared; train both on one split."
        )
    shown = models if count else tested
    rows = measure(shown, params.replicates, params.seed)
    return {
        "rows": rows,
        "chart": differences(rows) if len(sides) == 2 else spread(rows),
        "overlap": overlap if _differ(overlap) else None,
        "count": count,
        "patient_count": models[0].cells["patient"].nunique(),
        "curves": list(curves(shown, names)),
        "patients": patients(models) if count else None,
        "cells": flipped_cells(sides, names, models, local, has_maps) if count else None,
    }


def _differ(overlap: Overlap) -> bool:
    return overlap.relabelled > 0 or any(count != overlap.common for count in overlap.tested)


def _written(sides: Sequence[Side]) -> list[Row]:
    """Return the metrics that the files of all sides have, without intervals."""
    common = [name for name in sides[0].metrics if all(name in side.metrics for side in sides)]
    return [
        Row(name, tuple(Interval(side.metrics[name]) for side in sides), None) for name in common
    ]


def _summary(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of each metric over the models."""
    values = {row.metric: [value.estimate for value in row.values] for row in rows}
    return {name: (float(np.mean(one)), float(np.std(one, ddof=1))) for name, one in values.items()}


def _warnings(named: Sequence[tuple[str, Side]]) -> Iterator[str]:
    """Give what a reader must know before any number."""
    drawn = [n for n, side in named if any(k.startswith("fetch.synthetic.") for k in side.params)]
    if drawn:
        yield f"Synthetic cells, which say nothing about malaria: {', '.join(drawn)}."
    leaky = [name for name, side in named if side.params.get("split.unit") == "cell"]
    if leaky:
        yield (
            f"Leaky: cells of a patient are in several splits of {', '.join(leaky)}, so the "
            "numbers are too good for patients that the model has not seen."
        )
