"""The cells themselves: tables counted by hand, samples, means, and pictures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from malaria.exploration import cells as exploration
from malaria.exploration import pictures
from tests.conftest import random_images

# C1 has malaria and lies in train, C2 is healthy there; C3 is healthy in val, C4 ill in test.
CELLS = pd.DataFrame(
    [
        ("a", "C1", 1, "train", 50, 60),
        ("b", "C1", 1, "train", 60, 60),
        ("c", "C1", 0, "train", 70, 60),
        ("d", "C2", 0, "train", 80, 60),
        ("e", "C3", 0, "val", 90, 60),
        ("f", "C4", 1, "test", 100, 60),
        ("g", "C4", 0, "test", 110, 60),
    ],
    columns=["cell_id", "patient", "label", "split", "width", "height"],
)


def many(seed: int = 0) -> pd.DataFrame:
    """Return cells of eight patients with names in no order."""
    rng = np.random.default_rng(seed)
    patient = rng.integers(0, 8, 120)
    return pd.DataFrame(
        {
            "cell_id": [f"cell_{number}" for number in rng.permutation(120)],
            "patient": [f"C{number}" for number in patient],
            "label": rng.integers(0, 2, 120),
            "split": np.where(patient < 5, "train", np.where(patient < 6, "val", "test")),
            "width": rng.integers(40, 200, 120),
            "height": rng.integers(40, 200, 120),
        }
    )


def test_patients_and_cells_of_each_split() -> None:
    assert exploration.balance_table(CELLS).to_numpy().tolist() == [
        ["train", 2, 1, 1, 4, 2, 2],
        ["val", 1, 0, 1, 1, 0, 1],
        ["test", 1, 1, 0, 2, 1, 1],
    ]


def test_sizes_of_each_class() -> None:
    rows = exploration.size_table(CELLS).set_index(["class", "side"])
    numbers = ["cells", "min", "quarter", "median", "three_quarters", "max"]
    assert rows.loc[("parasitized", "width"), numbers].tolist() == [3, 50, 55, 60, 80, 100]
    assert rows.loc[("uninfected", "height"), numbers].tolist() == [4, 60, 60, 60, 60, 60]


def test_samples_are_train_cells_of_as_many_patients_as_possible() -> None:
    cells = many()
    for label in (0, 1):
        rows = exploration.sample_rows(cells, label, 5)
        chosen = cells.loc[rows]
        assert (chosen["label"] == label).all()
        assert (chosen["split"] == "train").all()
        assert chosen["patient"].nunique() == 5
    everything = exploration.sample_rows(cells, 1, 1000)
    assert len(everything) == ((cells["label"] == 1) & (cells["split"] == "train")).sum()


def test_samples_do_not_depend_on_the_order_of_the_rows() -> None:
    cells = many()
    shuffled = cells.sample(frac=1, random_state=1, ignore_index=True)
    first = cells.loc[exploration.sample_rows(cells, 1, 9), "cell_id"].tolist()
    assert shuffled.loc[exploration.sample_rows(shuffled, 1, 9), "cell_id"].tolist() == first


def test_the_mean_is_that_of_the_chosen_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration, "BATCH", 3)
    images = random_images(20, 6)
    rows = np.array([19, 3, 4, 7, 0, 1, 2])
    assert exploration.mean_image(images, rows) == pytest.approx(images[rows].mean(axis=0))


def draw_all(images: np.ndarray, cells: pd.DataFrame, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    pictures.draw_balance(cells, folder / "balance.png", "title")
    pictures.draw_sizes(cells, folder / "sizes.png", "title")
    pictures.draw_samples(images, cells, 3, folder / "samples.png", "title")
    pictures.draw_means(images, cells, folder / "means.png", "title")
    pictures.draw_views(images, cells, folder / "views.png", "title")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_pictures_are_the_same_bytes_for_the_same_cells(tmp_path: Path) -> None:
    images, cells = random_images(120, 16), many()
    first = draw_all(images, cells, tmp_path / "first")
    assert draw_all(images, cells, tmp_path / "again") == first
    other = draw_all(images[::-1], cells, tmp_path / "other")
    changed = {name for name in first if first[name] != other[name]}
    assert changed == {"samples.png", "means.png", "views.png"}


def test_few_cells_leave_places_empty(tmp_path: Path) -> None:
    assert len(draw_all(random_images(len(CELLS), 16), CELLS, tmp_path / "few")) == 5
