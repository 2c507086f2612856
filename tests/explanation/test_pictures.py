"""Figures of cells and of the occlusion check, and what is written in them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from malaria.explanation.cells import choose
from malaria.explanation.pictures import HEAT, OPACITY, draw_cells, draw_occlusion, overlay
from tests.conftest import random_images
from tests.explanation.test_cells import ROWS, called


@pytest.fixture
def cells() -> pd.DataFrame:
    return called(ROWS, 0.5)


def test_an_overlay_hides_no_cold_pixel() -> None:
    image = random_images(1, 8)[0]
    heat = np.zeros((8, 8))
    heat[2, 3] = 1
    covered = overlay(image, heat)
    changed = (covered != image).any(axis=-1)
    assert np.argwhere(changed).tolist() == [[2, 3]]
    mixed = OPACITY * 255 * np.array(HEAT(1.0)[:3]) + (1 - OPACITY) * image[2, 3]
    assert covered[2, 3] == pytest.approx(mixed, abs=0.51)


def draw_all(cells: pd.DataFrame, maps: np.ndarray, folder: Path) -> dict[str, bytes]:
    images = random_images(9, 16)
    draw_cells(images, cells, None, folder / "cells.png", "title")
    draw_cells(images, cells, maps, folder / "maps.png", "title")
    checks = cells[["called"]].assign(
        fall_hottest=maps.mean(axis=(1, 2)),
        fall_mean=0.5,
        correlation=np.where(cells["called"] == 1, maps[:, 0, 0], np.nan),
    )
    draw_occlusion(checks, folder / "occlusion.png", "title")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_figures_have_the_same_bytes_for_the_same_cells(
    tmp_path: Path, cells: pd.DataFrame
) -> None:
    maps = np.random.default_rng(1).random((len(cells), 16, 16))
    first = draw_all(cells, maps, tmp_path)
    assert draw_all(cells, maps, tmp_path) == first
    other = draw_all(cells, maps[::-1], tmp_path)
    assert {name for name in first if first[name] != other[name]} == {"maps.png", "occlusion.png"}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written in the figures, which are not saved."""
    texts: list[str] = []

    def keep(figure: Figure, path: Path) -> None:
        texts.extend(text.get_text() for text in figure.texts)
        texts.extend(ax.get_title() for ax in figure.axes)

    monkeypatch.setattr("malaria.drawing.save_figure", keep)
    return texts


def test_a_caption_says_what_a_cell_is(cells: pd.DataFrame, written: list[str]) -> None:
    maps = np.ones((2, 16, 16))
    maps[1] = 0
    chosen = choose(cells, "confident_wrong", 2)
    draw_cells(random_images(9, 16), chosen, maps, Path(), "title")
    assert [text for text in written if text.startswith("actual")] == [
        "actual uninfected, called parasitized\np 0.993, C3",
        "actual parasitized, called uninfected\np 0.047, C2, empty map",
    ]


@pytest.mark.parametrize("count", [0, 8])
def test_a_figure_without_cells_says_so(
    count: int, cells: pd.DataFrame, written: list[str]
) -> None:
    maps = np.zeros((count, 16, 16))
    draw_cells(random_images(9, 16), cells.head(count), maps, Path(), "title")
    assert ("There is no such cell." in written) == (count == 0)
