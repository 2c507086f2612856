"""The occlusion check: falls worked out by hand, on a model that sees red alone."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from malaria import occlusion
from malaria.modelfile import LOGIT

SIZE = 16
GREY, RED = 100, 250  # of a cell's pixels, of a parasite's red channel


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Return a model whose logit is the sum of the image's red channel in hundreds."""
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    x = layers.Rescaling(1 / 100)(image)
    logit = layers.Dense(1, use_bias=False, name=LOGIT)(layers.Flatten()(x))
    built = keras.Model(image, layers.Activation("sigmoid")(logit))
    weights = np.zeros((SIZE, SIZE, 3))
    weights[..., 0] = 1
    built.get_layer(LOGIT).set_weights([weights.reshape(-1, 1)])
    return built


@pytest.fixture
def image() -> np.ndarray:
    """Return a grey cell with a parasite of 4 x 4 pixels, the three rightmost columns black."""
    pixels = np.full((SIZE, SIZE, 3), GREY, dtype=np.uint8)
    pixels[4:8, 4:8, 0] = RED
    pixels[:, -3:] = 0
    return pixels


def one_cell(called: int) -> pd.DataFrame:
    return pd.DataFrame(
        [("a", "C1", 1, called, 0)], columns=["cell_id", "patient", "label", "called", "row"]
    )


def heat_at(*places: tuple[slice, slice]) -> np.ndarray:
    heat = np.zeros((1, SIZE, SIZE))
    for place in places:
        heat[0][place] = 1
    return heat


PARASITE = (slice(4, 8), slice(4, 8))
ELSEWHERE = (slice(12, 16), slice(0, 4))
FALL = 16 * (RED - GREY) / 100  # of the logit when the whole parasite is hidden


def test_windows_are_a_quarter_of_the_side_and_overlap_by_half() -> None:
    places = occlusion.place_windows(64)
    assert len(places) == 7 * 7
    assert places[0] == (slice(0, 16), slice(0, 16))
    assert places[1] == (slice(0, 16), slice(8, 24))
    assert places[-1] == (slice(48, 64), slice(48, 64))
    assert all(place.stop <= 125 for pair in occlusion.place_windows(125) for place in pair)


def test_hiding_the_parasite_costs_its_red(model: keras.Model, image: np.ndarray) -> None:
    check = occlusion.measure(model, image[None], one_cell(1), heat_at(PARASITE)).iloc[0]
    assert check["fall_hottest"] == pytest.approx(FALL, abs=1e-4)
    # 13 of 16 columns are the cell's: of 7 x 7 windows, a column lies more than half outside.
    assert check["windows"] == 7 * 6
    # One window hides it all, four a half of it and four a quarter.
    assert check["fall_mean"] == pytest.approx((1 + 4 / 2 + 4 / 4) * FALL / 42, abs=1e-4)
    assert check["correlation"] == pytest.approx(1)


def test_for_a_cell_called_uninfected_the_fall_is_a_rise(
    model: keras.Model, image: np.ndarray
) -> None:
    check = occlusion.measure(model, image[None], one_cell(0), heat_at(PARASITE)).iloc[0]
    assert check["fall_hottest"] == pytest.approx(-FALL, abs=1e-4)
    assert check["correlation"] == pytest.approx(-1)


def test_a_map_that_points_elsewhere_is_told(model: keras.Model, image: np.ndarray) -> None:
    check = occlusion.measure(model, image[None], one_cell(1), heat_at(ELSEWHERE)).iloc[0]
    assert check["fall_hottest"] == pytest.approx(0, abs=1e-4)
    assert check["fall_mean"] > 0
    assert check["correlation"] < 0


def test_black_corners_do_not_count(model: keras.Model, image: np.ndarray) -> None:
    image[:, 6:] = 0
    check = occlusion.measure(model, image[None], one_cell(1), heat_at(PARASITE)).iloc[0]
    assert check["windows"] == 7 * 3


def test_an_empty_map_has_no_hottest_window(model: keras.Model, image: np.ndarray) -> None:
    check = occlusion.measure(model, image[None], one_cell(1), heat_at()).iloc[0]
    assert np.isnan(check["fall_hottest"])
    assert np.isnan(check["correlation"])
    assert check["fall_mean"] > 0


def test_a_black_image_costs_nothing(model: keras.Model, image: np.ndarray) -> None:
    check = occlusion.measure(model, 0 * image[None], one_cell(1), heat_at(PARASITE)).iloc[0]
    assert check["windows"] == 49
    assert check["fall_hottest"] == 0
    assert np.isnan(check["correlation"])


def test_the_cell_is_filled_with_its_median_and_the_background_stays(image: np.ndarray) -> None:
    image[:, 5:] = 0  # most of it, so that black would be the median
    hidden = occlusion.hide(image, image.max(axis=-1) >= 10, [PARASITE])
    assert np.array_equal(hidden[0], image)
    assert (hidden[1][PARASITE][:, 0] == GREY).all()
    assert not hidden[1][PARASITE][:, 1:].any()
    hidden[1][PARASITE] = image[PARASITE]
    assert np.array_equal(hidden[1], image)


def test_ranks_are_compared() -> None:
    heat, falls = np.array([0.1, 0.2, 0.9, 0.4]), np.array([0.0, 5.0, 2.0, 1.0])
    found = occlusion.compare(heat, falls)
    # Ranks 1 2 4 3 and 1 4 3 2: 1 - 6 (0 + 4 + 1 + 1) / (4 (16 - 1))
    assert found == {"fall_hottest": 2.0, "fall_mean": 2.0, "correlation": pytest.approx(0.4)}
