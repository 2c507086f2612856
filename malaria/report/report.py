"""The report of a run and its model card, made from the outputs of the other stages."""

import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import pandas as pd

from malaria.core.files import write_file
from malaria.core.params import NONE, RECIPE
from malaria.data.images import RESIZED
from malaria.data.layout import SYNTHETIC
from malaria.evaluation.calibration import CALIBRATION_METRICS, calibration_warnings
from malaria.evaluation.external import table_warnings
from malaria.evaluation.tables import COMPARED, warnings_of
from malaria.explanation.summary import describe, summarise
from malaria.exploration.cells import balance_table
from malaria.pipeline.facts import Origin
from malaria.report.page import records, render
from malaria.report.recipe_changes import changed_from_recipe, recipe_rows

WORST = 10  # patients that are shown
NOT_SET: tuple[Any, ...] = (None, NONE, RECIPE, [])
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
    "methods on the same split. It is not a medical device and must not be used for diagnosis."
)
LIMITS = (
    "It classifies single cells that a person or a program has cut out; it does not find cells, "
    "and the share of infected cells in a patient cannot be estimated from this set.",
    "One hospital (Chittagong, Bangladesh), thin smears with Giemsa stain, one species "
    "(P. falciparum), phone cameras on microscopes: only an external set can test others.",
    "Experts called about 5 % of the labels doubtful (Fuhad et al. 2020, Diagnostics 10:329).",
    "A few patients have most of the parasitized cells, so the sensitivity rests on few patients.",
)
COVERAGE = (
    "In simulations, these intervals are slightly too narrow, most of all for the sensitivity "
    "(benchmarks/README.md has the numbers)."
)
POPULATION = (
    "Crops of single cells from the NIH malaria set, which has 27,558 cells of 150 infected and 50 "
    "healthy patients; this run used the cells in the zip that is named under Origin."
)
CREDIT = (
    "Images: courtesy of the U.S. National Library of Medicine (Lister Hill National Center for "
    "Biomedical Communications). Code and model: MIT licence."
)
DRAWN = "Synthetic smears: patients, parasites and stains are made up."


def gather(reports: Path, cells: pd.DataFrame, data: str, origin: Origin) -> dict[str, Any]:
    """Return what the templates show about the run whose files lie in the folder `reports`.

    `cells` is the table of cells, `data` their description from `describe_data`.
    """
    trained = json.loads((reports / "train.json").read_text())
    tables = {path.stem: _read(path) for path in (reports / "tables").glob("*.csv")}
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
        "recipe": recipe_rows(trained),
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
        "scaling": _sentences(calibration_warnings(tables["calibration"])),
        "origin": origin,
        "resized": RESIZED,
        "set": {key: value for key, value in origin.params.items() if value not in NOT_SET},
        "unset": {key: value for key, value in origin.params.items() if value in NOT_SET},
        "compared": COMPARED,
        "calibrated": CALIBRATION_METRICS,
        "intended": INTENDED,
        "limits": [] if is_drawn else LIMITS,
        "coverage": COVERAGE,
        "population": DRAWN if is_drawn else POPULATION,
        "credit": "" if is_drawn else CREDIT,
        "versions": {"python": python_version()} | {name: version(name) for name in PACKAGES},
    }


def pivoted(table: pd.DataFrame, keys: list[str]) -> list[dict[str, Any]]:
    """Return a row for each value of `keys`, with the table's rows by their metric as `metric`."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in records(table):
        key = tuple(record[name] for name in keys)
        row = rows.setdefault(key, dict(zip(keys, key, strict=True)) | {"metric": {}})
        row["metric"][record["metric"]] = record
    return list(rows.values())


def write_report(content: Mapping[str, Any], page: Path, card: Path) -> None:
    """Write the page and the model card."""
    write_file(page, render("report.html.j2", **content))
    write_file(card, render("model_card.md.j2", **content))


def _warnings(
    data: str, tables: Mapping[str, pd.DataFrame], params: Mapping[str, Any]
) -> Iterator[str]:
    """Give what a reader must know before any number."""
    if data.startswith(SYNTHETIC):
        yield "The cells are synthetic: they show the pipeline working, but nothing about malaria."
    if params["split.unit"] == "cell":
        yield (
            "Leaky: cells of one patient are in several splits, so every number is too good for "
            "patients that the model has not seen."
        )
    if any(key.startswith("split.corrections.") for key in params):
        yield "Labels of train cells were corrected by hand; val and test have the zip's labels."
    yield from _sentences(warnings_of(tables["controls"]))
    yield from _sentences(calibration_warnings(tables["calibration"]))
    yield from _sentences(table_warnings(tables["external"]))


def _sentences(warnings: Iterable[str]) -> list[str]:
    return [f"{warning[0].upper()}{warning[1:]}." for warning in warnings]


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"patient": "string"})
