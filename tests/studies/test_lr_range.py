"""The learning-rate range test: the rates, the smoothing, when it stops, what it suggests."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from malaria.errors import MalariaError
from malaria.studies.lr_range import draw_curve, range_test, suggest
from malaria.training.backend import prepare
from tests.training.toy import FLIPPED, PLAIN, bright_and_dark, small


@pytest.fixture(autouse=True)
def prepared() -> None:
    prepare("auto", "float32", 1)


def curve_of(
    tmp_path: Path,
    recipe: Any = PLAIN,
    cells: Any = None,
    rates: tuple[float, float, int] = (1e-4, 1.0, 9),
) -> pd.DataFrame:
    return range_test(
        small(),
        cells or bright_and_dark(),
        recipe,
        np.geomspace(*rates),
        seed=5,
        workspace=tmp_path,
    )


def test_the_rate_grows_evenly_in_its_logarithm(tmp_path: Path) -> None:
    curve = curve_of(tmp_path)
    assert list(curve) == ["learning_rate", "loss", "smoothed"]
    assert len(curve) == 9  # more than the three batches of an epoch
    assert curve["learning_rate"].to_numpy() == pytest.approx(np.geomspace(1e-4, 1, 9))


def test_the_rate_is_the_one_that_is_trained_with(tmp_path: Path) -> None:
    # The first step's rate moves the weights before the second batch's loss is taken.
    low, high = (curve_of(tmp_path, rates=(rate, rate * 1.01, 6)) for rate in (1e-6, 1.0))
    assert low["loss"][0] == pytest.approx(np.log(2), rel=1e-5)  # the model begins at zero
    assert low["loss"].std() < 1e-3 < high["loss"].std()


@pytest.mark.parametrize(
    "recipe", [FLIPPED, replace(PLAIN, optimizer="adamw", schedule="one_cycle")]
)
def test_it_takes_the_recipes_augmentation_and_optimizer(tmp_path: Path, recipe: Any) -> None:
    assert len(curve_of(tmp_path, recipe)) == 9


def test_the_smoothed_loss_is_a_running_mean_without_the_pull_of_its_start(tmp_path: Path) -> None:
    curve = curve_of(tmp_path)
    for row in range(len(curve)):
        weights = 0.98 ** np.arange(row, -1, -1)
        expected = np.average(curve["loss"][: row + 1], weights=weights)
        assert curve["smoothed"][row] == pytest.approx(expected)


def test_it_stops_where_the_loss_diverges(tmp_path: Path) -> None:
    cells = bright_and_dark()
    cells = replace(cells, labels=np.random.default_rng(3).integers(0, 2, len(cells.labels)))
    curve = curve_of(tmp_path, cells=cells, rates=(1e-4, 1e12, 60))
    assert len(curve) < 60
    assert np.isfinite(curve.to_numpy()).all()


def test_a_lowest_rate_that_is_too_high_is_named(tmp_path: Path) -> None:
    model = small()
    model.set_weights([weights * np.nan for weights in model.get_weights()])
    with pytest.raises(MalariaError, match=r"not finite at learning rate 0\.01; start lower"):
        range_test(model, bright_and_dark(), PLAIN, np.geomspace(0.01, 1, 5), 1, tmp_path)


def test_a_tenth_of_the_rate_of_the_lowest_loss_is_suggested(tmp_path: Path) -> None:
    curve = pd.DataFrame(
        {"learning_rate": [1e-4, 1e-2, 1.0], "loss": [1.0, 0.2, 9.0], "smoothed": [1.0, 0.6, 4.0]}
    )
    assert suggest(curve) == pytest.approx(1e-3)
    draw_curve(curve, tmp_path / "curve.png", "title")
    first = (tmp_path / "curve.png").read_bytes()
    draw_curve(curve, tmp_path / "curve.png", "title")
    assert (tmp_path / "curve.png").read_bytes() == first
