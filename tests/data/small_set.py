"""A set of the shape of the real one, small, in every container and layout that people have."""

import hashlib
import lzma
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malaria.core.params import parse
from malaria.data import known
from malaria.data.layout import in_zip_order, write_cells
from malaria.data.params import FetchParams
from malaria.data.pictures import decode
from tests.conftest import png, random_images

SICK, WELL = "Parasitized/", "Uninfected/"
NAMES = [
    *(
        f"{SICK}C{patient}P{patient}ThinF_IMG_2015_1_cell_{n}.png"
        for patient in (3, 20)
        for n in range(8)
    ),
    *(f"{WELL}C{patient}thinF_IMG_2015_1_cell_{n}.png" for patient in (1, 3, 20) for n in range(5)),
]
CELLS = {
    place: png(pixels)
    for place, pixels in zip(NAMES, random_images(len(NAMES), 9, seed=5), strict=True)
}
FIRST = NAMES[0]
LITTER = ["Thumbs.db", ".DS_Store", "desktop.ini", "Icon\r", "@eaDir/x.png", "$RECYCLE.BIN/x.png"]
LITTER += ["__MACOSX/._x.png"]


def of_patients(*patients: str) -> dict[str, bytes]:
    return {place: one for place, one in CELLS.items() if known.patient_of(place) in patients}


def hashes(cells: Mapping[str, bytes]) -> dict[str, str]:
    return {place: hashlib.sha256(one).hexdigest() for place, one in cells.items()}


def the_zip(folder: Path, cells: Mapping[str, bytes] = CELLS) -> bytes:
    """Return the zip that `fetch` leaves."""
    path = folder / "expected.zip"
    write_cells(path, [(place, cells[place]) for place in in_zip_order(cells)])
    content = path.read_bytes()
    path.unlink()
    return content


def params(
    folder: Path, url: str, cells: Mapping[str, bytes] = CELLS, **others: Any
) -> FetchParams:
    """Return params that pin these cells."""
    pins = {
        "cells": known.digest(hashes(cells)),
        "sha256": hashlib.sha256(the_zip(folder, cells)).hexdigest(),
    }
    section = {"url": url, "download": "none", "patients": "none", "synthetic": "none"}
    return parse(FetchParams, section | pins | others)


def write_lists(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the lists of the set be those of the small one."""
    folder.mkdir(exist_ok=True)
    pixels: dict[str, dict[str, str]] = {}
    for place, one in CELLS.items():
        own = pixels.setdefault(known.patient_of(place), {})
        own[place] = known.pixel_hash(decode(one, place))
    by_patient = {patient: known.digest(own) for patient, own in pixels.items()}
    (folder / "cells.xz").write_bytes(lzma.compress(known.as_lines(hashes(CELLS)).encode()))
    (folder / "pixels.tsv").write_text(known.as_lines(by_patient))
    patch.setattr(known, "CELLS", folder / "cells.xz")
    patch.setattr(known, "PIXELS", folder / "pixels.tsv")


def write_any_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a zip of files by their names there, deflated."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder by their names there."""
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def official(cells: Mapping[str, bytes] = CELLS) -> dict[str, bytes]:
    thumbs = {f"cell_images/{folder}Thumbs.db": b"thumbnails" for folder in (SICK, WELL)}
    return {f"cell_images/{place}": one for place, one in list(cells.items())[::-1]} | thumbs


def kaggle(cells: Mapping[str, bytes] = CELLS) -> dict[str, bytes]:
    files = official(cells)
    return files | {f"cell_images/{name}": one for name, one in files.items()}


def littered(cells: Mapping[str, bytes] = CELLS) -> dict[str, bytes]:
    places = ("", "cell_images/", "cell_images/Parasitized/")
    return official(cells) | {place + name: b"x" for place in places for name in LITTER}


def encoded_anew(content: bytes) -> bytes:
    """Return another PNG of the same pixels."""
    other = png(np.array(decode(content, "x")), compress_level=0)
    assert other != content
    return other


LAYOUTS: dict[str, Callable[[Mapping[str, bytes]], dict[str, bytes]]] = {
    "official": official,
    "kaggle": kaggle,
    "littered": littered,
    "bare": dict,
    "deeper": lambda cells: {f"my data/NIH/{place}": one for place, one in cells.items()},
}
