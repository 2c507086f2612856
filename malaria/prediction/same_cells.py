"""Cells that are the same picture, found by a hash of their pixels as the network sees them.

Equal files have equal pixels, and so have a PNG and a TIFF of them; a cell that was compressed as
JPEG or cut anew is another picture. No two of the 27,558 cells of the set are the same.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

COLUMNS = ["same_as", "double_of"]


def digests(images: Iterable[np.ndarray]) -> Iterator[bytes]:
    """Give 16 bytes for each of uint8 (N, S, S, 3) images, which are read one at a time."""
    for image in images:
        yield hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def by_pixels(images: np.ndarray, cell_ids: Iterable[str]) -> dict[bytes, str]:
    """Return the cell of each digest."""
    return dict(zip(digests(images), cell_ids, strict=True))


def find_same(
    images: np.ndarray, cell_ids: Sequence[str], known: Mapping[bytes, str]
) -> pd.DataFrame:
    """Return COLUMNS for each image: the cell of `known` it is, and the earlier image it repeats.

    They are '' if there is none; an image that is repeated counts once, the others are doubles.
    """
    first: dict[bytes, str] = {}
    rows = []
    for digest, cell_id in zip(digests(images), cell_ids, strict=True):
        rows.append((known.get(digest, ""), first.get(digest, "")))
        first.setdefault(digest, cell_id)
    return pd.DataFrame(rows, columns=COLUMNS)
