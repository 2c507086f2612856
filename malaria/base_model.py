"""The base's model on the pull request's test cells, where it was tested on others."""

import malaria.quiet_keras  # noqa: F401

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from malaria.archive import list_cells, open_archive
from malaria.cached import cache_folder, cached_path
from malaria.cells import read_cells
from malaria.errors import MalariaError
from malaria.evaluated import Evaluated
from malaria.images import write_images
from malaria.metrics import DIGITS, with_probabilities
from malaria.pipeline import LOCK, hashes_in
from malaria.prediction import predictor
from malaria.revisions import find_yaml

MODEL = "models/model.keras"
CELLS = "data/cells.csv"
ZIP = "data/raw/cell_images.zip"
TEST = "test"


def evaluate_base(
    root: Path, folder: str, commit: str, base: Evaluated, head: Evaluated
) -> Evaluated:
    """Return what the base's model says of the head's test cells, at the base's own threshold.

    Cells of patients that it was trained or chosen on are left out, as it knows them. Model and
    split of the base and the zip of the work tree's lock come from DVC's cache, and the zip is
    preprocessed by this checkout's code to the size that the model takes. Raises MalariaError
    for what is not in the cache or does not belong together, and where no patient is left.
    """
    theirs, ours = (_locked(root, at, f"{folder}/{LOCK}") for at in (commit, None))
    cache = cache_folder(root)
    split, model, source = (
        read_cells(_cached(cache, theirs, CELLS, "the base's")),
        _cached(cache, theirs, MODEL, "the base's"),
        _cached(cache, ours, ZIP, "the pull request's"),
    )
    known = split.loc[split["split"] != TEST, "patient"]
    cells = head.cells[~head.cells["patient"].isin(known)].reset_index(drop=True)
    if cells.empty:
        raise MalariaError(
            f"{folder}: the base's model was trained or chosen on all "
            f"{head.cells['patient'].nunique()} test patients of the pull request, so they cannot "
            "judge it; keep test patients apart, or set gate.baseline_reset."
        )
    with tempfile.TemporaryDirectory() as scratch:
        logits = _logits(model, source, list(cells["cell_id"]), Path(scratch))
    # Rounded as predictions.csv is, whose numbers are the head's.
    return Evaluated(with_probabilities(cells.assign(logit=logits)).round(DIGITS), base.threshold)


def _logits(model: Path, source: Path, cell_ids: list[str], scratch: Path) -> np.ndarray:
    """Return the logits of cells in a zip, of a model in the cache, where names have no suffix."""
    named = scratch / "model.keras"
    shutil.copyfile(model, named)
    loaded = keras.models.load_model(named)
    with open_archive(source) as archive:
        entries = {cell.cell_id: cell for cell in list_cells(archive)}
        unknown = [name for name in cell_ids if name not in entries]
        if unknown:
            raise MalariaError(
                f"the test cell {unknown[0]} is not in the zip that {LOCK} names; run `uv run dvc "
                "repro` and commit its reports."
            )
        images = scratch / "images.npy"
        write_images(archive, [entries[name] for name in cell_ids], loaded.input_shape[1], images)
    return predictor(loaded)(np.load(images, mmap_mode="r"), np.arange(len(cell_ids)))


def _cached(cache: Path, locked: Mapping[str, str], path: str, whose: str) -> Path:
    if path not in locked:
        raise MalariaError(f"{whose} {LOCK} names no {path}; run `uv run dvc repro` there.")
    found = cached_path(cache, locked[path])
    if not found.is_file():
        raise MalariaError(
            f"{whose} {path} (MD5 {locked[path]}) is not in DVC's cache; fetch it with `uv run dvc "
            "fetch --all-commits`, or set gate.baseline_reset to the base's commit and the reason."
        )
    return found


def _locked(root: Path, revision: str | None, path: str) -> dict[str, str]:
    """Return the md5 of each output of a lock by its path; no revision: the work tree."""
    lock = find_yaml(root, revision, path)
    if lock is None:
        raise MalariaError(
            f"{path} is not at {revision or 'the work tree'}, so the model behind the predictions "
            "is not known; set gate.baseline_reset to the base's commit and the reason."
        )
    return hashes_in(lock)
