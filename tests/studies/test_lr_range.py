"""The learning-rate range test: the rates, the smoothing, when it stops, what it suggests."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from malaria.errors import MalariaError
from malaria.studies.lr_range import draw_curve, range_test, smooth, suggest, width_of
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


def test_the_smoothed_loss_is_the_median_of_a_tenth_of_the_steps(tmp_path: Path) -> None:
    curve = curve_of(tmp_path, rates=(1e-4, 1.0, 50))
    assert width_of(50) == 5
    for row in (2, 20, 47):
        assert curve["smoothed"][row] == np.median(curve["loss"][row - 2 : row + 3])


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


def table_of(levels: np.ndarray, noise: float = 0.01, spikes: bool = False) -> pd.DataFrame:
    """Return a curve from 1e-6 to 1 whose loss is `levels` with noise."""
    rng = np.random.default_rng(0)
    loss = levels + rng.normal(0, noise, len(levels))
    if spikes:
        loss[::23] += 20
    rates = np.geomspace(1e-6, 1, len(levels))
    return pd.DataFrame({"learning_rate": rates, "loss": loss, "smoothed": smooth(list(loss))})


@pytest.mark.parametrize("spikes", [False, True])
@pytest.mark.parametrize("steepest", [1e-4, 1e-2])
def test_the_rate_of_the_steepest_fall_is_suggested(
    tmp_path: Path, steepest: float, spikes: bool
) -> None:
    place = np.linspace(-6, 0, 300) - np.log10(steepest)
    fall = 0.7 - 0.4 / (1 + np.exp(-6 * place))
    curve = table_of(np.where(place > 1, 3.0, fall), spikes=spikes)  # then it diverges
    assert suggest(curve) == pytest.approx(steepest, rel=0.4)
    draw_curve(curve, tmp_path / "curve.png", "title")
    first = (tmp_path / "curve.png").read_bytes()
    draw_curve(curve, tmp_path / "curve.png", "title")
    assert (tmp_path / "curve.png").read_bytes() == first


@pytest.mark.parametrize("levels", [np.full(300, 0.69), np.linspace(0.69, 5, 300), np.full(4, 0.7)])
def test_of_a_loss_that_never_fell_nothing_is_suggested(tmp_path: Path, levels: np.ndarray) -> None:
    curve = table_of(levels)
    assert suggest(curve) is None
    draw_curve(curve, tmp_path / "curve.png", "title")
    assert (tmp_path / "curve.png").is_file()
