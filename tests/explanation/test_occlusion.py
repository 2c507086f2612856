"""The occlusion check: falls worked out by hand, on a model that sees only red."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from malaria.explanation.occlusion import compare, hide, measure, place_windows
from malaria.explanation.summary import describe, summarise
from malaria.models.base.saved import LOGIT

SIZE = 16
GREY, RED = 100, 250  # of a cell's pixels, of a parasite's red channel
PARASITE = (slice(4, 8), slice(4, 8))
ELSEWHERE = (slice(12, 16), slice(0, 4))
FALL = 16 * (RED - GREY) / 100  # of the logit if the whole parasite is hidden


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
    pixels[PARASITE][..., 0] = RED
    pixels[:, -3:] = 0
    return pixels


def check(
    model: keras.Model, image: np.ndarray, *hot: tuple[slice, slice], called: int = 1
) -> dict[str, float]:
    """Return the measures of one cell whose map is hot in these places."""
    columns = ["cell_id", "patient", "label", "called", "row"]
    heat = np.zeros((1, SIZE, SIZE))
    for place in hot:
        heat[0][place] = 1
    cells = pd.DataFrame([("a", "C1", 1, called, 0)], columns=columns)
    return measure(model, image[None], cells, heat).iloc[0].to_dict()


def test_windows_are_a_quarter_of_the_side_and_overlap_by_half() -> None:
    places = place_windows(64)
    assert len(places) == 7 * 7
    assert places[0] == (slice(0, 16), slice(0, 16))
    assert places[1] == (slice(0, 16), slice(8, 24))
    assert places[-1] == (slice(48, 64), slice(48, 64))
    assert all(place.stop <= 125 for pair in place_windows(125) for place in pair)


@pytest.mark.parametrize(("called", "sign"), [(1, 1), (0, -1)])
def test_hiding_the_parasite_costs_its_red(
    model: keras.Model, image: np.ndarray, called: int, sign: int
) -> None:
    found = check(model, image, PARASITE, called=called)
    assert found["fall_hottest"] == pytest.approx(sign * FALL, abs=1e-4)
    # The cell has 13 of 16 columns: one column of the 7 x 7 windows is more than half outside.
    assert found["windows"] == 7 * 6
    # One window hides it all, four a half of it and four a quarter.
    assert found["fall_mean"] == pytest.approx(sign * (1 + 4 / 2 + 4 / 4) * FALL / 42, abs=1e-4)
    assert found["correlation"] == pytest.approx(sign)


def test_a_map_that_points_elsewhere_is_found(model: keras.Model, image: np.ndarray) -> None:
    found = check(model, image, ELSEWHERE)
    assert found["fall_hottest"] == pytest.approx(0, abs=1e-4)
    assert found["fall_mean"] > 0
    assert found["correlation"] < 0


def test_black_corners_do_not_count(model: keras.Model, image: np.ndarray) -> None:
    image[:, 6:] = 0
    assert check(model, image, PARASITE)["windows"] == 7 * 3


def test_an_empty_map_has_no_hottest_window(model: keras.Model, image: np.ndarray) -> None:
    found = check(model, image)
    assert np.isnan([found["fall_hottest"], found["correlation"]]).all()
    assert found["fall_mean"] > 0


def test_a_black_image_costs_nothing(model: keras.Model, image: np.ndarray) -> None:
    found = check(model, 0 * image, PARASITE)
    assert (found["windows"], found["fall_hottest"]) == (49, 0)
    assert np.isnan(found["correlation"])


def test_the_cell_is_filled_with_its_median_and_the_background_stays(image: np.ndarray) -> None:
    image[:, 5:] = 0  # most of it, so that black would be the median
    plain, hidden = hide(image, image.max(axis=-1) >= 10, [PARASITE])
    assert np.array_equal(plain, image)
    assert (hidden[PARASITE][:, 0] == GREY).all()
    assert not hidden[PARASITE][:, 1:].any()
    hidden[PARASITE] = image[PARASITE]
    assert np.array_equal(hidden, image)


def test_ranks_are_compared() -> None:
    found = compare(np.array([0.1, 0.2, 0.9, 0.4]), np.array([0.0, 5.0, 2.0, 1.0]))
    # Ranks 1 2 4 3 and 1 4 3 2: 1 - 6 (0 + 4 + 1 + 1) / (4 (16 - 1))
    assert found == {"fall_hottest": 2.0, "fall_mean": 2.0, "correlation": pytest.approx(0.4)}


def test_the_summary_has_each_call() -> None:
    nan = np.nan
    checks = pd.DataFrame(
        [(1, 3.0, 1.0, 0.5), (1, 1.0, 2.0, -0.1), (1, nan, 9.0, nan), (1, 5.0, 0.0, 0.7)],
        columns=["called", "fall_hottest", "fall_mean", "correlation"],
    )
    summary = summarise(checks)
    counts = {"cells": 4, "mapped": 3, "pointing": 2}
    falls = {"fall_hottest": 3.0, "fall_mean": 1.0, "correlation": 0.5}
    assert summary["parasitized"] == counts | falls
    none = describe("uninfected", summary["uninfected"])
    assert none == "called uninfected: none of 0 cells has a map"
    sentence = describe("parasitized", summary["parasitized"])
    assert "called parasitized: " in sentence
    assert "in 2 of 3 cells" in sentence
    assert "falls by 3.00 and 1.00 on average" in sentence
    assert sentence.endswith("0.50")
