"""The result tables in Markdown, of a pipeline's folder; its name is relative to the repository."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import pandas as pd

from malaria import paths
from malaria.core.params import flatten
from malaria.evaluation.names import name_of
from malaria.params import load_study
from malaria.report.page import number, records
from malaria.report.recipe_changes import shortened
from malaria.studies.published import published
from malaria.studies.repeats import COUNTS
from malaria.studies.runs import Run, by_val_auc, honest_twin, read_runs, trained_on

NOT_RUN = "Not run."
BALANCE = f"{paths.EXPLORE}/balance.csv"
# Of the study's main table.
SURE = ("accuracy", "sensitivity", "specificity", "roc_auc")
SPLIT_METRICS = (*SURE, "mcc", "brier")
COLUMNS = {"n_cells": "cells", "n_patients": "patients"} | {
    name: name_of(name) for name in SPLIT_METRICS
}
# The metrics by split in the tables without intervals.
SHOWN = {"val": ["accuracy", "roc_auc"], "test": [*SURE, "mcc"]}
PAIRS = [(split, metric) for split, metrics in SHOWN.items() for metric in metrics]
HEADS = [f"{split} {COLUMNS[metric]}" for split, metric in PAIRS]
# Where runs are logged and what a gate lets pass do not change a result.
NOT_CUT = ("gate.", "mlflow.")
PILOT = "pilot"


def main_table(root: Path, folder: str) -> str:
    """Return a row per run with intervals by patient, beside what its source claimed.

    Runs of a series and of JAX on a GPU are left out.
    """
    return _sure([run for run in _single(root, folder) if not run.with_jax], root / folder)


def jax_table(root: Path, folder: str) -> str:
    """Return the same for the runs that JAX trained on a GPU, then what each changed."""
    runs = [run for run in _single(root, folder) if run.with_jax]
    return f"{_sure(runs, root / folder)}\n\n{_changes(runs)}" if runs else NOT_RUN


def split_table(root: Path, folder: str) -> str:
    """Return a row per split of a folder's own run, with 95 % intervals by patient."""
    runs = [run for run in read_runs(root, folder) if not run.name]
    rows = [
        [f"{split}{' (leaky cell split)' if run.is_leaky else ''}"]
        + [run.interval(split, metric) for metric in COLUMNS]
        for run in runs
        for split in SHOWN
    ]
    return _table(["split", *COLUMNS.values()], rows)


def cuts(root: Path) -> str:
    """Return the params of the pilot that differ from the study's."""
    study, pilot = (flatten(load_study(root / folder / paths.PARAMS)) for folder in (".", PILOT))
    return "\n".join(
        f"- `{key}`: {shortened(value)} (study: {shortened(study.get(key))})"
        for key, value in pilot.items()
        if value != study.get(key) and not key.startswith(NOT_CUT)
    )


def model_table(root: Path, folder: str) -> str:
    """Return a row per model, the highest validation AUC first, then what each changed.

    Leaky runs, runs of a series and those of JAX on a GPU have tables of their own.
    """
    runs = [run for run in _single(root, folder) if not (run.is_leaky or run.with_jax)]
    rows = [[run.title, number(run.trained["parameters"]), *_shown(run)] for run in runs]
    if not rows:
        return NOT_RUN
    return f"{_table(['model', 'parameters', *HEADS], rows)}\n\n{_changes(runs)}"


def leaky_table(root: Path, folder: str) -> str:
    """Return each run on a cell split below its twin on a patient split, and the gap."""
    runs = _single(root, folder)
    rows = []
    for leaky in (run for run in runs if run.is_leaky):
        twin = honest_twin(leaky, runs)
        if twin is not None:
            rows.append([twin.title, "by patient", *_shown(twin)])
        rows.append([f"`{leaky.model}`", "by cell (leaky)", *_shown(leaky)])
        if twin is not None:
            gaps = [leaky.metrics[split][name] - twin.metrics[split][name] for split, name in PAIRS]
            rows.append(["", "gap", *map(number, gaps)])
    table = _table(["model", "cells are split", *HEADS], rows, texts=2)
    return f"{table}\n\n{_changes([run for run in runs if run.is_leaky])}" if rows else NOT_RUN


def series_table(root: Path, folder: str) -> str:
    """Return the test metrics of each run of a folder's series, their mean and sd.

    Below it stands what the recipe changed, of those runs that are kept.
    """
    names = ["n_cells", "n_patients", *SHOWN["test"]]
    rows = [
        [
            row["experiment"] if row["n_cells"] is not None else f"{path.stem} {row['experiment']}",
            *("" if row[name] is None else number(row[name]) for name in names),
        ]
        for path in sorted((root / folder / paths.SERIES).glob("*.csv"))
        for row in records(pd.read_csv(path, dtype=dict.fromkeys(COUNTS, "Int64")))
    ]
    table = _table(["run", *(COLUMNS[name] for name in names)], rows)
    kept = sorted(
        (run.series, run.model, _recipe(run)) for run in read_runs(root, folder) if run.series
    )
    changes = [
        f"- `{series}`, {len([*runs])} of its runs are `{model}`: {recipe}."
        for (series, model, recipe), runs in groupby(kept)
    ]
    if not rows:
        return NOT_RUN
    return "\n\n".join([table, *(["What they changed:", "\n".join(changes)] if changes else [])])


def _single(root: Path, folder: str) -> list[Run]:
    """Return the runs that belong to no series, in the order of a table."""
    return by_val_auc([run for run in read_runs(root, folder) if not run.series])


def _sure(runs: Sequence[Run], folder: Path) -> str:
    """Return the table of runs with intervals; `folder` has the table of cells."""
    if not runs:
        return NOT_RUN
    balance = pd.read_csv(folder / BALANCE)
    rows = [
        [
            run.title,
            f"{run.trained['size']} px",
            trained_on(run, balance),
            number(run.metrics["test"]["n_patients"]),
            *(run.interval("test", metric) for metric in SURE),
            ", ".join(run.cuts()) or "nothing",
            str(published(run.model)),
        ]
        for run in runs
    ]
    heads = ["model", "size", "trained on", "test patients", *(COLUMNS[name] for name in SURE)]
    told = ["changed in its recipe (published)", "accuracy that its source claims"]
    return _table([*heads, *told], rows, texts=3, remarks=len(told))


def _changes(runs: Iterable[Run]) -> str:
    lines = [f"- {run.title}: {', '.join(run.changes())}." for run in runs]
    return "\n".join(["What each run changed in its published recipe:", "", *lines])


def _recipe(run: Run) -> str:
    """Return what a run changed, without the epoch that was kept, which comes last."""
    return ", ".join(run.changes()[:-1])


def _shown(run: Run) -> list[str]:
    """Return the metrics of the tables without intervals."""
    return [number(run.metrics[split][metric]) for split, metric in PAIRS]


def _table(heads: list[str], rows: list[list[str]], texts: int = 1, remarks: int = 0) -> str:
    """Return a Markdown table: columns of text, then numbers, then columns of remarks."""
    rule = ["---"] * texts + ["---:"] * (len(heads) - texts - remarks) + ["---"] * remarks
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *rows])
