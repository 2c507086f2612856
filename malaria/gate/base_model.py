"""The base's model on the pull request's test cells, if it was tested on others."""

import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from malaria.core.environment import check_backend
from malaria.core.table import read_cells
from malaria.data.archive import list_cells, open_archive
from malaria.data.images import write_images
from malaria.errors import MalariaError
from malaria.gate.predictions import SPLIT, Evaluated
from malaria.gate.yardstick import RESET
from malaria.paths import CELLS, LOCK, MODEL, ZIP, from_remote
from malaria.pipeline.cache import cache_folder, cached_path
from malaria.pipeline.git import find_yaml
from malaria.pipeline.stages import hashes_in, md5, place
from malaria.prediction.table import DIGITS, with_probabilities
from malaria.quiet_keras import held_back

BASE = "the base's"  # in messages


def evaluate_base_model(
    root: Path, folder: str, commit: str, at: str | None, base: Evaluated, head: Evaluated
) -> Evaluated:
    """Return the predictions of the base's model on the head's test cells, at its own threshold.

    Cells of patients that it was trained or chosen on are left out. Model and split of the base
    and the zip of the lock at the revision `at` (None: the work tree) come from DVC's cache, and
    the zip is preprocessed by this checkout's code to the size that the model takes. Raises
    MalariaError for what is not in the cache or does not belong together, and if no patient is
    left.
    """
    find = partial(_cached, root, cache_folder(root), folder)
    split, model = read_cells(find(commit, CELLS, BASE)), find(commit, MODEL, BASE)
    source = find(at, ZIP, "the pull request's")
    known = split.loc[split["split"] != SPLIT, "patient"]
    cells = head.only(~head.cells["patient"].isin(known)).cells
    if cells.empty:
        raise MalariaError(
            f"{folder}: the base's model was trained or chosen on all "
            f"{head.cells['patient'].nunique()} test patients of the pull request, so they cannot "
            f"judge it; keep test patients apart, or {RESET}."
        )
    with tempfile.TemporaryDirectory() as scratch:
        logits = _logits(model, source, list(cells["cell_id"]), Path(scratch))
    # Rounded as predictions.csv is, whose numbers are the head's.
    return Evaluated(with_probabilities(cells.assign(logit=logits)).round(DIGITS), base.threshold)


def _logits(model: Path, source: Path, cell_ids: list[str], scratch: Path) -> np.ndarray:
    """Return the logits that a model in the cache gives cells of a zip."""
    check_backend()
    with held_back():  # here, because Keras takes seconds to import
        from malaria.models.base.saved import load_model
        from malaria.prediction.predict import predictor

    named = scratch / "model.keras"  # names in the cache have no suffix
    shutil.copyfile(model, named)
    loaded = load_model(named, shown=f"the base's {MODEL} ({model})")
    with open_archive(source) as archive:
        entries = {cell.cell_id: cell for cell in list_cells(archive)}
        unknown = [name for name in cell_ids if name not in entries]
        if unknown:
            raise MalariaError(
                f"the test cell {unknown[0]} is not in the zip that {LOCK} names; run `uv run dvc "
                "repro` in its folder and commit the reports."
            )
        images = scratch / "images.npy"
        write_images(archive, [entries[name] for name in cell_ids], loaded.input_shape[1], images)
    return predictor(loaded)(np.load(images, mmap_mode="r"), np.arange(len(cell_ids)))


def _cached(
    root: Path, cache: Path, folder: str, revision: str | None, path: str, whose: str
) -> Path:
    """Return the cached file of an output that the lock at a revision names; None: work tree."""
    lock = find_yaml(root, revision, place(folder, LOCK))
    if lock is None:
        raise MalariaError(
            f"{whose} {place(folder, LOCK)} does not exist, so the model behind the predictions "
            f"is not known; {RESET}."
        )
    wanted = hashes_in(lock).get(path)
    if wanted is None:
        raise MalariaError(f"{whose} {LOCK} names no {path}; run `uv run dvc repro` there.")
    found = cached_path(cache, wanted)
    if not found.is_file():
        command = from_remote(root, folder, "fetch --all-commits")
        fetch = f"fetch it with `{command}`, or " if command else ""
        raise MalariaError(f"{whose} {path} (MD5 {wanted}) is not in DVC's cache; {fetch}{RESET}.")
    if (is_now := md5(found)) != wanted:  # a model is code, and a split says what was known
        raise MalariaError(
            f"{whose} {path} in DVC's cache ({found}) has the MD5 {is_now}, not {wanted}; delete "
            "it there and fetch it anew."
        )
    return found
