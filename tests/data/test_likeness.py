"""Crops that are unlike any cell of the set: which are named, and that no real cell is."""

import numpy as np
import pytest

from malaria.core.files import find_in_mirror
from malaria.core.params import load
from malaria.data.archive import list_cells, open_archive, read_entry
from malaria.data.likeness import LIKE, LISTED, describe_unlike, unlikeness
from malaria.data.params import FetchParams, SyntheticParams
from malaria.data.pictures import decode
from malaria.data.smear import draw_cell
from malaria.data.synthetic import Cell, cells_of, generator, patients
from tests.conftest import REPO


def cell(side: int = 130, black: float = 0.25, background: int = 0) -> np.ndarray:
    """Return a crop whose left part is background."""
    pixels = np.full((side, side, 3), 180, dtype=np.uint8)
    pixels[:, : round(side * black)] = background
    return pixels


@pytest.mark.parametrize(
    "pixels", [cell(), cell(40), cell(400), cell(black=0.11), cell(130, 0.2, 9)]
)
def test_a_crop_like_the_set_has_no_warning(pixels: np.ndarray) -> None:
    assert unlikeness(pixels) == ""


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (cell(1), "is 1 x 1 px"),
        (cell(39), "is 39 x 39 px"),
        (cell(401), "is 401 x 401 px"),
        (np.zeros((50, 2000, 3), dtype=np.uint8), "is 2000 x 50 px"),  # a field
        (cell(black=0), "has 0% black"),
        (cell(black=0.08), "has 8% black"),
        (cell(background=255), "has 0% black"),  # cut out on white
    ],
)
def test_other_pictures_are_named_with_the_reason(pixels: np.ndarray, said: str) -> None:
    assert unlikeness(pixels) == said


def test_the_warning_names_the_first_and_counts_all() -> None:
    assert describe_unlike({"a": "", "b": ""}, 2) == ""
    said = describe_unlike({"a": "", "b": "is 1 x 1 px"}, 2)
    assert said == (
        f"1 of 2 crops is unlike any cell of the set ({LIKE}), so its label means nothing: "
        "'b' is 1 x 1 px"
    )
    many = describe_unlike({str(number): "has 0% black" for number in range(LISTED + 1)}, 9)
    assert many.endswith("; '4' has 0% black; and 1 more")


def test_no_real_cell_is_unlike_the_set() -> None:
    zip_file = find_in_mirror(str(load(FetchParams, REPO / "pilot/params.yaml").sha256))
    if zip_file is None:
        pytest.skip("the pilot's zip is not in MALARIA_MIRROR")
    with open_archive(zip_file) as archive:
        for found in list_cells(archive)[::10]:
            assert unlikeness(decode(read_entry(archive, found), found.entry)) == "", found.entry


def test_no_cell_of_the_demo_is_unlike_the_set() -> None:
    drawn = load(FetchParams, REPO / "demo/params.yaml").synthetic
    assert isinstance(drawn, SyntheticParams)
    for patient in patients(drawn)[::5]:
        for one in cells_of(patient, generator(drawn.seed, patient.number))[:5]:
            assert isinstance(one, Cell)
            rng = generator(drawn.seed, one.patient, one.index)
            assert unlikeness(draw_cell(rng, one.stain, parasitized=bool(one.label))) == ""
