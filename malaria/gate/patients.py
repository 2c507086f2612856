"""Whether a single patient's cells collapsed, and the slices of patients.

A loss on one patient may hide in the metrics of all, or only widen their intervals. So each patient
with enough cells of a class is tested alone, with the exact paired test on the cells that one
model calls right and the other wrong (McNemar 1947, Psychometrika 12:153; one-sided), corrected by
Holm. Within one patient cells are not independent between trainings, so a loss must also be
large to count; how often equal trainings show one is measured in benchmarks/gate.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binom

from malaria.data.split import patient_strata
from malaria.gate.params import SLICES, GateParams
from malaria.gate.verdict import holm, points

CLASS_METRICS = {1: "sensitivity", 0: "specificity"}


@dataclass(frozen=True)
class PatientLoss:
    """What became of one patient's cells of a class."""

    patient: str
    metric: str  # the class's
    cells: int
    lost: int  # right before, wrong now
    won: int
    p_corrected: float

    @property
    def loss(self) -> float:
        """The share of the cells by which fewer are right."""
        return (self.lost - self.won) / self.cells

    def __str__(self) -> str:
        """Return the loss in a few words, without the patient's name."""
        return (
            f"{points(self.loss)} points of {self.metric} lost on {self.cells} cells "
            f"(p {self.p_corrected:.2g})"
        )


def collapsed_patients(
    base: pd.DataFrame,
    head: pd.DataFrame,
    thresholds: tuple[float, float],
    params: GateParams,
) -> list[PatientLoss]:
    """Return the patients whose cells of a class collapsed, the largest loss first.

    Only classes whose metric is gated count. `base` and `head` have the columns patient, label and
    probability, and the same cells in the same order.
    """
    before, after = (
        (cells["probability"] >= threshold) == (cells["label"] == 1)
        for cells, threshold in zip((base, head), thresholds, strict=True)
    )
    changed = pd.DataFrame({"cells": 1, "lost": before & ~after, "won": ~before & after})
    counts = changed.groupby([head["patient"], head["label"]]).sum()
    gated = [label for label, metric in CLASS_METRICS.items() if metric in params.metrics]
    is_tested = counts.index.get_level_values("label").isin(gated)
    counts = counts[is_tested & (counts["cells"] >= params.patients.cells)]
    # P(lost or more of all that changed), if each change were as likely to be for the better.
    p_values = binom.sf(counts["lost"] - 1, counts["lost"] + counts["won"], 0.5)
    corrected = holm({str(row): float(p) for row, p in enumerate(p_values)}).values()
    tested = [
        PatientLoss(str(patient), CLASS_METRICS[label], int(cells), int(lost), int(won), p)
        for (patient, label), (cells, lost, won), p in zip(
            counts.index, counts.to_numpy(), corrected, strict=True
        )
    ]
    rule = params.patients
    found = [one for one in tested if one.loss > rule.margin and one.p_corrected < 1 - params.level]
    return sorted(found, key=lambda one: -one.loss)


def slices_of(cells: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    """Give each slice that has cells, and whether each cell is in it.

    `cells` has the columns patient and label. Thirds of burden are of these patients.
    """
    stratum = cells["patient"].map(patient_strata(cells)).to_numpy()
    members = (stratum == 0, stratum > 0, stratum == 1, stratum == 2, stratum == 3)
    for name, chosen in zip(SLICES, members, strict=True):
        if chosen.any():
            yield name, chosen
