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
    depends neither on the order of the rows nor on a library's random generator. With
    `folds`, the units are dealt to as many folds of each stratum in turn: fold number `fold`
    is 'test', and the others share out 'train' and 'val' in the proportion of `fractions`.
    Raises MalariaError where a split would lack a class.
    """
    unit = cells["patient"] if params.unit == "patient" else cells["cell_id"]
    strata = patient_strata(cells) if params.unit == "patient" else _label_strata(cells)
    order = sorted(strata.index, key=lambda name: (strata[name], _shuffled(params.seed, name)))
    shares = {split: getattr(params.fractions, split) for split in SPLITS}
    if params.folds is None or params.fold is None:
        dealt = _deal(order, shares)
    else:
        fold = [number % params.folds + 1 for number in range(len(order))]
        tested = {name for name, of in zip(order, fold, strict=True) if of == params.fold}
        rest = 1 - shares.pop("test")
        dealt = _deal(
            [name for name in order if name not in tested],
            {split: share / rest for split, share in shares.items()},
        ) | dict.fromkeys(tested, "test")
    splits = cells[unit.name].map(dealt).rename("split")
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


def _deal(order: list[str], shares: dict[str, float]) -> dict[str, str]:
    """Deal units in turn to the split that lacks most, so every stretch has the shares."""
    dealt = dict.fromkeys(shares, 0)
    result = {}
    for turn, name in enumerate(order, start=1):
        chosen = max(shares, key=lambda split: shares[split] * turn - dealt[split])
        dealt[chosen] += 1
        result[name] = chosen
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
