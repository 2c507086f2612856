"""Tables and samples of the cells, before any model.

Samples are only from the train split: who looks at test cells may choose by them.
"""

import hashlib

import numpy as np
import pandas as pd

from malaria.core.table import LABELS, SPLITS

BATCH = 1024
BALANCE = ["split", "patients", "infected", "healthy", "cells", "parasitized", "uninfected"]
SUMMARY = {"min": 0, "quarter": 0.25, "median": 0.5, "three_quarters": 0.75, "max": 1}


def balance_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return patients and cells of each class by split; infected patients have parasitized cells.

    `cells` has the columns patient, label and split.
    """
    burden = cells.groupby("patient")["label"].transform("sum")
    rows = []
    for split in SPLITS:
        inside = cells["split"] == split
        patients = cells.loc[inside, "patient"].nunique()
        infected = cells.loc[inside & (burden > 0), "patient"].nunique()
        count, parasitized = inside.sum(), cells.loc[inside, "label"].sum()
        healthy, uninfected = patients - infected, count - parasitized
        rows.append([split, patients, infected, healthy, count, parasitized, uninfected])
    return pd.DataFrame(rows, columns=BALANCE)


def size_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the quartiles of the crops' width and height in pixels, by class."""
    rows = []
    for label, name in LABELS.items():
        for side in ("width", "height"):
            values = cells.loc[cells["label"] == label, side]
            summary = {key: values.quantile(share) for key, share in SUMMARY.items()}
            rows.append({"class": name, "side": side, "cells": len(values), **summary})
    return pd.DataFrame(rows)


def sample_rows(cells: pd.DataFrame, label: int, count: int) -> np.ndarray:
    """Return row numbers of `count` train cells of a class, of as many patients as possible."""
    return spread(cells[(cells["label"] == label) & (cells["split"] == "train")], count)


def spread(cells: pd.DataFrame, count: int) -> np.ndarray:
    """Return the index of `count` of these cells, of as many patients as possible.

    They are ordered by a hash of their names, so no random generator is involved; each patient
    gives one cell before any gives a second.
    """
    order = cells["cell_id"].map(lambda name: hashlib.sha256(name.encode()).hexdigest())
    shuffled = cells.loc[order.sort_values().index]
    turn = shuffled.groupby("patient").cumcount()
    return turn.sort_values(kind="stable").index.to_numpy()[:count]


def mean_image(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the float64 mean (S, S, 3) of the chosen uint8 images."""
    total = np.zeros(images.shape[1:])
    for start in range(0, len(rows), BATCH):
        total += np.asarray(images[rows[start : start + BATCH]]).sum(axis=0, dtype="float64")
    return total / len(rows)
