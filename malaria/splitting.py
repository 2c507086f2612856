"""Patients (or, to reproduce the articles, cells) divided into train, val and test."""

import hashlib

import numpy as np
import pandas as pd

from malaria.errors import MalariaError
from malaria.params.split import SPLITS, SplitParams

BURDEN_THIRDS = 3


def assign_splits(cells: pd.DataFrame, params: SplitParams) -> pd.Series:
    """Return the split of each cell: 'train', 'val' or 'test'.

    `cells` has the columns cell_id, patient and label. Units (patients or cells) are
    shuffled within their stratum by a hash of the seed and their name, so the result
    depends neither on the order of the rows nor on a library's random generator.
    Raises MalariaError where a split would lack a class.
    """
    unit = cells["patient"] if params.unit == "patient" else cells["cell_id"]
    strata = patient_strata(cells) if params.unit == "patient" else _label_strata(cells)
    order = sorted(strata.index, key=lambda name: (strata[name], _shuffled(params.seed, name)))
    splits = cells[unit.name].map(_deal(order, params)).rename("split")
    _require_both_classes(cells["label"], splits)
    return splits


def patient_strata(cells: pd.DataFrame) -> pd.Series:
    """Return each patient's stratum: 0 healthy, else 1 to 3 by third of parasite burden.

    Burden is the patient's number of parasitized cells.
    """
    burden = cells.groupby("patient")["label"].sum().sort_index()
    infected = burden[burden > 0].sort_values(kind="stable")
    thirds = np.arange(len(infected)) * BURDEN_THIRDS // max(len(infected), 1) + 1
    strata = pd.Series(0, index=burden.index)
    strata[infected.index] = thirds
    return strata


def _label_strata(cells: pd.DataFrame) -> pd.Series:
    return cells.set_index("cell_id")["label"]


def _shuffled(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _deal(order: list[str], params: SplitParams) -> dict[str, str]:
    """Deal units in turn to the split that lacks most, so every stretch has the fractions."""
    shares = [getattr(params.fractions, split) for split in SPLITS]
    dealt = [0] * len(SPLITS)
    result = {}
    for turn, name in enumerate(order, start=1):
        lacking = [share * turn - count for share, count in zip(shares, dealt, strict=True)]
        chosen = lacking.index(max(lacking))
        dealt[chosen] += 1
        result[name] = SPLITS[chosen]
    return result


def _require_both_classes(labels: pd.Series, splits: pd.Series) -> None:
    for split in SPLITS:
        present = set(labels[splits == split])
        for label, name in ((1, "parasitized"), (0, "uninfected")):
            if label not in present:
                raise MalariaError(
                    f"split `{split}` would have no {name} cell; "
                    "change split.seed or split.fractions, or bring more patients."
                )
