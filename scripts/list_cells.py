"""Writes malaria/data/nih_cells.tsv.xz and nih_pixels.tsv from a copy of the whole set.

    uv run python scripts/list_cells.py COPY

COPY is a zip or a folder. The first file has the lines whose digest `fetch.cells` of params.yaml
pins, so a copy with other cells shows.
"""

import hashlib
import lzma
import sys
from collections import defaultdict
from pathlib import Path

from malaria.core.files import write_file
from malaria.data.content import chosen_places, read_cells
from malaria.data.copies import open_copy
from malaria.data.known import CELLS, PIXELS, Wanted, as_lines, digest, patient_of, pixel_hash
from malaria.data.pictures import decode


def main(source: Path) -> None:
    """Write both lists."""
    hashes: dict[str, str] = {}
    pixels: dict[str, dict[str, str]] = defaultdict(dict)
    with open_copy(source) as copy:
        places = chosen_places(copy, Wanted("", "", None, {}, frozenset()))
        for place, content in read_cells(copy, places):
            hashes[place] = hashlib.sha256(content).hexdigest()
            decoded = decode(content, place, only_png=True)
            pixels[patient_of(place)][place] = pixel_hash(decoded)
    ordered = sorted(pixels, key=lambda patient: int(patient[1:]))
    write_file(CELLS, lzma.compress(as_lines(hashes).encode(), preset=9))
    write_file(PIXELS, as_lines({patient: digest(pixels[patient]) for patient in ordered}))
    print(f"{len(hashes)} cells of {len(ordered)} patients, digest {digest(hashes)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
