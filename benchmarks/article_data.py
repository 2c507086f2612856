"""The article's way up to its training, from loose files; run by scale.py and preprocess.py.

    python article_data.py fetch|split|preprocess|explore ZIP FOLDER SIZE

Nothing of this repository is imported, so a side pays for its own work alone.
"""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np

THREADS = min(32, (os.cpu_count() or 1) + 4)  # ThreadPoolExecutor's default, which it takes
SEED = 42


def unzip(archive: Path, folder: Path) -> None:
    """Leave the cells as loose files."""
    with ZipFile(archive) as opened:
        opened.extractall(folder)


def loose_files(folder: Path) -> list[Path]:
    """Return all cells below a folder."""
    return sorted(folder.rglob("*.png"))


def split(files: Sequence[Path]) -> list[list[Path]]:
    """Return 63, 7 and 30 % of the cells, whoever's they are; nothing is read of them."""
    order = np.random.default_rng(SEED).permutation(len(files))
    ends = np.cumsum([0.63, 0.07]) * len(files)
    return [[files[number] for number in part] for part in np.split(order, ends.astype(int))]


def load_images(files: Sequence[Path], size: int, threads: int = THREADS) -> np.ndarray:
    """Return the images as the article loads them: BGR, cubic, all in memory."""

    def load_one(path: Path) -> np.ndarray:
        return cv2.resize(_read(path), dsize=(size, size), interpolation=cv2.INTER_CUBIC)

    with ThreadPoolExecutor(threads) as pool:
        return np.array(list(pool.map(load_one, files)))


def describe_sizes(files: Sequence[Path]) -> None:
    """Print what the article says of the crops' sizes, for which it decodes each of them."""
    with ThreadPoolExecutor(THREADS) as pool:
        shapes = np.array(list(pool.map(lambda path: _read(path).shape, files)))
    for value in (shapes.min(axis=0), shapes.mean(axis=0), np.median(shapes, axis=0)):
        print(value)
    print(shapes.max(axis=0))


def _read(path: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(path)))


def main(step: str, archive: Path, folder: Path, size: int) -> None:
    """Run one step; those after `fetch` need what it left."""
    if step == "fetch":
        unzip(archive, folder)
        return
    files = loose_files(folder)
    if step == "split":
        print([len(part) for part in split(files)])
    elif step == "preprocess":
        print(load_images(files, size).shape)
    else:
        describe_sizes(files)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
