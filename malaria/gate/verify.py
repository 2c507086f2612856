"""Whether committed predictions are what the locked model says of the locked images.

Nothing is read from the work tree: what is committed comes from Git, data and model from DVC's
cache or the remote, each checked by its hash. No code of the revision is run.
"""

import io
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from malaria.core.environment import check_backend
from malaria.core.table import EVALUATED, open_images, read_cells
from malaria.gate.committed import read_regular
from malaria.gate.locked import inputs_of, locked_entry
from malaria.gate.predictions import shown, shown_error
from malaria.paths import CELLS, IMAGES, MODEL, ORDER, PREDICTIONS
from malaria.prediction.table import read_predictions
from malaria.quiet_keras import held_back

STAGE = "predict"
KEY = ["cell_id", "patient", "split", "label"]
NAMED = 3  # faults in full


@dataclass(frozen=True)
class Check:
    """What was done, and what was found wrong."""

    done: str
    faults: list[str]


def verify_predictions(
    root: Path, folder: str, commit: str, sample: int | None, seed: int, tolerance: float
) -> Check:
    """Return the check of a folder's predictions at a commit; `sample` is None for all cells.

    `tolerance` is a share of the logit, of 1 for smaller ones, as floating-point numbers round.
    As many val cells as test cells are drawn, because val cells choose the threshold. Raises
    MalariaError if there are no predictions, and for data or a model that cannot be had.
    """
    entry = locked_entry(root, folder, commit, STAGE)
    content = read_regular(root, commit, entry.place(PREDICTIONS)) or b""
    try:
        predictions = read_predictions(io.BytesIO(content))
    except ValueError as error:
        return Check("nothing was predicted", [f"{PREDICTIONS}: {shown_error(error)}"])
    files = inputs_of(root, entry, (MODEL, IMAGES, ORDER, CELLS))
    table = read_cells(files[CELLS])
    if faults := _other_cells(predictions, table):
        return Check("nothing was predicted", faults)
    rows = drawn_rows(table, sample, seed)
    logits = _logits(files, table, rows)
    compared = table.iloc[rows][["cell_id", "split"]].assign(model=logits)
    written = predictions[["cell_id", "logit"]]
    compared = compared.merge(written, on="cell_id", validate="one_to_one")
    written_logits = pd.to_numeric(compared["logit"], errors="coerce")
    scale = compared["model"].abs().clip(lower=1)
    compared["apart"] = ((written_logits - compared["model"]).abs() / scale).fillna(np.inf)
    parts = ", ".join(
        f"{(compared['split'] == split).sum():,} of {(table['split'] == split).sum():,} {split}"
        for split in EVALUATED
    )
    return Check(
        f"{parts} cells predicted again (seed {seed}); the largest difference of a logit is "
        f"{compared['apart'].max():.2g} of it, the tolerance {tolerance:g}",
        _differences(compared, tolerance),
    )


def _other_cells(predictions: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """Return a fault if the predictions are not of the evaluated cells of the locked table."""
    sets = []
    for frame in (predictions, table[table["split"].isin(EVALUATED)]):
        sets.append([tuple(map(str, row)) for row in frame[KEY].itertuples(index=False)])
    written, expected = map(sorted, sets)
    if written == expected:
        return []
    odd = sorted(set(written) ^ set(expected)) or [("a cell twice",)]
    return [
        f"{PREDICTIONS} has {len(written):,} cells, {CELLS} {len(expected):,} to evaluate, and "
        f"they differ in cell, patient, split or label, first in {shown(', '.join(odd[0]))}"
    ]


def drawn_rows(table: pd.DataFrame, sample: int | None, seed: int) -> np.ndarray:
    """Return the rows of the cells to predict, sorted."""
    generator = np.random.default_rng(seed)
    drawn = []
    for split in EVALUATED:
        rows = np.flatnonzero(table["split"] == split)
        size = len(rows) if sample is None else min(sample, len(rows))
        drawn.append(generator.choice(rows, size, replace=False))
    return np.sort(np.concatenate(drawn))


def _logits(files: dict[str, Path], table: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
    check_backend()
    with held_back():  # here, because Keras takes seconds to import
        from malaria.models.base.saved import load_model
        from malaria.prediction.predict import predictor

    with tempfile.TemporaryDirectory() as scratch:
        named = Path(scratch) / "model.keras"  # names in the cache have no suffix
        shutil.copyfile(files[MODEL], named)
        model = load_model(named, shown=f"the locked {MODEL} ({files[MODEL]})")
    images = open_images(files[IMAGES], files[ORDER], table)
    return predictor(model)(images, rows)


def _differences(compared: pd.DataFrame, tolerance: float) -> list[str]:
    wrong = compared[compared["apart"] > tolerance].sort_values("apart", ascending=False)
    found = [
        f"{shown(row.cell_id)}: the committed logit is {row.logit}, the model gives {row.model:.6f}"
        for row in wrong.head(NAMED).itertuples()
    ]
    if len(wrong) > NAMED:
        found.append(f"and {len(wrong) - NAMED:,} more of {len(compared):,} cells differ")
    return found
