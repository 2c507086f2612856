"""Which cells are shown, and pictures that say what is in them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.special import expit

from malaria import explain
from malaria.errors import MalariaError
from malaria.params.base import parse
from malaria.params.explain import ExplainParams
from tests.conftest import random_images

# Test cells with the threshold .5: name, patient, label, logit; h is as unsure as g.
ROWS = [
    ("h", "C2", 0, 0.1),
    ("a", "C1", 1, 9.0),
    ("b", "C1", 1, 4.0),
    ("c", "C2", 1, -3.0),
    ("d", "C2", 0, -8.0),
    ("e", "C3", 0, -2.0),
    ("f", "C3", 0, 5.0),
    ("g", "C3", 1, -0.1),
]


def predicted(rows: list[tuple[str, str, int, float]], split: str = "test") -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["cell_id", "patient", "label", "logit"])
    return table.assign(split=split, probability=expit(table["logit"]))


@pytest.fixture
def cells() -> pd.DataFrame:
    predictions = pd.concat([predicted([("v", "C9", 1, -99.0)], "val"), predicted(ROWS)])
    table = predictions[["cell_id"]].sort_values("cell_id", ascending=False, ignore_index=True)
    return explain.called_cells(predictions, table, 0.5)


def test_cells_are_the_test_splits_with_their_rows_and_calls(cells: pd.DataFrame) -> None:
    assert cells["cell_id"].tolist() == list("abcdefgh")
    assert cells["row"].tolist() == [8, 7, 6, 5, 4, 3, 2, 1]  # v is the first of the images
    assert cells["called"].tolist() == [1, 1, 0, 0, 0, 1, 0, 1]
    assert cells["distance"].tolist() == pytest.approx([9, 4, 3, 8, 2, 5, 0.1, 0.1])
    assert cells["loss"].tolist()[5] == pytest.approx(-np.log(1 - expit(5.0)))


def test_distances_are_from_the_thresholds_logit() -> None:
    predictions = predicted([("a", "C1", 1, 2.0), ("b", "C1", 1, -2.0)])
    cells = explain.called_cells(predictions, predictions, float(expit(-1.5)))
    assert cells["distance"].tolist() == pytest.approx([3.5, 0.5])
    assert cells["called"].tolist() == [1, 0]


@pytest.mark.parametrize("threshold", [0.0, 1.000001])
def test_a_threshold_that_calls_all_or_none_has_distances(threshold: float) -> None:
    predictions = predicted(ROWS)
    cells = explain.called_cells(predictions, predictions, threshold)
    assert cells["called"].nunique() == 1
    assert np.isfinite(cells["distance"]).all()


@pytest.mark.parametrize(
    ("kind", "count", "names"),
    [
        ("confident_right", 2, "ad"),
        ("confident_right", 3, "abd"),
        ("confident_right", 8, "abde"),
        ("confident_wrong", 2, "fc"),
        ("confident_wrong", 8, "fcgh"),
        ("least_sure", 2, "gh"),
        ("least_sure", 3, "ghe"),
        ("top_losses", 3, "fcg"),
    ],
)
def test_kinds(cells: pd.DataFrame, kind: str, count: int, names: str) -> None:
    for order in (cells, cells[::-1]):
        assert explain.choose(order, kind, count)["cell_id"].tolist() == list(names)


def test_a_sample_is_half_of_each_call_and_of_many_patients() -> None:
    rng = np.random.default_rng(1)
    rows = [(f"n{i}", f"C{i % 6}", i % 3 % 2, float(rng.normal())) for i in range(90)]
    predictions = predicted(rows)
    cells = explain.called_cells(predictions, predictions, 0.5)
    sample = explain.sample_calls(cells, 9)
    assert sample["called"].tolist() == [1] * 5 + [0] * 4
    assert sample.groupby("called")["patient"].nunique().tolist() == [4, 5]
    again = explain.sample_calls(cells.sample(frac=1, random_state=2), 9)
    assert again["cell_id"].tolist() == sample["cell_id"].tolist()
    assert len(explain.sample_calls(cells, 1000)) == 90


def test_an_overlay_hides_no_cold_pixel() -> None:
    image = random_images(1, 8)[0]
    heat = np.zeros((8, 8))
    heat[2, 3] = 1
    covered = explain.overlay(image, heat)
    changed = (covered != image).any(axis=-1)
    assert changed[2, 3]
    assert changed.sum() == 1
    yellow = 255 * np.array(explain.HEAT(1.0)[:3])
    mixed = explain.OPACITY * yellow + (1 - explain.OPACITY) * image[2, 3]
    assert covered[2, 3] == pytest.approx(mixed, abs=0.51)


def draw_all(cells: pd.DataFrame, maps: np.ndarray, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    images = random_images(9, 16)
    explain.draw_cells(images, cells, None, folder / "cells.png", "title")
    explain.draw_cells(images, cells, maps, folder / "maps.png", "title")
    checks = pd.DataFrame(
        {
            "called": cells["called"],
            "fall_hottest": maps.mean(axis=(1, 2)),
            "fall_mean": 0.5,
            "correlation": np.where(cells["called"] == 1, maps[:, 0, 0], np.nan),
        }
    )
    explain.draw_occlusion(checks, folder / "occlusion.png", "title")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_pictures_are_the_same_bytes_for_the_same_cells(
    tmp_path: Path, cells: pd.DataFrame
) -> None:
    maps = np.random.default_rng(1).random((len(cells), 16, 16))
    first = draw_all(cells, maps, tmp_path / "first")
    assert draw_all(cells, maps, tmp_path / "again") == first
    other = draw_all(cells, maps[::-1], tmp_path / "other")
    assert {name for name in first if first[name] != other[name]} == {"maps.png", "occlusion.png"}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What stands in the pictures, instead of the pictures."""
    texts: list[str] = []

    def keep(figure: Figure, path: Path) -> None:
        texts.extend(text.get_text() for text in figure.texts)
        texts.extend(ax.get_title() for ax in figure.axes)

    monkeypatch.setattr(explain, "save_figure", keep)
    return texts


def test_a_caption_says_what_a_cell_is(
    tmp_path: Path, cells: pd.DataFrame, written: list[str]
) -> None:
    maps = np.ones((2, 16, 16))
    maps[1] = 0
    chosen = explain.choose(cells, "confident_wrong", 2)
    explain.draw_cells(random_images(9, 16), chosen, maps, tmp_path, "title")
    assert written[1:3] == [
        "actual uninfected, called parasitized\np 0.993, C3",
        "actual parasitized, called uninfected\np 0.047, C2, empty map",
    ]


def test_a_picture_of_no_cells_says_so(
    tmp_path: Path, cells: pd.DataFrame, written: list[str]
) -> None:
    none = explain.choose(cells[cells["called"] == cells["label"]], "confident_wrong", 4)
    explain.draw_cells(random_images(9, 16), none, np.zeros((0, 16, 16)), tmp_path, "title")
    assert "There is no such cell." in written
    written.clear()
    explain.draw_cells(random_images(9, 16), cells, None, tmp_path, "title")
    assert "There is no such cell." not in written


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"cells": 1, "occluded": 40}, r"explain\.cells is 1"),
        ({"cells": 25, "occluded": 40}, r"explain\.cells is 25"),
        ({"cells": 12, "occluded": 1}, r"explain\.occluded is 1"),
    ],
)
def test_params_out_of_range_are_named(values: dict[str, int], said: str) -> None:
    with pytest.raises(MalariaError, match=said):
        parse(ExplainParams, values)


def test_calls_are_summarised_apart() -> None:
    nan = np.nan
    checks = pd.DataFrame(
        [(1, 3.0, 1.0, 0.5), (1, 1.0, 2.0, -0.1), (1, nan, 9.0, nan), (1, 5.0, 0.0, 0.7)],
        columns=["called", "fall_hottest", "fall_mean", "correlation"],
    )
    summary = explain.summarise(checks)
    assert summary["parasitized"] == {
        "cells": 4,
        "mapped": 3,
        "pointing": 2,
        "fall_hottest": 3.0,
        "fall_mean": 1.0,
        "correlation": 0.5,
    }
    none = explain.describe("uninfected", summary["uninfected"])
    assert none == "called uninfected: none of 0 cells has a map"
    sentence = explain.describe("parasitized", summary["parasitized"])
    assert "called parasitized: " in sentence
    assert "in 2 of 3 cells" in sentence
    assert "falls by 3.00 and 1.00 on average" in sentence
    assert sentence.endswith("0.50")
