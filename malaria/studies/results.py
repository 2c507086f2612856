"""The result tables of README.md and docs/results.md, from the committed metrics files."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from malaria import paths
from malaria.core.files import write_file
from malaria.core.params import flatten
from malaria.core.yaml_files import read_yaml
from malaria.errors import MalariaError
from malaria.evaluation.names import name_of
from malaria.params import load_study
from malaria.report.page import number, records
from malaria.report.recipe_changes import changed_from_recipe, shortened
from malaria.studies.repeats import COUNTS

START = "<!-- {name}: made by `uv run malaria results` -->"
END = "<!-- /{name} -->"
RUNS = {"study": ".", "pilot": "pilot"}
PILOT = "pilot"
LEAKY = "leaky"  # the pilot's experiment on a cell split
METRICS = ("accuracy", "sensitivity", "specificity", "roc_auc", "mcc", "brier")
COLUMNS = {"n_cells": "cells", "n_patients": "patients"} | {name: name_of(name) for name in METRICS}
# The metrics by split in the tables without intervals.
SHOWN = {
    "val": ["accuracy", "roc_auc"],
    "test": ["accuracy", "sensitivity", "specificity", "roc_auc", "mcc"],
}
PAIRS = [(split, metric) for split, metrics in SHOWN.items() for metric in metrics]
HEADS = [f"{split} {COLUMNS[metric]}" for split, metric in PAIRS]
# Where runs are logged and what a gate lets pass do not change a result.
NOT_CUT = ("gate.", "mlflow.")


def result_table(root: Path) -> str:
    """Return a row per split of the runs that have results, with 95 % intervals by patient."""
    rows = []
    for name, folder in RUNS.items():
        if not (root / folder / paths.METRICS).exists():
            continue
        run = _read_run(root / folder)
        table = pd.read_csv(root / folder / paths.TABLES / "intervals.csv").dropna(subset=["low"])
        intervals = {
            (row.split, row.metric): f" ({number(row.low)} to {number(row.high)})"
            for row in table.itertuples()
        }
        for split in SHOWN:
            cells = [
                number(run.metrics[split][metric]) + intervals.get((split, metric), "")
                for metric in COLUMNS
            ]
            rows.append([name, f"{split}{run.leaky}", *cells])
    return _table(["run", "split", *COLUMNS.values()], rows, texts=2)


def cuts(root: Path) -> str:
    """Return the params of the pilot that differ from the study's."""
    study, pilot = (flatten(load_study(root / folder / paths.PARAMS)) for folder in (".", PILOT))
    return "\n".join(
        f"- `{key}`: {shortened(value)} (study: {shortened(study.get(key))})"
        for key, value in pilot.items()
        if value != study.get(key) and not key.startswith(NOT_CUT)
    )


def model_table(root: Path) -> str:
    """Return a row per model trained on the pilot, then what each changed in its recipe.

    The rows are the pilot's own run and its experiments, the highest validation AUC first.
    """
    experiments = sorted((root / PILOT / paths.EXPERIMENTS).glob("*/"))
    folders = [root / PILOT, *(path for path in experiments if path.name != LEAKY)]
    runs = sorted(map(_read_run, folders), key=lambda run: -run.metrics["val"]["roc_auc"])
    rows = [[run.title, number(run.trained["parameters"]), *run.shown()] for run in runs]
    changes = "\n".join(
        f"- {run.title}: {', '.join(changed_from_recipe(run.trained, run.epochs))}." for run in runs
    )
    table = _table(["model", "parameters", *HEADS], rows)
    return f"{table}\n\nWhat each run changed in its published recipe:\n\n{changes}"


def leaky_table(root: Path) -> str:
    """Return the pilot's run next to its experiment on a cell split, and the gap."""
    experiment = root / PILOT / paths.EXPERIMENTS / LEAKY
    if not experiment.exists():
        return "Not run."
    honest, leaky = _read_run(root / PILOT), _read_run(experiment)
    gaps = [leaky.metrics[split][name] - honest.metrics[split][name] for split, name in PAIRS]
    rows = [
        ["by patient", *honest.shown()],
        ["by cell (leaky)", *leaky.shown()],
        ["gap", *map(number, gaps)],
    ]
    return _table(["cells are split", *HEADS], rows)


def series_table(root: Path) -> str:
    """Return the test metrics of each run of the pilot's series, their mean and sd."""
    names = ["n_cells", "n_patients", *SHOWN["test"]]
    rows = [
        [row["experiment"], *("" if row[name] is None else number(row[name]) for name in names)]
        for path in sorted((root / PILOT / paths.SERIES).glob("*.csv"))
        for row in records(pd.read_csv(path, dtype=dict.fromkeys(COUNTS, "Int64")))
    ]
    return _table(["run", *(COLUMNS[name] for name in names)], rows)


# By file and the name in its markers there.
TABLES: dict[tuple[str, str], Callable[[Path], str]] = {
    ("README.md", "results"): result_table,
    ("docs/results.md", "cuts"): cuts,
    ("docs/results.md", "leaky"): leaky_table,
    ("docs/results.md", "series"): series_table,
    ("docs/results.md", "models"): model_table,
}


def write_results(root: Path) -> dict[str, bool]:
    """Write each table between its markers; return whether that changed each file.

    If one of them cannot be made, no file changes. Raises MalariaError for a missing marker and
    for results that are not there.
    """
    texts: dict[Path, str] = {}
    for (file, name), table in TABLES.items():
        path, start, end = root / file, START.format(name=name), END.format(name=name)
        text = texts.get(path) or path.read_text(encoding="utf-8")
        if text.count(start) != 1 or text.count(end) != 1:
            raise MalariaError(f"{path} needs the lines {start} and {end} once each; add them.")
        try:
            made = table(root)
        except FileNotFoundError as error:
            raise MalariaError(
                f"{error.filename} is missing; run `{paths.dvc(PILOT, 'repro')}` to its end, or "
                "bring the file back from Git."
            ) from None
        before, after = text.split(start)[0], text.split(end)[1]
        texts[path] = f"{before}{start}\n\n{made}\n\n{end}{after}"
    changed = {}
    for path, text in texts.items():
        changed[path.relative_to(root).as_posix()] = path.read_text(encoding="utf-8") != text
        write_file(path, text)
    return changed


def between(text: str, name: str) -> str:
    """Return the text between the markers of a table."""
    return text.split(START.format(name=name))[1].split(END.format(name=name))[0].strip()


@dataclass(frozen=True)
class _Run:
    """A finished run."""

    params: dict[str, Any]  # by dotted key
    trained: dict[str, Any]  # the content of train.json
    epochs: int  # that were trained
    metrics: dict[str, dict[str, Any]]

    @property
    def leaky(self) -> str:
        return " (leaky cell split)" if self.params["split.unit"] == "cell" else ""

    @property
    def title(self) -> str:
        return f"`{self.params['train.model']}`{self.leaky}"

    def shown(self) -> list[str]:
        """Return the metrics of the tables without intervals."""
        return [number(self.metrics[split][metric]) for split, metric in PAIRS]


def _read_run(folder: Path) -> _Run:
    """Return the run of a pipeline's folder, or of an experiment's, which has its reports too."""
    reports = folder / paths.REPORTS
    reports = reports if reports.exists() else folder
    return _Run(
        # Not checked: an older experiment may lack a key that was added later.
        params=flatten(read_yaml(folder / paths.PARAMS)),
        trained=json.loads((reports / Path(paths.TRAINED).name).read_text()),
        epochs=len((reports / Path(paths.HISTORY).name).read_text().splitlines()) - 1,
        metrics=json.loads((reports / Path(paths.METRICS).name).read_text()),
    )


def _table(heads: list[str], rows: list[list[str]], texts: int = 1) -> str:
    """Return a Markdown table; after the first columns of text come numbers."""
    rule = ["---"] * texts + ["---:"] * (len(heads) - texts)
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *rows])
