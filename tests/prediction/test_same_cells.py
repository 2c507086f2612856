"""Cells of external sets that are the pipeline's own, or are there twice."""

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from malaria.data.images import resize
from malaria.prediction.external import predict_external, read_external
from malaria.prediction.same_cells import by_pixels, find_same
from malaria.prediction.table import write_table
from tests.conftest import random_images
from tests.data.test_pictures import saved
from tests.prediction.test_external import SICK, SIZE, WELL, darkness, pinned, write_zip

OWN = random_images(4, 60)
IDS = [f"C{number}_cell" for number in range(4)]


def found_in(folder: Path, images: dict[str, tuple[np.ndarray, str]]) -> pd.DataFrame:
    """Return what a set of pictures, by name with their format, is said to repeat."""
    entries = {name: saved(Image.fromarray(one), kind) for name, (one, kind) in images.items()}
    wanted = pinned(write_zip(folder / "a.zip", entries))
    small = np.stack([resize(one, SIZE) for one in OWN])
    table, _ = predict_external([wanted], SIZE, darkness, folder, own=lambda: by_pixels(small, IDS))
    write_table(table, folder / "external.csv")
    return read_external(folder / "external.csv").set_index("cell_id")


def test_own_cells_are_found_under_other_names_and_in_other_lossless_formats(
    tmp_path: Path,
) -> None:
    other = random_images(1, 60, seed=9)[0]
    changed = OWN[3].copy()
    changed[30, 30] ^= 128
    images = {
        SICK + "a.png": (OWN[2], "PNG"),
        WELL + "b.tif": (OWN[0], "TIFF"),
        WELL + "c.png": (other, "PNG"),
        WELL + "d.png": (OWN[0], "PNG"),
        WELL + "e.tif": (other, "TIFF"),
        WELL + "f.jpg": (OWN[1], "JPEG"),  # not the same pixels any more
        WELL + "g.png": (changed, "PNG"),
    }
    found = found_in(tmp_path, images)
    assert found["same_as"].dropna().to_dict() == {"a": IDS[2], "b": IDS[0], "d": IDS[0]}
    assert found["double_of"].dropna().to_dict() == {"d": "b", "e": "c"}


def test_without_a_set_no_cell_is_hashed(tmp_path: Path) -> None:
    table, warnings = predict_external(
        [], SIZE, darkness, tmp_path, own=lambda: pytest.fail("asked")
    )
    assert table.empty
    assert warnings == []


def test_images_are_hashed_one_at_a_time(tmp_path: Path) -> None:
    """Of a file of 200 MB, which is never in memory as a whole."""
    shape = (1000, 256, 256, 3)
    np.lib.format.open_memmap(tmp_path / "i.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
    names = [str(number) for number in range(shape[0])]
    tracemalloc.start()
    same = find_same(np.load(tmp_path / "i.npy", mmap_mode="r"), names, {})
    assert tracemalloc.get_traced_memory()[1] < 3_000_000
    tracemalloc.stop()
    assert set(same["double_of"][1:]) == {"0"}
