"""Patients (or, to reproduce the articles, cells) divided into train, val and test."""

import hashlib

import numpy as np
import pandas as pd

from malaria.core.table import LABELS, SPLITS
from malaria.data.params import SplitParams
from malaria.errors import MalariaError

BURDEN_THIRDS = 3


def assign_splits(cells: pd.DataFrame, params: SplitParams) -> pd.Series:
    """Return the split of each cell: 'train', 'val' or 'test'.

    `cells` has the columns cell_id, patient and label. Units (patients or cells) are
    shuffled within their stratum by a hash of the seed and their name, so the result
    depends neither on the order of the rows nor on a library's random generator. With
    `folds`, the units of each stratum are dealt to the folds in turn: fold number `fold`
    is 'test', and the others share out 'train' and 'val' in the proportion of `fractions`.
    Raises MalariaError if a split would lack a class.
    """
    if params.unit == "patient":
        unit, strata = "patient", patient_strata(cells)
    else:
        unit, strata = "cell_id", cells.set_index("cell_id")["label"]
    order = sorted(strata.index, key=lambda name: (strata[name], _shuffled(params.seed, name)))
    shares = params.fractions.model_dump()
    tested = {}
    if params.folds is not None and params.fold is not None:
        tested = dict.fromkeys(order[params.fold - 1 :: params.folds], "test")
        rest = 1 - shares.pop("test")
        shares = {split: share / rest for split, share in shares.items()}
    dealt = tested | _deal([name for name in order if name not in tested], shares)
    splits = cells[unit].map(dealt).rename("split")
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
        for label, name in LABELS.items():
            if not ((splits == split) & (labels == label)).any():
                raise MalariaError(
                    f"split `{split}` would have no {name} cell; "
                    "change split.seed or split.fractions, or bring more patients."
                )
