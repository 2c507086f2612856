"""The report of a run and its model card, made from the files that the other stages leave."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import pandas as pd

from malaria.assessment import warnings_of
from malaria.changes import changed_from_recipe
from malaria.explain import describe, summarise
from malaria.explore import balance_table
from malaria.layout import SYNTHETIC
from malaria.page import records, render

TABLES = (
    "intervals",
    "operating_points",
    "calibration",
    "patients",
    "groups",
    "smear",
    "controls",
    "external",
)
WORST = 10  # patients that are shown
PACKAGES = (
    "keras",
    "tensorflow",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "opencv-python-headless",
    "pillow",
    "matplotlib",
    "dvc",
    "mlflow",
)


INTENDED = (
    "Research on the classification of single, already cut-out red blood cells, and comparison of "
    "methods on the same split. It is no medical device and must not be used for diagnosis."
)
LIMITS = (
    "It sees single cells that a person or a program has cut out; it finds none, and the share of "
    "a patient's cells that is infected cannot be estimated from this set.",
    "One hospital (Chittagong, Bangladesh), thin smears with Giemsa stain, one species "
    "(P. falciparum), phone cameras on microscopes: of others only an external set could tell.",
    "About 5 % of the labels were called doubtful by experts (Fuhad et al. 2020, "
    "Diagnostics 10:329).",
    "A few patients hold most of the parasitized cells, so the sensitivity rests on few.",
)
COVERAGE = (
    "In simulations with patients as uneven as the pilot's, these intervals held the truth in 90 "
    "to 95 % of 200 test sets of 24 patients, in 90 to 94 % of 60 and in 92 to 94 % of 120: a "
    "little too narrow, most so for the sensitivity (benchmarks/coverage.py)."
)
POPULATION = (
    "Crops of single cells of the NIH malaria set, which has 27,558 cells of 150 infected and 50 "
    "healthy patients; the zip that Origin names holds those that this run took."
)
CREDIT = (
    "Images: courtesy of the U.S. National Library of Medicine (Lister Hill National Center for "
    "Biomedical Communications). Code and model: MIT licence."
)
DRAWN = "Smears that the program drew, with patients, parasites and stains made up."
LABELS = {
    "roc_auc": "ROC AUC",
    "pr_auc": "average precision",
    "log_loss": "log loss, nats",
    "mcc": "MCC",
    "ece": "ECE",
    "brier": "Brier score",
}
MAPS = {
    "confident_right.png": "Most confident and right",
    "confident_wrong.png": "Most confident and wrong",
    "least_sure.png": "Least sure",
    "top_losses.png": "Largest losses",
    "top_losses_maps.png": "Largest losses, with heat maps",
}
CELLS = (  # picture, what it shows to those who cannot see it, caption
    (
        "balance.png",
        "Bars of parasitized and uninfected cells by split and by patient; few patients hold most "
        "of the parasitized cells.",
        "Cells by split and by patient.",
    ),
    (
        "sizes.png",
        "Histograms of the crops' width and height in pixels for both classes.",
        "Sizes of the crops.",
    ),
    (
        "samples_6x6.png",
        "Thirty-six parasitized and thirty-six uninfected train cells.",
        "Train cells of as many patients as there are.",
    ),
    (
        "means.png",
        "Mean image of each class, and the difference of the two.",
        "Mean train cells.",
    ),
    (
        "views.png",
        "Train cells as they are, their hue, and blurred.",
        "Train cells, their hue (HSV) and a Gaussian blur.",
    ),
    (
        "augmentation.png",
        "Train cells and what augmentation draws from them.",
        "Train cells and draws of the recipe's augmentation.",
    ),
)


@dataclass(frozen=True)
class Origin:
    """What a run was made from: its params, and the md5 of code and data by path."""

    params: Mapping[str, Any]
    code: Mapping[str, str]
    data: Mapping[str, str]


def gather(reports: Path, cells: pd.DataFrame, data: str, origin: Origin) -> dict[str, Any]:
    """Return what the templates show of the run whose files lie in the folder `reports`.

    `cells` is the table of cells, `data` what `describe_data` says of them.
    """
    trained = json.loads((reports / "train.json").read_text())
    tables = {name: _read(reports / "tables" / f"{name}.csv") for name in TABLES}
    epochs = len(pd.read_csv(reports / "history.csv"))
    metrics = json.loads((reports / "metrics.json").read_text())
    intervals = pivoted(tables["intervals"], ["split"])
    is_drawn = data.startswith(SYNTHETIC)
    return {
        "title": f"{trained['model']}, {trained['size']} px, {data}",
        "reports": reports,
        "data": data,
        "trained": trained,
        "changes": changed_from_recipe(trained, epochs),
        "epochs": epochs,
        "metrics": metrics,
        "metric_names": list(intervals[0]["metric"]),
        "intervals": {row["split"]: row["metric"] for row in intervals},
        "points": pivoted(tables["operating_points"], ["point", "threshold", "split"]),
        "calibration": pivoted(tables["calibration"], ["split", "probability", "temperature"]),
        "groups": pivoted(tables["groups"], ["group", "value", "patients", "cells", "parasitized"]),
        "controls": pivoted(tables["controls"], ["predictor"]),
        "external": pivoted(tables["external"], ["set"]),
        "worst": records(tables["patients"].head(WORST)),
        "smear": records(tables["smear"]),
        "balance": records(balance_table(cells)),
        "occlusion": [
            describe(called, found)
            for called, found in summarise(_read(reports / "explain/occlusion.csv")).items()
        ],
        "warnings": [*_warnings(data, tables, origin.params)],
        "origin": origin,
        "labels": LABELS,
        "intended": INTENDED,
        "limits": [] if is_drawn else LIMITS,
        "coverage": COVERAGE,
        "population": DRAWN if is_drawn else POPULATION,
        "credit": "" if is_drawn else CREDIT,
        "maps": MAPS.items(),
        "cells": CELLS,
        "versions": {"python": python_version()} | {name: version(name) for name in PACKAGES},
    }


def pivoted(table: pd.DataFrame, keys: list[str]) -> list[dict[str, Any]]:
    """Return a row for each value of `keys`, its rows by their `metric` below that name."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in records(table):
        key = tuple(record[name] for name in keys)
        row = rows.setdefault(key, dict(zip(keys, key, strict=True)) | {"metric": {}})
        row["metric"][record["metric"]] = record
    return list(rows.values())


def write_report(content: Mapping[str, Any], page: Path, card: Path) -> None:
    """Write the page and the model card."""
    page.write_text(render("report.html.j2", **content), encoding="utf-8")
    card.write_text(render("model_card.md.j2", **content), encoding="utf-8")


def _warnings(
    data: str, tables: Mapping[str, pd.DataFrame], params: Mapping[str, Any]
) -> Iterator[str]:
    """Give what a reader must know before any number."""
    if data.startswith(SYNTHETIC):
        yield "The cells are synthetic: they show that the pipeline works, nothing about malaria."
    if params["split.unit"] == "cell":
        yield (
            "Leaky: cells of one patient are in several splits, so every number is too good for "
            "patients that the model has not seen."
        )
    if any(key.startswith("split.corrections.") for key in params):
        yield "Labels of train cells were corrected by hand; val and test have the zip's labels."
    for warning in warnings_of(tables["controls"]):
        yield f"{warning[0].upper()}{warning[1:]}."


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"patient": "string"})
