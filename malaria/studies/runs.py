"""The runs of a pipeline's folder that the result tables show: its own, and its experiments."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from malaria import paths
from malaria.core.params import NONE, flatten
from malaria.core.yaml_files import read_yaml
from malaria.report.page import number
from malaria.report.recipe_changes import changed_from_recipe, shortened
from malaria.studies.published import published

JAX, GPU = "jax", "gpu"
SERIES = re.compile(r"(.+)-(fold|seed)\d+")  # names that `malaria repeat` gives
INTERVALS = "intervals.csv"
CORRECTIONS = "split.corrections"


@dataclass(frozen=True)
class Run:
    """A finished run."""

    name: str  # of the experiment, '' for the folder's own run
    params: dict[str, Any]  # by dotted key
    trained: dict[str, Any]  # the content of train.json
    epochs: int  # that were trained
    metrics: dict[str, dict[str, Any]]
    intervals: dict[tuple[str, str], tuple[float, float]]  # low and high by split and metric

    @property
    def model(self) -> str:
        """The name of its system."""
        return str(self.params["train.model"])

    @property
    def is_leaky(self) -> bool:
        """Whether cells of one patient are in several splits."""
        return bool(self.params["split.unit"] == "cell")

    @property
    def with_jax(self) -> bool:
        """Whether JAX trained it on a GPU, which rounds otherwise than TensorFlow on a CPU."""
        return (self.trained.get("backend"), self.trained.get("device")) == (JAX, GPU)

    @property
    def series(self) -> str:
        """The series that it belongs to, '' if to none."""
        match = SERIES.fullmatch(self.name)
        return match[1] if match else ""

    @property
    def title(self) -> str:
        """The model, the experiment if it is called otherwise, and what must be said of it."""
        is_named = self.name in ("", self.model) or self.is_leaky
        name = "" if is_named else f" ({self.name})"
        jax = ", JAX" if self.with_jax else ""
        return f"`{self.model}`{name}{jax}{' (leaky cell split)' if self.is_leaky else ''}"

    def interval(self, split: str, metric: str) -> str:
        """Return a metric with its 95 % interval in brackets, if it has one."""
        bounds = self.intervals.get((split, metric))
        shown = f" ({number(bounds[0])} to {number(bounds[1])})" if bounds else ""
        return number(self.metrics[split][metric]) + shown

    def changes(self) -> list[str]:
        """Return what it changed in its published recipe, and which epoch was kept.

        Weights are named where they replace those of the source.
        """
        changed, weights = changed_from_recipe(self.trained, self.epochs), self.trained["weights"]
        known = published(self.model).weights
        at = changed.index(f"weights {shortened(weights)}")
        changed[at : at + 1] = (
            [] if weights in known else [f"weights {shortened(weights)} ({known[0]})"]
        )
        return changed

    def cuts(self) -> list[str]:
        """Return the changes of size, weights and recipe alone."""
        return [one for one in self.changes()[:-1] if one != self.trained["precision"]]


def read_runs(root: Path, folder: str) -> list[Run]:
    """Return the run of a pipeline's folder, if it has results, and its kept experiments.

    Raises OSError for a missing file.
    """
    base = root / folder
    own = [_read(base, base / paths.REPORTS, "")] if (base / paths.METRICS).exists() else []
    kept = sorted((base / paths.EXPERIMENTS).glob(f"*/{paths.PARAMS}"))
    return own + [_read(path.parent, path.parent, path.parent.name) for path in kept]


def by_val_auc(runs: Sequence[Run]) -> list[Run]:
    """Return runs, the highest ROC AUC on val first, those of a leaky split last."""
    return sorted(runs, key=lambda run: (run.is_leaky, -run.metrics["val"]["roc_auc"]))


def honest_twin(leaky: Run, runs: Sequence[Run]) -> Run | None:
    """Return the run of the same model, size and hardware whose split keeps patients apart.

    Of several, the one whose training differs in the fewest values.
    """

    def kind(run: Run) -> tuple[object, ...]:
        return run.model, run.trained["size"], run.with_jax

    def unlike(run: Run) -> int:
        ours, theirs = (
            flatten({key: one.trained[key] for key in ("weights", "recipe")})
            for one in (leaky, run)
        )
        return sum(ours.get(key) != theirs.get(key) for key in ours | theirs)

    same = [run for run in runs if kind(run) == kind(leaky) and not (run.is_leaky or run.series)]
    return min(same, key=unlike, default=None)


def trained_on(run: Run, balance: pd.DataFrame) -> str:
    """Return patients and cells of a run's train split.

    `balance` is the table of cells by split that `explore` leaves of the same data: what is not in
    val and test is in train. '-' where a list of corrections may have taken cells from it.
    """
    corrected = (value for key, value in run.params.items() if key.startswith(CORRECTIONS))
    if any(value != NONE for value in corrected):
        return "-"
    parts = run.metrics["val"], run.metrics["test"]
    cells = int(balance["cells"].sum()) - sum(part["n_cells"] for part in parts)
    if run.is_leaky:
        return f"{cells:,} cells, of test patients too"
    patients = int(balance["patients"].sum()) - sum(part["n_patients"] for part in parts)
    return f"{patients:,} patients, {cells:,} cells"


def _read(folder: Path, reports: Path, name: str) -> Run:
    return Run(
        name,
        # Not checked: an older experiment may lack a key that was added later.
        params=flatten(read_yaml(folder / paths.PARAMS)),
        trained=json.loads((reports / Path(paths.TRAINED).name).read_text()),
        epochs=len((reports / Path(paths.HISTORY).name).read_text().splitlines()) - 1,
        metrics=json.loads((reports / Path(paths.METRICS).name).read_text()),
        intervals=dict(_intervals(reports / Path(paths.TABLES).name / INTERVALS)),
    )


def _intervals(path: Path) -> Iterator[tuple[tuple[str, str], tuple[float, float]]]:
    """Give the bounds by split and metric; the oldest experiments were kept without."""
    if path.exists():
        for row in pd.read_csv(path).dropna(subset=["low"]).itertuples():
            yield (str(row.split), str(row.metric)), (float(row.low), float(row.high))
