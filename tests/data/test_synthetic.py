"""The synthetic smears: layout, names, imbalances, and a task that colour does not solve."""

import io
import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.ensemble import GradientBoostingClassifier

from malaria.data.params import SyntheticParams
from malaria.data.synthetic import draw
from malaria.errors import MalariaError

NAME = re.compile(r"C(?P<patient>\d+)[A-Za-z0-9_]+_IMG_\d{8}_\d{6}_cell_\d+\.png")
PARAMS = SyntheticParams(infected_patients=30, healthy_patients=10, cells=600, seed=3)
FEW = SyntheticParams(infected_patients=3, healthy_patients=3, cells=60, seed=1)


@dataclass(frozen=True)
class Crop:
    """One cell as read back from the zip; pixels (height, width, 3) uint8."""

    name: str
    parasitized: bool
    patient: int
    pixels: NDArray[np.uint8]

    @cached_property
    def colour(self) -> NDArray[np.float64]:
        """Mean colour of the cell without its black surroundings, (3,)."""
        mean: NDArray[np.float64] = self.pixels[self.pixels.any(axis=2)].mean(axis=0)
        return mean


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "cells.zip"
    draw(PARAMS, path)
    return path


@pytest.fixture(scope="module")
def crops(archive: Path) -> list[Crop]:
    found = []
    with zipfile.ZipFile(archive) as smears:
        for entry in smears.namelist():
            _, folder, name = entry.split("/")
            if match := NAME.fullmatch(name):
                image = Image.open(io.BytesIO(smears.read(entry)))
                assert image.mode == "RGB"
                is_sick, patient = folder == "Parasitized", int(match["patient"])
                found.append(Crop(name, is_sick, patient, np.asarray(image)))
    return found


def test_same_params_give_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for number, seed in enumerate((1, 1, 2)):
        draw(FEW.model_copy(update={"seed": seed}), tmp_path / f"{number}.zip")
        contents.append((tmp_path / f"{number}.zip").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_layout_is_the_official_one(archive: Path) -> None:
    with zipfile.ZipFile(archive) as smears:
        entries = smears.infolist()
    names = [entry.filename for entry in entries]
    for folder in ("cell_images/Parasitized/", "cell_images/Uninfected/"):
        inside = [name for name in names if name.startswith(folder)]
        assert inside[0] == folder
        assert inside[-1] == f"{folder}Thumbs.db"
        assert inside[1:-1] == sorted(inside[1:-1])
        assert all(NAME.fullmatch(name.removeprefix(folder)) for name in inside[1:-1])
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert len({entry.date_time for entry in entries}) == 1


def test_there_are_as_many_cells_as_asked_for_and_no_name_twice(crops: list[Crop]) -> None:
    assert len(crops) == PARAMS.cells
    assert len({crop.name for crop in crops}) == PARAMS.cells
    assert sum(crop.parasitized for crop in crops) == PARAMS.cells // 2


def test_only_infected_patients_have_a_p_number_and_parasites(crops: list[Crop]) -> None:
    everybody = {crop.patient for crop in crops}
    p_numbered = {crop.patient for crop in crops if re.match(r"C\d+[AB]?P\d", crop.name)}
    assert len(everybody) == PARAMS.infected_patients + PARAMS.healthy_patients
    assert len(p_numbered) == PARAMS.infected_patients
    assert {crop.patient for crop in crops if crop.parasitized} == p_numbered
    assert {crop.patient for crop in crops if not crop.parasitized} == everybody


def test_one_patient_was_photographed_through_two_microscopes(crops: list[Crop]) -> None:
    slides = {(crop.patient, crop.name.split("_IMG")[0]) for crop in crops}
    per_patient = Counter(patient for patient, _ in slides)
    assert sorted(per_patient.values())[-2:] == [1, 2]


def test_parasitized_cells_are_uneven_over_patients_and_uninfected_even(crops: list[Crop]) -> None:
    parasitized = sorted(Counter(c.patient for c in crops if c.parasitized).values())
    uninfected = sorted(Counter(c.patient for c in crops if not c.parasitized).values())
    assert parasitized[0] <= 3
    assert sum(parasitized[-3:]) > 0.3 * sum(parasitized)
    assert uninfected[-1] < 1.5 * uninfected[0]


def test_crops_vary_in_size_and_are_black_in_the_corners(crops: list[Crop]) -> None:
    sides = np.array([crop.pixels.shape[:2] for crop in crops])
    assert sides.min() >= 50
    assert sides.max() <= 260
    assert 115 < np.median(sides) < 145
    assert sides.std() > 10
    for crop in crops:
        assert not crop.pixels[:: len(crop.pixels) - 1, :: crop.pixels.shape[1] - 1].any()
        assert crop.pixels[len(crop.pixels) // 2].any()


def test_stains_differ_more_between_patients_than_within(crops: list[Crop]) -> None:
    healthy: dict[int, list[NDArray[np.float64]]] = {}
    for crop in crops:
        if not crop.parasitized:
            healthy.setdefault(crop.patient, []).append(crop.colour)
    between = np.std([np.mean(colours, axis=0) for colours in healthy.values()], axis=0)
    within = np.mean([np.std(colours, axis=0) for colours in healthy.values()], axis=0)
    assert (between > 2 * within).all()


def test_colour_and_size_do_not_solve_it(crops: list[Crop]) -> None:
    features = np.array([[*crop.colour, *crop.pixels.shape[:2]] for crop in crops])
    labels = np.array([crop.parasitized for crop in crops])
    held_out = np.array([crop.patient % 4 == 0 for crop in crops])
    model = GradientBoostingClassifier(random_state=0)
    model.fit(features[~held_out], labels[~held_out])
    assert model.score(features[held_out], labels[held_out]) < 0.8


@pytest.mark.parametrize("cells", [60, 79])
def test_too_few_cells_for_the_patients_are_refused(tmp_path: Path, cells: int) -> None:
    with pytest.raises(MalariaError, match=f"cells is {cells}"):
        draw(PARAMS.model_copy(update={"cells": cells}), tmp_path / "cells.zip")
    assert not list(tmp_path.iterdir())
