"""Metrics of several models, the paired differences of two, and what changed by patient and cell.

Whole patients are resampled, with the same draws for all models, as in the gate
(malaria/gate/paired.py); here every metric of metrics.json is compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from malaria.evaluation.bootstrap import Resampled, draw_weights, patients_of
from malaria.evaluation.intervals import (
    LEVEL,
    Interval,
    effective_number,
    missing,
    t_interval,
)
from malaria.evaluation.measures import METRICS
from malaria.gate.predictions import KEY, Evaluated

LOWER_IS_BETTER = ("log_loss", "brier", "ece")


@dataclass(frozen=True)
class Overlap:
    """How the test cells of the models differ."""

    tested: tuple[int, ...]  # cells of each
    common: int  # tested by all
    relabelled: int  # of these, with another label or patient, so left out


@dataclass(frozen=True)
class Row:
    """A metric: one interval for each model, and of two models what the second has more."""

    metric: str
    values: tuple[Interval, ...]
    difference: Interval | None  # None unless there are two models, on the same cells

    @property
    def is_better(self) -> bool | None:
        """Whether the second model is better; None if the interval has 0 or there is none."""
        found = self.difference
        if found is None or found.low is None or found.high is None or found.low <= 0 <= found.high:
            return None
        return (found.low > 0) != (self.metric in LOWER_IS_BETTER)


def on_common_cells(models: Sequence[Evaluated]) -> tuple[list[Evaluated], Overlap]:
    """Return the models' predictions of the test cells that all have, and how the cells differ.

    Only cells with the same label and patient for all count; there may be none.
    """
    first = models[0].cells[KEY].set_index("cell_id")
    shared = first.index
    for model in models[1:]:
        shared = shared.intersection(model.cells["cell_id"])
    same = np.ones(len(shared), dtype=bool)
    for model in models[1:]:
        other = model.cells[KEY].set_index("cell_id").loc[shared]
        same &= (other == first.loc[shared]).all(axis=1).to_numpy()
    chosen = shared[same]
    common = [model.only(model.cells["cell_id"].isin(chosen)) for model in models]
    tested = tuple(len(model.cells) for model in models)
    return common, Overlap(tested, len(shared), int((~same).sum()))


def measure(models: Sequence[Evaluated], replicates: int, seed: int) -> list[Row]:
    """Return a row for each metric, with 95 % intervals by patient.

    Two models are compared if they have the same cells.
    """
    is_pair = len(models) == 2 and models[0].fingerprint == models[1].fingerprint
    estimates, draws = [], []
    for model in models:
        units = patients_of(model.cells)
        resampled = Resampled(model.cells, model.threshold, units)
        parts = [resampled.metrics(rows) for rows in draw_weights(units, replicates, seed)]
        estimates.append(resampled.metrics(np.ones((1, units.count))))
        draws.append({name: np.concatenate([part[name] for part in parts]) for name in METRICS})
    rows = []
    for name in METRICS:
        values = [float(estimate[name][0]) for estimate in estimates]
        effective = [_effective(name, model) for model in models]
        found = [
            _interval(name, value, drawn[name], patients)
            for value, drawn, patients in zip(values, draws, effective, strict=True)
        ]
        difference = None
        if is_pair:
            drawn = draws[1][name] - draws[0][name]
            difference = _difference(values[1] - values[0], drawn, effective[0])
        rows.append(Row(name, tuple(found), difference))
    return rows


def by_patient(models: Sequence[Evaluated]) -> pd.DataFrame:
    """Return a row for each patient: cells, parasitized, and by model its number of right calls.

    The models' columns are 0, 1, ...; they have the same cells.
    """
    cells = models[0].cells
    table = cells[["patient", "label"]].copy()
    for number, model in enumerate(models):
        table[number] = calls(model) == cells["label"]
    grouped = table.groupby("patient", sort=True)
    counts = grouped.agg(cells=("label", "size"), parasitized=("label", "sum"))
    return counts.join(grouped[list(range(len(models)))].sum()).reset_index()


def changed_calls(models: Sequence[Evaluated]) -> pd.DataFrame:
    """Return the cells that not all models call the same, right-to-wrong first.

    Columns: cell_id, patient, label, by model its probability (0, 1, ...), `right` (how many
    models are right), `order` (of two models: whether only the second is right; of more: as
    `right`) and `change` (of the probability), by which they are sorted.
    """
    cells = models[0].cells[KEY].copy()
    columns = list(range(len(models)))
    for number, model in enumerate(models):
        cells[number] = model.cells["probability"].to_numpy()
    right = np.stack([calls(model) == cells["label"] for model in models])
    cells["right"] = right.sum(axis=0)
    cells["order"] = ~right[0] if len(models) == 2 else cells["right"]
    cells["change"] = cells[columns].max(axis=1) - cells[columns].min(axis=1)
    changed = cells[(cells["right"] > 0) & (cells["right"] < len(models))]
    ascending = [True, False, True]
    return changed.sort_values(["order", "change", "cell_id"], ascending=ascending)


def calls(model: Evaluated) -> np.ndarray:
    """Return 1 for each cell that is called parasitized at the model's threshold, else 0."""
    return (model.cells["probability"].to_numpy() >= model.threshold).astype(int)


def _effective(name: str, model: Evaluated) -> float:
    return effective_number(name, model.cells["label"].to_numpy(), patients_of(model.cells))


def _interval(name: str, value: float, drawn: np.ndarray, patients: float) -> Interval:
    if reason := missing(value, float(np.isnan(drawn).mean()), patients):
        return Interval(value, reason=reason)
    return t_interval(name, value, float(np.nanstd(drawn, ddof=1)), patients)


def _difference(value: float, drawn: np.ndarray, patients: float) -> Interval:
    """Return the interval of a difference: Student's t, as the gate's."""
    if reason := missing(value, float(np.isnan(drawn).mean()), patients):
        return Interval(value, reason=reason)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, patients - 1) * np.nanstd(drawn, ddof=1))
    return Interval(value, value - reach, value + reach)
