"""What augmentation draws, and that both engines make the same pixels of the same draws."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from malaria.exploration.augmentation import by_generator, on_device
from malaria.models.base.recipe import UNCHANGED, Augmentation
from malaria.models.base.system import find_system
from malaria.training.augment import image_data_generator
from malaria.training.draws import Draws, draw, output_to_input
from tests.conftest import random_images

WIDE = Augmentation(
    rotation_range=90,
    width_shift_range=0.2,
    height_shift_range=0.1,
    shear_range=20,
    zoom_range=(0.7, 1.4),
    horizontal_flip=True,
    vertical_flip=True,
    brightness_range=(0.6, 1.4),
)
MOVES = replace(WIDE, brightness_range=UNCHANGED)
ALL = replace(
    WIDE,
    right_angle_rotation=True,
    brightness_delta=0.1,
    contrast_range=(0.7, 1.3),
    stain_jitter=0.2,
)


def drawn(augmentation: Augmentation, count: int, size: int, seed: Any = 0) -> Draws:
    return draw(augmentation, count, size, np.random.default_rng(seed))


def only(**changes: Any) -> Draws:
    """Return draws for one image that change nothing but what is given."""
    nothing = drawn(Augmentation(), 1, 8)
    return replace(nothing, **{name: np.array([value]) for name, value in changes.items()})


@pytest.mark.parametrize("size", [24, 25, 125])
@pytest.mark.parametrize("fill", ["nearest", "constant"])
@pytest.mark.parametrize(
    "augmentation",
    [
        MOVES,
        find_system("vgg19_finetuned").recipe.augment,
        Augmentation(horizontal_flip=True, vertical_flip=True),
        Augmentation(width_shift_range=0.3),
        Augmentation(height_shift_range=0.3),
        Augmentation(zoom_range=(0.5, 2)),
        Augmentation(rotation_range=180),
    ],
    ids=["all", "article", "flips", "width", "height", "zoom", "rotation"],
)
def test_both_engines_make_the_same_pixels_of_the_same_draws(
    augmentation: Augmentation, fill: Any, size: int
) -> None:
    augmentation = replace(augmentation, fill_mode=fill)
    images, draws = random_images(12, size), drawn(augmentation, 12, size)
    difference = abs(
        on_device(images, draws, augmentation) - by_generator(images, draws, augmentation)
    )
    # One of them may fill with black what lies less than a thousandth of a pixel from the edge.
    if fill == "constant":
        difference = difference[~on_the_edge(draws, size)]
    assert difference.max() <= 1e-2  # of 255


def on_the_edge(draws: Draws, size: int) -> np.ndarray:
    """Return which of (N, S, S) pixels come from within 1e-3 pixels of the image's edge."""
    y, x = np.mgrid[:size, :size]
    places = np.stack([x, y, np.ones_like(x)]).reshape(3, -1)
    sources = (output_to_input(draws, size) @ places)[:, :2]
    near = (abs(sources) < 1e-3) | (abs(sources - (size - 1)) < 1e-3)
    return near.any(axis=1).reshape(-1, size, size)


def test_the_equality_would_show_another_order_of_the_transforms() -> None:
    images, draws = random_images(4, 24), drawn(MOVES, 4, 24)
    swapped = replace(draws, tx=draws.ty, ty=draws.tx)
    expected = by_generator(images, draws, MOVES)
    assert abs(on_device(images, swapped, MOVES) - expected).max() > 50


def test_brightness_truncates_grey_values_like_pillow() -> None:
    images, draws = random_images(16, 25), drawn(WIDE, 16, 25)
    difference = abs(on_device(images, draws, WIDE) - by_generator(images, draws, WIDE))
    # A value next to a whole number may be cut to the number below, once before the factor.
    assert difference.max() <= 1e-2 * 255
    assert (difference > 1e-2).mean() < 1e-3


@pytest.mark.parametrize("name", ["theta", "tx", "ty", "shear", "zx", "zy", "brightness"])
def test_draws_have_imagedatagenerators_distributions(name: str) -> None:
    generator = image_data_generator(WIDE)
    np.random.seed(1)
    theirs = [generator.get_random_transform((40, 40, 3))[name] for _ in range(4000)]
    assert stats.ks_2samp(getattr(drawn(WIDE, 4000, 40), name), theirs).pvalue > 0.01


@pytest.mark.parametrize("name", ["flip_horizontal", "flip_vertical"])
def test_every_second_image_is_flipped(name: str) -> None:
    flips = getattr(drawn(WIDE, 10_000, 8), name)
    assert stats.binomtest(int(flips.sum()), 10_000).pvalue > 0.01
    assert not getattr(drawn(Augmentation(), 100, 8), name).any()


def test_no_draw_depends_on_another() -> None:
    draws = drawn(ALL, 5000, 8)
    columns = np.column_stack([np.asarray(value, dtype=float) for value in vars(draws).values()])
    correlation = np.corrcoef(columns, rowvar=False)
    assert abs(correlation[~np.eye(len(correlation), dtype=bool)]).max() < 0.07


def test_our_own_draws_fill_their_ranges() -> None:
    draws = drawn(ALL, 10_000, 8)
    assert stats.chisquare(np.bincount(draws.quarter_turns)).pvalue > 0.01
    for values, low, high in (
        (draws.delta, -25.5, 25.5),
        (draws.contrast, 0.7, 1.3),
        (draws.stain[:, 0], 0.8, 1.2),
        (draws.stain[:, 2], 0.8, 1.2),
    ):
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.01


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [8, 9])
def test_a_right_angle_turn_is_exactly_that(turns: int, size: int) -> None:
    augmentation = Augmentation(right_angle_rotation=True, fill_mode="constant")
    images = random_images(1, size)
    result = on_device(images, only(quarter_turns=turns), augmentation)
    assert (result[0] == np.rot90(images[0], turns)).all()


def test_brightness_delta_adds_grey_values() -> None:
    images = random_images(1, 8)
    result = on_device(images, only(delta=30.0), Augmentation(brightness_delta=0.2))
    assert result == pytest.approx(np.minimum(images + 30.0, 255))


def test_contrast_moves_values_from_the_mean_of_their_channel() -> None:
    images = random_images(1, 8).astype("float32")
    result = on_device(images, only(contrast=0.5), Augmentation(contrast_range=(0.5, 1.0)))
    mean = images.mean(axis=(1, 2), keepdims=True)
    assert result == pytest.approx((images - mean) * 0.5 + mean, abs=1e-3)


def test_stain_multiplies_the_optical_density_and_leaves_black_and_white() -> None:
    images = random_images(1, 8)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    result = on_device(images, only(stain=(1.5, 1.0, 0.5)), Augmentation(stain_jitter=0.5))
    inside = images[0, 1:] > 0
    density = -np.log(np.where(inside, images[0, 1:], 1) / 255)
    expected = 255 * np.exp(-density * (1.5, 1.0, 0.5))
    assert result[0, 1:][inside] == pytest.approx(expected[inside], rel=1e-4)
    assert (result[0, 0, 0] == 0).all()
    assert result[0, 0, 1] == pytest.approx(255)


def test_no_pixel_leaves_the_range_of_grey_values() -> None:
    extreme = replace(ALL, brightness_range=(0.1, 5), contrast_range=(0.1, 5), brightness_delta=1)
    result = on_device(random_images(16, 16), drawn(extreme, 16, 16), extreme)
    assert result.min() >= 0
    assert result.max() <= 255
