"""Shortcut baselines: statistics counted by hand, and what is learned from them."""

import numpy as np
import pandas as pd
import pytest

from malaria.exploration.controls import BATCH, STATISTICS, crop_statistics, logits_by_statistics
from tests.conftest import random_images


def test_statistics_are_of_the_cell_without_its_background() -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[0, 0] = [100, 50, 200]
    image[0, 1] = [200, 50, 100]
    image[3, 3] = [9, 9, 9]  # noise of the background
    cells = pd.DataFrame({"width": [120], "height": [90]})
    (row,) = crop_statistics(image[None], cells).to_dict("records")
    assert row == pytest.approx(
        {
            "width": 120,
            "height": 90,
            "share_of_crop": 2 / 16,
            "mean_red": 150,
            "mean_green": 50,
            "mean_blue": 150,
            "sd_red": 50,
            "sd_green": 0,
            "sd_blue": 50,
        }
    )


def test_every_image_has_its_row_even_a_black_one() -> None:
    images = random_images(BATCH + 3, 4)
    images[5] = 0
    cells = pd.DataFrame({"width": np.arange(BATCH + 3), "height": 7})
    statistics = crop_statistics(images, cells)
    assert list(statistics) == list(STATISTICS)
    assert (statistics["width"] == np.arange(BATCH + 3)).all()
    assert statistics.loc[BATCH + 2, "mean_red"] == pytest.approx(
        images[BATCH + 2, ..., 0][images[BATCH + 2].max(axis=-1) >= 10].mean(), rel=1e-5
    )
    assert not statistics.isna().any(axis=None)
    assert statistics.loc[5, "share_of_crop"] == 0


def test_logits_are_learned_from_train_cells_only() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 600)
    statistics = pd.DataFrame({"mean_red": label * 40 + rng.normal(size=600)})
    cells = pd.DataFrame({"label": label, "split": np.repeat(["train", "val", "test"], 200)})
    logit = logits_by_statistics(statistics, cells)
    assert ((logit > 0) == label).mean() > 0.98
    assert (logits_by_statistics(statistics, cells) == logit).all()
    # Other labels of val and test cells change nothing.
    wrong = cells.assign(label=np.where(cells["split"] == "train", label, 1 - label))
    assert (logits_by_statistics(statistics, wrong) == logit).all()
