"""The table of cells, the array of their images, and the check that the two belong together."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from malaria.core.files import write_file
from malaria.errors import MalariaError

COLUMNS = ["cell_id", "label", "patient", "slide", "photo", "width", "height", "split"]
SPLITS = ("train", "val", "test")
EVALUATED = ("val", "test")  # splits that training does not fit to
DROPPED = "dropped"  # the split of a cell that a reviewer took out of training
LABELS = {1: "parasitized", 0: "uninfected"}  # 1 is the positive class of every metric
TEXT = dict.fromkeys(("cell_id", "patient", "slide", "photo", "split"), "string")


def order_digest(cell_ids: Sequence[str]) -> str:
    """Return the SHA-256 of the cell ids in their order, one per line."""
    return hashlib.sha256("\n".join(cell_ids).encode()).hexdigest()


def write_cells(cells: pd.DataFrame, path: Path) -> None:
    """Write the table of cells, one row per cell in the order given."""
    write_file(path, cells[COLUMNS].to_csv(index=False, lineterminator="\n"))


def read_cells(path: Path) -> pd.DataFrame:
    """Return the table that `write_cells` wrote."""
    return pd.read_csv(path, dtype=TEXT)


def write_order(path: Path, cell_ids: Sequence[str], size: int, data: str) -> None:
    """Write what identifies an array of images: kind of data, number, size and order."""
    content = {
        "data": data,
        "images": len(cell_ids),
        "size": size,
        "order_sha256": order_digest(cell_ids),
    }
    write_file(path, json.dumps(content, indent=2) + "\n")


def open_images(images: Path, order: Path, cells: pd.DataFrame) -> np.ndarray:
    """Return the memory-mapped images, uint8 (N, S, S, 3) RGB, row i for row i of `cells`.

    Raises MalariaError if array and table were made from different zips, and for files that are
    damaged or hold something else.
    """
    try:
        array = np.load(images, mmap_mode="r", allow_pickle=False)
        expected = json.loads(order.read_text())["order_sha256"]
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
            raise ValueError(f"an array {array.shape} of {array.dtype}")
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MalariaError(
            f"{images} and {order} are not the images of stage `preprocess` ({reason}); make "
            "them again with `uv run dvc repro` in their folder."
        ) from None
    if len(array) != len(cells) or order_digest(list(cells["cell_id"])) != expected:
        raise MalariaError(
            f"{images} holds {len(array)} images in another order than the {len(cells)} cells "
            "of the table; run `uv run dvc repro` so that both come from the same zip."
        )
    return array


def describe_data(order: Path, cells: pd.DataFrame) -> str:
    """Return what a reader must know about every number computed from these cells.

    That is whether they are real, and whether a patient's cells are in more than one split.
    """
    facts = [json.loads(order.read_text())["data"]]
    kept = cells[cells["split"] != DROPPED]
    if (kept.groupby("patient")["split"].nunique() > 1).any():
        facts.append("LEAKY cell split: patients are in several splits")
    return ", ".join(facts)
