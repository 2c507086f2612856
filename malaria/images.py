"""Cells decoded and resized into one array on disk."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from zipfile import ZipFile

import cv2
import numpy as np
from tqdm import tqdm

from malaria.archive import Cell, decode, read_entry

CHUNK = 512  # cells in flight; bounds memory, keeps every thread busy


def write_images(archive: ZipFile, cells: Sequence[Cell], size: int, path: Path) -> None:
    """Write the cells as uint8 (N, size, size, 3) RGB, in the order given, decoding each once.

    The array is written through a memory map, so memory does not grow with N.
    Raises MalariaError that names the entry which does not decode.
    """
    array = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.uint8, shape=(len(cells), size, size, 3)
    )

    reading = Lock()  # zipfile counts its open entries without one

    def fill(row: int) -> None:
        cell = cells[row]
        with reading:
            content = read_entry(archive, cell)
        array[row] = resize(np.asarray(decode(content, cell.entry)), size)

    with (
        ThreadPoolExecutor(max_workers=os.cpu_count()) as pool,
        tqdm(total=len(cells), unit="cell", desc="preprocess", disable=None) as bar,
    ):
        for start in range(0, len(cells), CHUNK):
            rows = range(start, min(start + CHUNK, len(cells)))
            for _ in pool.map(fill, rows):
                bar.update()
    array.flush()


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Return a (H, W, 3) image squashed to (size, size, 3), aspect ratio not kept.

    Cubic, as the first article does; area averaging where a side shrinks by two or more,
    because OpenCV's cubic looks at four pixels a side and would skip the others.
    """
    shrink = max(image.shape[0], image.shape[1]) / size
    method = cv2.INTER_AREA if shrink >= 2 else cv2.INTER_CUBIC
    return cv2.resize(image, (size, size), interpolation=method)
