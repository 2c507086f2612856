"""The cells of the NIH set by name and SHA-256, to name what a copy lacks or has changed.

`nih_cells.tsv.xz` has a line per cell, its place and the SHA-256 of its PNG, in the order of the
zip; without the folders and sorted they are the lines whose digest `fetch.cells` pins.
`nih_pixels.tsv` has a line per patient with a digest of the pixels, which a re-encoded PNG keeps.
What `fetch` leaves does not depend on them, as params pin its bytes. `scripts/list_cells.py` writes
both.
"""

import hashlib
import lzma
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from malaria.data.archive import cell_of
from malaria.data.layout import CLASSES

CELLS = Path(__file__).with_name("nih_cells.tsv.xz")
PIXELS = Path(__file__).with_name("nih_pixels.tsv")


@dataclass(frozen=True)
class Wanted:
    """What params pin, and what is known of it.

    cells: digest of names and PNGs; sha256: of the zip; patients: None for all that a copy has;
    known: the SHA-256 of each PNG by its place, empty if the lists do not describe what is pinned;
    others: places of the lists' other patients.
    """

    cells: str
    sha256: str
    patients: frozenset[str] | None
    known: Mapping[str, str]
    others: frozenset[str]


def wanted(cells: str, sha256: str, patients: Collection[str] | None) -> Wanted:
    """Return what the digests pin for some patients, or for all."""
    listed = read_lines(lzma.decompress(CELLS.read_bytes()).decode())
    chosen = None if patients is None else frozenset(patients)
    known = {
        place: found
        for place, found in listed.items()
        if chosen is None or patient_of(place) in chosen
    }
    if digest(known) != cells:
        return Wanted(cells, sha256, chosen, {}, frozenset())
    return Wanted(cells, sha256, chosen, known, frozenset(listed.keys() - known))


def patient_of(place: str) -> str:
    """Return the patient of a cell, '' if its name is not of the official form."""
    folder, _, _ = place.partition("/")
    cell = cell_of(place, CLASSES[folder])
    return cell.patient if cell else ""


def digest(hashes: Mapping[str, str]) -> str:
    """Return the SHA-256 of the sorted lines `name<TAB>SHA-256` of PNGs, given by place."""
    lines = sorted(f"{place.partition('/')[2]}\t{found}\n" for place, found in hashes.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def pixel_hash(pixels: np.ndarray) -> str:
    """Return the SHA-256 of uint8 (H, W, 3) pixels and their shape."""
    height, width, _ = pixels.shape
    return hashlib.sha256(f"{width} x {height}\n".encode() + pixels.tobytes()).hexdigest()


def known_pixels() -> dict[str, str]:
    """Return, by patient, the `digest` of the pixels of all its cells."""
    return read_lines(PIXELS.read_text(encoding="utf-8"))


def as_lines(values: Mapping[str, str]) -> str:
    """Return a mapping as lines of key, tab and value."""
    return "".join(f"{key}\t{value}\n" for key, value in values.items())


def read_lines(text: str) -> dict[str, str]:
    """Return what `as_lines` wrote."""
    return {key: value for key, _, value in (line.partition("\t") for line in text.splitlines())}
