"""What a run in MLflow shows of a stage, read from the files that the stage left.

Live logging and `malaria sync` both take it from here, so a run that is rebuilt from DVC's cache
has the names and values of the lost one. What no file keeps is logged live only: LIVE_ONLY.
"""

import csv
import json
import math
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malaria import paths
from malaria.core.params import flatten
from malaria.pipeline.lock import LockedFile

if TYPE_CHECKING:
    import pandas as pd

# Metrics that a rebuilt run lacks: no output has them, as a clock would change its bytes.
LIVE_ONLY = frozenset({"images_per_second", "seconds"})
LARGEST_ARTIFACT = 5_000_000  # bytes; of larger outputs only the model becomes an artifact
# Counts, which follow from the params: as metrics they would be the first charts of a comparison.
COUNTS = frozenset({"n_cells", "n_patients"})
THRESHOLD = ".threshold"
EPOCH = "epoch"  # of a history: the step of its other columns
KEPT_EPOCH = "kept_epoch"
CHOSEN = (KEPT_EPOCH, "val_loss")  # of train.json: what training found, the rest being resolved
# The files that an experiment's row shows in addition to its final metrics, wherever they lie.
ON_ROW = {
    posixpath.basename(path)
    for path in (
        paths.EVALUATION,
        paths.INTERVALS,
        paths.LEARNING_CURVES,
        paths.CARD,
        paths.PAGE,
    )
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
class RunContent:
    """What a stage's files say of its run; its row shows `counts`, `headline` and `on_row` too."""

    params: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)  # those params that the row shows too
    points: list[Point] = field(default_factory=list)
    headline: list[Point] = field(default_factory=list)
    tables: dict[str, "pd.DataFrame"] = field(default_factory=dict)  # by the name in the UI
    files: dict[str, Path] = field(default_factory=dict)  # artifacts, by their path below the run
    on_row: dict[str, Path] = field(default_factory=dict)  # those files that the row shows too
    missing: list[str] = field(default_factory=list)  # outputs that were not found
    strange: dict[str, str] = field(default_factory=dict)  # outputs of another schema, and why

    def add(self, part: "RunContent") -> None:
        """Take over what one file says."""
        self.params |= part.params
        self.counts |= part.counts
        self.points += part.points
        self.headline += part.headline
        self.tables |= part.tables
        self.files |= part.files
        self.on_row |= part.on_row
        self.missing += part.missing
        self.strange |= part.strange


def read_content(
    outs: Iterable[LockedFile], find: Callable[[LockedFile], Path | None]
) -> RunContent:
    """Return what a stage's outputs say of its run.

    `find` gives a local file or folder with an output's content, None if there is none. What is
    missing or of another schema is named in the result and skipped.
    """
    content = RunContent()
    for out in outs:
        if out.path == paths.ZIP:  # never read
            content.params["bytes"] = out.size
        is_artifact = out.size <= LARGEST_ARTIFACT or out.path == paths.MODEL
        if not is_artifact and out.path not in READERS:
            continue
        found = find(out)
        if found is None:
            content.missing.append(out.path)
            continue
        for path, file in _files_of(out, found):
            content.add(_read(path, file))
            if is_artifact:
                content.files[artifact(path)] = file
                if posixpath.basename(path) in ON_ROW:
                    content.on_row[artifact(path)] = file
    return content


def is_on_row(out: str) -> bool:
    """Return whether an experiment's row shows something of an output."""
    return out in (paths.FIGURES, paths.METRICS) or posixpath.basename(out) in ON_ROW


def resolved_params(trained: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params that training resolved, from the content of train.json or its beginning."""
    plain = json.loads(json.dumps(trained))  # as the file has it: lists in place of tuples
    return flatten({"resolved": {k: v for k, v in plain.items() if k not in CHOSEN}})


def artifact(path: str) -> str:
    """Return where an output lies below its run: as in the folder, without `reports` or `data`."""
    return path if path == paths.MODEL else path.partition("/")[2] or path


def _files_of(out: LockedFile, found: Path) -> Iterable[tuple[str, Path]]:
    """Return the files of an output, by their paths in the pipeline's folder."""
    if not out.is_folder:
        return [(out.path, found)]
    below = sorted(file for file in found.rglob("*") if file.is_file())
    return [(posixpath.join(out.path, file.relative_to(found).as_posix()), file) for file in below]


def _read(path: str, file: Path) -> RunContent:
    content = RunContent()
    try:
        if path.startswith(f"{paths.TABLES}/"):
            content.tables[posixpath.splitext(artifact(path))[0]] = _table(file)
        elif path in READERS:
            READERS[path](file, content)
        # A metric that is not defined (NaN) is skipped; what is no number raises.
        content.points = [point for point in content.points if math.isfinite(point.value)]
    except OTHER_SCHEMA as error:
        return RunContent(strange={path: repr(error)})
    return content


def _trained(file: Path, content: RunContent) -> None:
    trained = json.loads(file.read_text())
    content.params |= resolved_params(trained)
    content.points.append(Point(KEPT_EPOCH, trained[KEPT_EPOCH]))


def _history(file: Path, content: RunContent) -> None:
    with file.open(newline="") as rows:
        for row in csv.DictReader(rows):
            step = int(row[EPOCH])
            values = {name: float(value) for name, value in row.items() if name != EPOCH}
            content.points += [Point(name, value, step) for name, value in values.items()]


def _metrics(file: Path, content: RunContent) -> None:
    known = flatten(json.loads(file.read_text())).items()
    values = {name: value for name, value in known if value is not None}
    content.counts = {name: values.pop(name) for name in [*values] if is_count(name)}
    content.params |= content.counts
    ordered = sorted(values, key=lambda name: name.endswith(THRESHOLD))  # Compare draws the first
    content.headline += [Point(name, values[name]) for name in ordered]
    content.points += content.headline


def is_count(name: str) -> bool:
    """Return whether a metric's file counts something under a name."""
    return name.rpartition(".")[2] in COUNTS


def _cells(file: Path, content: RunContent) -> None:
    from malaria.core.table import read_cells

    for split, cells in read_cells(file).groupby("split", sort=False):
        counts = {
            "n_cells": len(cells),
            "n_patients": cells["patient"].nunique(),
            "n_parasitized": cells["label"].sum(),
        }
        content.params |= {f"{split}.{name}": int(count) for name, count in counts.items()}


def _images(file: Path, content: RunContent) -> None:
    content.params["n_images"] = json.loads(file.read_text())["images"]


def _occlusion(file: Path, content: RunContent) -> None:
    import pandas as pd

    from malaria.explanation.summary import summarise

    for called, summary in summarise(pd.read_csv(file)).items():
        named = {f"occlusion.{called}.{name}": value for name, value in summary.items()}
        cells = f"occlusion.{called}.cells"  # a count too
        content.params[cells] = named.pop(cells)
        content.points += [Point(name, value) for name, value in named.items()]


def _table(file: Path) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_csv(file, dtype={"patient": "string"})


READERS: Mapping[str, Callable[[Path, RunContent], None]] = {
    paths.CELLS: _cells,
    paths.ORDER: _images,
    paths.TRAINED: _trained,
    paths.HISTORY: _history,
    paths.METRICS: _metrics,
    paths.OCCLUSION: _occlusion,
}
