"""The README's result tables, made from the metrics files that stand beside it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from malaria.changes import changed_from_recipe, shortened
from malaria.errors import MalariaError
from malaria.experiments import FOLDER
from malaria.page import records
from malaria.params.base import read_yaml
from malaria.params.study import REPO, flatten, load_study
from malaria.repeats import COUNTS, SERIES

START = "<!-- {name}: made by `uv run malaria results` -->"
END = "<!-- /{name} -->"
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
# Of the table of models, by split.
SHOWN = {
    "val": ["accuracy", "roc_auc"],
    "test": ["accuracy", "sensitivity", "specificity", "roc_auc", "mcc"],
}
MODEL_COLUMNS = [(split, metric) for split, metrics in SHOWN.items() for metric in metrics]
LEAKY = "leaky"  # the pilot's experiment on a cell split
# Where the code is, where runs are logged and what a gate lets pass are no part of a result.
NOT_CUT = (REPO, "gate.", "mlflow.")


def result_tables(root: Path) -> str:
    """Return Markdown: a row for each run and split, then what each run cut from the study.

    Metrics have their 95 % intervals by patient, where there are any.
    """
    lines = [
        "| run | split | " + " | ".join(COLUMNS.values()) + " |",
        "| --- | --- |" + " ---: |" * len(COLUMNS),
    ]
    cuts = []
    study = flatten(load_study(root / "params.yaml"))
    for run, folder in RUNS.items():
        params = flatten(load_study(root / folder / "params.yaml"))
        lines += _rows(run, root / folder / "reports", params)
        if folder != ".":
            cuts.append(_cut(run, params, study))
    return "\n".join([*lines, "", *cuts])


def model_table(root: Path) -> str:
    """Return Markdown: a row for each model trained on the pilot, then what each run cut.

    The rows are the pilot's own run and its experiments, the highest validation AUC first.
    """
    runs = [_read_run(root / "pilot", root / "pilot/reports")]
    runs += [
        _read_run(path, path)
        for path in sorted((root / "pilot" / FOLDER).glob("*/"))
        if path.name != LEAKY
    ]
    runs.sort(key=lambda run: -run.metrics["val"]["roc_auc"])
    heads = [f"{split} {COLUMNS[metric]}" for split, metric in MODEL_COLUMNS]
    rows = [
        [
            run.title,
            _number(run.resolved["parameters"]),
            *(_number(run.metrics[split][metric]) for split, metric in MODEL_COLUMNS),
        ]
        for run in runs
    ]
    lines = [_table(["model", "parameters", *heads], rows)]
    lines += ["", "What each run changed in its published recipe:", ""]
    lines += [
        f"- {run.title}: {', '.join(changed_from_recipe(run.resolved, run.epochs))}."
        for run in runs
    ]
    return "\n".join(lines)


def leaky_table(root: Path) -> str:
    """Return Markdown: the pilot's run beside its experiment on a cell split, and the gap."""
    experiment = root / "pilot" / FOLDER / LEAKY
    if not experiment.exists():
        return "Not run."
    runs = {
        "by patient": _read_run(root / "pilot", root / "pilot/reports"),
        "by cell (leaky)": _read_run(experiment, experiment),
    }
    rows = {
        name: [run.metrics[split][metric] for split, metric in MODEL_COLUMNS]
        for name, run in runs.items()
    }
    honest, leaky = rows.values()
    rows["gap"] = [theirs - ours for ours, theirs in zip(honest, leaky, strict=True)]
    heads = [f"{split} {COLUMNS[metric]}" for split, metric in MODEL_COLUMNS]
    return _table(
        ["cells are split", *heads],
        [[name, *map(_number, values)] for name, values in rows.items()],
    )


def series_table(root: Path) -> str:
    """Return Markdown: the test metrics of each run of the pilot's series, their mean and sd."""
    names = ["n_cells", "n_patients", *SHOWN["test"]]
    rows = [
        [row["experiment"], *("" if row[name] is None else _number(row[name]) for name in names)]
        for path in sorted((root / "pilot" / SERIES).glob("*.csv"))
        for row in records(pd.read_csv(path, dtype=dict.fromkeys(COUNTS, "Int64")))
    ]
    return _table(["run", *(COLUMNS[name] for name in names)], rows)


TABLES = {
    "results": result_tables,
    "leaky": leaky_table,
    "series": series_table,
    "models": model_table,
}


def write_results(root: Path) -> None:
    """Put the tables between their markers in README.md."""
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        before, rest = _around(text, name, readme)
        try:
            made = table(root)
        except FileNotFoundError as error:
            raise MalariaError(
                f"{error.filename} is missing; let `uv run dvc repro pilot/dvc.yaml` end, or bring "
                "it back from Git."
            ) from None
        text = f"{before}{START.format(name=name)}\n\n{made}\n\n{END.format(name=name)}{rest}"
    readme.write_text(text, encoding="utf-8")


def _around(text: str, name: str, readme: Path) -> tuple[str, str]:
    """Return what stands before the start and after the end of a table."""
    start, end = START.format(name=name), END.format(name=name)
    if text.count(start) != 1 or text.count(end) != 1:
        raise MalariaError(f"{readme} needs the lines {start} and {end} once each; add them.")
    before, rest = text.split(start)
    return before, rest.split(end)[1]


@dataclass(frozen=True)
class _Run:
    """A finished run: its params, what training made of them, and its metrics."""

    params: dict[str, Any]  # flattened
    resolved: dict[str, Any]
    epochs: int  # that were trained
    metrics: dict[str, dict[str, Any]]

    @property
    def title(self) -> str:
        leaky = " (leaky cell split)" if self.params["split.unit"] == "cell" else ""
        return f"`{self.params['train.model']}`{leaky}"


def _read_run(folder: Path, reports: Path) -> _Run:
    resolved = json.loads((reports / "train.json").read_text())
    history = (reports / "history.csv").read_text().splitlines()
    return _Run(
        # Not checked: a key that came later is no fault of an older experiment.
        params=flatten(read_yaml(folder / "params.yaml")),
        resolved=resolved,
        epochs=len(history) - 1,
        metrics=json.loads((reports / "metrics.json").read_text()),
    )


def _rows(run: str, reports: Path, params: dict[str, Any]) -> list[str]:
    if not (reports / "metrics.json").exists():
        return [f"| {run} | test | not run |" + " |" * (len(COLUMNS) - 1)]
    leaky = ", leaky cell split" if params["split.unit"] == "cell" else ""
    intervals = pd.read_csv(reports / "tables/intervals.csv").set_index(["split", "metric"])
    lines = []
    metrics = json.loads((reports / "metrics.json").read_text())
    for split in SHOWN:
        cells = [_number(metrics[split][name]) for name in COLUMNS]
        for column, name in enumerate(COLUMNS):
            if (split, name) in intervals.index:
                cells[column] += _interval(*intervals.loc[(split, name), ["low", "high"]])
        lines.append(f"| {run} | {split}{leaky} | {' | '.join(cells)} |")
    return lines


def _table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table, all but the first column of numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _interval(low: float, high: float) -> str:
    """Return the bounds in brackets; nothing where there are none."""
    return "" if pd.isna(low) else f" ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _cut(run: str, params: dict[str, Any], study: dict[str, Any]) -> str:
    changes = [
        f"`{key}` {shortened(params[key])} (study: {shortened(study[key])})"
        for key in params
        if params[key] != study[key] and not key.startswith(NOT_CUT)
    ]
    return f"What the {run} cut from the study: {'; '.join(changes)}."
