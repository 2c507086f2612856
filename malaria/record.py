"""What a run in MLflow says of a stage, read from the files that the stage left.

Live logging and `malaria sync` both take it from here, so a run that is made again from DVC's cache
has the names and values of the lost one. What no file keeps is logged live alone: LIVE_ALONE.
"""

import csv
import json
import math
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malaria.entry import LockedFile
from malaria.params.study import flatten

if TYPE_CHECKING:
    import pandas as pd

# Metrics that a run made again is without: no output has them, as a clock would change its bytes.
LIVE_ALONE = frozenset({"images_per_second", "seconds"})
LARGEST_ARTIFACT = 5_000_000  # bytes; larger outputs are DVC's alone
ZIP = "data/raw/cell_images.zip"  # its size alone is told, so it is never read
MODEL_SUFFIX = ".keras"
TABLES = "reports/tables/"
CHOSEN = ("kept_epoch", "val_loss")  # of train.json: what training found, the rest being resolved
# What an experiment's row shows beside its final metrics.
ON_ROW = {
    "reports/evaluation.png",
    "reports/intervals.png",
    "reports/learning_curves.png",
    "reports/model_card.md",
    "reports/report.html",
}
# What a file of another schema raises, as an old revision may have.
OTHER_SCHEMA = (AttributeError, IndexError, KeyError, TypeError, ValueError)


@dataclass(frozen=True)
class Point:
    """A value of a metric; `step` is the epoch, 0 for what has none."""

    name: str
    value: float
    step: int = 0


@dataclass
class Told:
    """All that a stage's files tell; `headline` is the part that its experiment's row shows too."""

    params: dict[str, Any] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    headline: list[Point] = field(default_factory=list)
    tables: dict[str, "pd.DataFrame"] = field(default_factory=dict)  # by the name in the UI
    files: dict[str, Path] = field(default_factory=dict)  # artifacts, by their path under the run
    on_row: dict[str, Path] = field(default_factory=dict)  # of the files: those the row shows too
    models: list[Path] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # outputs that are nowhere
    strange: dict[str, str] = field(default_factory=dict)  # outputs of another schema, and why

    def add(self, part: "Told") -> None:
        """Take over what one file tells; a metric that is not defined (NaN) is none."""
        self.params |= part.params
        self.points += [point for point in part.points if math.isfinite(point.value)]
        self.headline += part.headline
        self.tables |= part.tables
        self.models += part.models
        self.files |= part.files
        self.on_row |= part.on_row
        self.missing += part.missing
        self.strange |= part.strange


def tell(outs: Iterable[LockedFile], find: Callable[[LockedFile], Path | None]) -> Told:
    """Return what a stage's outputs tell of its run.

    `find` gives a local file with an output's content, None where there is none. What cannot be
    found or is of another schema is named in the result and left out.
    """
    told = Told()
    for out in outs:
        if out.path == ZIP:
            told.points.append(Point("bytes", out.size))
        is_small = out.size <= LARGEST_ARTIFACT
        if not is_small and out.path not in READERS and not out.path.endswith(MODEL_SUFFIX):
            continue
        file = find(out)
        if file is None:
            told.missing.append(out.path)
            continue
        part = Told()
        try:
            _read(out.path, file, part)
            told.add(part)
        except OTHER_SCHEMA as error:
            told.strange[out.path] = repr(error)
        if is_small and not out.path.endswith(MODEL_SUFFIX):
            told.files[artifact(out.path)] = file
            if out.path in ON_ROW:
                told.on_row[artifact(out.path)] = file
    return told


def resolved_params(trained: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params that training resolved, from the content of train.json or its beginning."""
    plain = json.loads(json.dumps(trained))  # as the file gives it: lists where there were tuples
    return flatten({"resolved": {k: v for k, v in plain.items() if k not in CHOSEN}})


def artifact(path: str) -> str:
    """Return where an output lies under its run: below `reports` or `data` as in the folder."""
    return path.partition("/")[2] or path


def _read(path: str, file: Path, told: Told) -> None:
    if path.endswith(MODEL_SUFFIX):
        told.models.append(file)
    elif path.startswith(TABLES):
        told.tables[posixpath.splitext(artifact(path))[0]] = _table(file)
    elif path in READERS:
        READERS[path](file, told)


def _trained(file: Path, told: Told) -> None:
    trained = json.loads(file.read_text())
    told.params |= resolved_params(trained)
    told.points.append(Point("kept_epoch", trained["kept_epoch"]))


def _history(file: Path, told: Told) -> None:
    with file.open(newline="") as rows:
        for row in csv.DictReader(rows):
            step = int(row["epoch"])
            told.points += [Point(name, float(value), step) for name, value in row.items()]


def _metrics(file: Path, told: Told) -> None:
    values = flatten(json.loads(file.read_text()))
    told.headline += [Point(name, value) for name, value in values.items() if value is not None]
    told.points += told.headline


def _cells(file: Path, told: Told) -> None:
    from malaria.cells import read_cells

    for split, cells in read_cells(file).groupby("split", sort=False):
        counts = {
            "n_cells": len(cells),
            "n_patients": cells["patient"].nunique(),
            "n_parasitized": cells["label"].sum(),
        }
        told.points += [Point(f"{split}.{name}", int(count)) for name, count in counts.items()]


def _images(file: Path, told: Told) -> None:
    told.points.append(Point("n_images", json.loads(file.read_text())["images"]))


def _occlusion(file: Path, told: Told) -> None:
    import pandas as pd

    from malaria.explain import summarise

    for called, summary in summarise(pd.read_csv(file)).items():
        values = summary.items()
        told.points += [Point(f"occlusion.{called}.{name}", value) for name, value in values]


def _table(file: Path) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_csv(file, dtype={"patient": "string"})


READERS: Mapping[str, Callable[[Path, Told], None]] = {
    "data/cells.csv": _cells,
    "data/images.json": _images,
    "reports/train.json": _trained,
    "reports/history.csv": _history,
    "reports/metrics.json": _metrics,
    "reports/explain/occlusion.csv": _occlusion,
}
