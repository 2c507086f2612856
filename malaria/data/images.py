"""Cells decoded and resized into one array on disk."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from zipfile import ZipFile

import cv2
import numpy as np
from tqdm import tqdm

from malaria.data.archive import ZIP_AGAIN, Cell, read_entry
from malaria.data.pictures import decode

# How `resize` does it, for whoever has only the model: other pixels are other probabilities.
RESIZED = (
    "OpenCV, cubic without antialiasing (area averaging if the longer side shrinks to half or less)"
    ", aspect ratio not kept"
)
BLOCK = 16  # cells per task and per write; handing them over one by one costs too much


def write_images(
    source: ZipFile | Path,
    cells: Sequence[Cell],
    size: int,
    path: Path,
    look: Callable[[Cell, np.ndarray], None] | None = None,
    only_png: bool = True,
) -> None:
    """Write the cells as uint8 (N, size, size, 3) RGB, in the order given, decoding each once.

    They are read from `source`, a zip or a folder. Each thread holds one block of images, so
    memory does not grow with N. `look` is called with each cell and its decoded pixels. Raises
    MalariaError naming an entry that does not decode.
    """
    then = ZIP_AGAIN if isinstance(source, ZipFile) else ""
    reading = Lock()  # zipfile counts its open entries without one
    writing = Lock()

    # Not beside and renamed: a killed stage's output counts for nothing, as it is in no lock.
    with (
        path.open("wb") as file,
        ThreadPoolExecutor(max_workers=os.cpu_count()) as pool,
        tqdm(total=len(cells), unit="cell", desc="decode", disable=None) as bar,
    ):
        shape = (len(cells), size, size, 3)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        first = file.tell()

        def fill(start: int) -> int:
            part = cells[start : start + BLOCK]
            images = np.empty((len(part), size, size, 3), dtype=np.uint8)
            for cell, image in zip(part, images, strict=True):
                with reading:
                    content = read_entry(source, cell)
                pixels = decode(content, cell.entry, then, only_png)
                if look is not None:
                    look(cell, pixels)
                image[...] = resize(pixels, size)
            with writing:
                file.seek(first + start * images[0].nbytes)
                file.write(images.data)
            return len(part)

        for count in pool.map(fill, range(0, len(cells), BLOCK)):
            bar.update(count)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Return a (H, W, 3) image squashed to (size, size, 3), aspect ratio not kept.

    Cubic, as in the first article; area averaging if a side shrinks by two or more, because
    OpenCV's cubic looks at four pixels a side and would skip the others.
    """
    shrink = max(image.shape[0], image.shape[1]) / size
    method = cv2.INTER_AREA if shrink >= 2 else cv2.INTER_CUBIC
    return cv2.resize(image, (size, size), interpolation=method)
