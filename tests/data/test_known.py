"""The lists of the set's cells: they are what params pin, and what the real cells say."""

import hashlib
import lzma
import zipfile
from collections import defaultdict

import pytest

from malaria.core.params import load
from malaria.data import known
from malaria.data.params import FetchParams
from malaria.data.patients import read_patients
from malaria.data.pictures import decode
from tests.conftest import REPO

REAL = REPO.parent / "shared/nih/cell_images_80_patients.zip"


def test_the_list_is_what_root_and_pilot_pin() -> None:
    text = lzma.decompress(known.CELLS.read_bytes()).decode()
    names = sorted(line.partition("/")[2] for line in text.splitlines(keepends=True))
    root, pilot = (load(FetchParams, REPO / path / "params.yaml") for path in (".", "pilot"))
    assert hashlib.sha256("".join(names).encode()).hexdigest() == root.cells
    patients = read_patients(REPO / "pilot/patients.txt")
    whole = known.wanted(str(root.cells), "", None)
    some = known.wanted(str(pilot.cells), "", patients)
    assert (len(whole.known), len(whole.others)) == (27_558, 0)
    assert (len(some.known), len(some.others)) == (9_996, 27_558 - 9_996)
    assert {known.patient_of(place) for place in some.known} == set(patients)
    assert {known.patient_of(place) for place in whole.known} == set(known.known_pixels())


def test_the_list_is_not_taken_for_another_set() -> None:
    assert not known.wanted("0" * 64, "", None).known


@pytest.mark.skipif(not REAL.exists(), reason="../shared/nih has no 80 real patients")
def test_the_lists_are_those_of_the_real_cells() -> None:
    listed = known.read_lines(lzma.decompress(known.CELLS.read_bytes()).decode())
    pixels: dict[str, dict[str, str]] = defaultdict(dict)
    with zipfile.ZipFile(REAL) as archive:
        for name in archive.namelist():
            if name.endswith(".png"):
                place, content = name.removeprefix("cell_images/"), archive.read(name)
                assert listed[place] == hashlib.sha256(content).hexdigest()
                own = known.pixel_hash(decode(content, place))
                pixels[known.patient_of(place)][place] = own
    known_pixels = known.known_pixels()
    assert {patient: known.digest(own) for patient, own in pixels.items()} == {
        patient: known_pixels[patient] for patient in pixels
    }
