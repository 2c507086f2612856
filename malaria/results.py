"""The README's result table, made from the metrics files that stand beside it."""

import json
from pathlib import Path
from typing import Any

from malaria.errors import MalariaError
from malaria.params.study import REPO, flatten, load_study

START = "<!-- results: made by `uv run malaria results` -->"
END = "<!-- /results -->"
RUNS = {"study": ".", "pilot": "pilot"}
COLUMNS = {
    "n_cells": "cells",
    "n_patients": "patients",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "roc_auc": "ROC AUC",
    "mcc": "MCC",
    "brier": "Brier",
}
# Where the code is, and where runs are logged, is no part of a result.
NOT_CUT = (REPO, "mlflow.")


def result_tables(root: Path) -> str:
    """Return Markdown: one row for each run and split, then what each run cut from the study."""
    lines = [
        "| run | split | " + " | ".join(COLUMNS.values()) + " |",
        "| --- | --- |" + " ---: |" * len(COLUMNS),
    ]
    cuts = []
    study = flatten(load_study(root / "params.yaml"))
    for run, folder in RUNS.items():
        params = flatten(load_study(root / folder / "params.yaml"))
        lines += _rows(run, root / folder / "reports/metrics.json", params)
        if folder != ".":
            cuts.append(_cut(run, params, study))
    return "\n".join([*lines, "", *cuts])


def write_results(root: Path) -> None:
    """Put the tables between their markers in README.md."""
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    if text.count(START) != 1 or text.count(END) != 1:
        raise MalariaError(f"{readme} needs the lines {START} and {END} once each; add them.")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{START}\n\n{result_tables(root)}\n\n{END}{after}", encoding="utf-8")


def _rows(run: str, path: Path, params: dict[str, Any]) -> list[str]:
    if not path.exists():
        return [f"| {run} | test | not run |" + " |" * (len(COLUMNS) - 1)]
    leaky = ", leaky cell split" if params["split.unit"] == "cell" else ""
    return [
        f"| {run} | {split}{leaky} | "
        + " | ".join(_number(values[name]) for name in COLUMNS)
        + " |"
        for split, values in json.loads(path.read_text()).items()
    ]


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _cut(run: str, params: dict[str, Any], study: dict[str, Any]) -> str:
    changes = [
        f"`{key}` {_value(params[key])} (study: {_value(study[key])})"
        for key in params
        if params[key] != study[key] and not key.startswith(NOT_CUT)
    ]
    return f"What the {run} cut from the study: {'; '.join(changes)}."


def _value(value: object) -> str:
    text = str(value)
    return f"{text[:15]}…" if len(text) > 60 else text
