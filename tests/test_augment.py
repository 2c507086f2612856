"""Augmentation: what is drawn, by either engine, and that both make the same of it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from PIL import Image
from scipy import stats

from malaria import augment
from malaria.augment import (
    DeviceEngine,
    GeneratorEngine,
    image_data_generator,
    unchanged,
    with_device_augment,
)
from malaria.augment_figure import by_generator, draw_augmentation, on_device
from malaria.draws import PLAN_WIDTH, Draws, draw, output_to_input
from malaria.recipes import RECIPES, UNCHANGED, Augmentation
from tests.conftest import random_images

ARTICLE = RECIPES["vgg19_finetuned"].augment
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


def drawn(augmentation: Augmentation, count: int, size: int, seed: int = 0) -> Draws:
    return draw(augmentation, count, size, np.random.default_rng(seed))


def only(augmentation: Augmentation, **changes: Any) -> Draws:
    """Return draws for one image that change nothing but what is given."""
    nothing = drawn(Augmentation(), 1, 8)
    return replace(nothing, **{name: np.array([value]) for name, value in changes.items()})


@pytest.mark.parametrize("size", [24, 25, 125])
@pytest.mark.parametrize("fill", ["nearest", "constant"])
@pytest.mark.parametrize(
    "augmentation",
    [
        MOVES,
        ARTICLE,
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
    images = random_images(12, size)
    draws = drawn(augmentation, 12, size)
    difference = abs(
        on_device(images, draws, augmentation) - by_generator(images, draws, augmentation)
    )
    # One may call black what lies less than a thousandth of a pixel from the edge.
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


def test_the_equality_would_show_another_order_of_the_transforms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = random_images(4, 24)
    draws = drawn(MOVES, 4, 24)
    swapped = replace(draws, tx=draws.ty, ty=draws.tx)
    expected = by_generator(images, draws, MOVES)
    assert abs(on_device(images, swapped, MOVES) - expected).max() > 50


def test_brightness_cuts_to_whole_grey_values_like_pillow() -> None:
    images = random_images(16, 25)
    draws = drawn(WIDE, 16, 25)
    difference = abs(on_device(images, draws, WIDE) - by_generator(images, draws, WIDE))
    # A value next to a whole number may be cut to the number below, once before the factor.
    assert difference.max() <= 1e-2 * 255
    assert (difference > 1e-2).mean() < 1e-3


@pytest.mark.parametrize("name", ["theta", "tx", "ty", "shear", "zx", "zy", "brightness"])
def test_draws_have_imagedatagenerators_distributions(name: str) -> None:
    augmentation = replace(MOVES, brightness_range=(0.6, 1.4))
    generator = image_data_generator(augmentation)
    count, size = 4000, 40
    np.random.seed(1)
    theirs = [generator.get_random_transform((size, size, 3)) for _ in range(count)]
    ours = getattr(drawn(augmentation, count, size), name)
    assert stats.ks_2samp(ours, [each[name] for each in theirs]).pvalue > 0.01


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
    result = on_device(images, only(augmentation, quarter_turns=turns), augmentation)
    assert (result[0] == np.rot90(images[0], turns)).all()


def test_brightness_delta_adds_grey_values() -> None:
    augmentation = Augmentation(brightness_delta=0.2)
    images = random_images(1, 8)
    result = on_device(images, only(augmentation, delta=30.0), augmentation)
    assert result == pytest.approx(np.minimum(images + 30.0, 255))


def test_contrast_moves_values_from_the_mean_of_their_channel() -> None:
    augmentation = Augmentation(contrast_range=(0.5, 1.0))
    images = random_images(1, 8).astype("float32")
    result = on_device(images, only(augmentation, contrast=0.5), augmentation)
    mean = images.mean(axis=(1, 2), keepdims=True)
    assert result == pytest.approx((images - mean) * 0.5 + mean, abs=1e-3)


def test_stain_multiplies_the_optical_density_and_leaves_black_and_white() -> None:
    augmentation = Augmentation(stain_jitter=0.5)
    images = random_images(1, 8)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    result = on_device(images, only(augmentation, stain=(1.5, 1.0, 0.5)), augmentation)
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


# What follows holds for both engines.
def engine_of(kind: str, augmentation: Augmentation, seed: int) -> Any:
    """Return a function of images, rows and epoch that gives the drawn images as uint8."""
    if kind == "generator":
        return GeneratorEngine(augmentation, seed)
    engine = DeviceEngine(augmentation, seed, count=1_000_000, size=12)
    layer = augment.DeviceAugment(augmentation)

    def run(images: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        inputs = engine(images, rows, epoch)
        return keras.ops.convert_to_numpy(layer(inputs["image"], inputs["plan"], training=True))

    return run


@pytest.fixture(params=["generator", "device"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_image_depends_neither_on_its_batch_nor_on_its_place_in_it(kind: str) -> None:
    images = random_images(9, 12)
    rows = np.arange(100, 109)
    together = engine_of(kind, ARTICLE, 1)(images, rows, 4)
    order = np.random.default_rng(0).permutation(9)
    np.random.seed(5)
    assert (engine_of(kind, ARTICLE, 1)(images[order], rows[order], 4) == together[order]).all()
    one_by_one = engine_of(kind, ARTICLE, 1)
    for position in range(9):
        alone = one_by_one(images[[position]], rows[[position]], 4)
        assert (alone[0] == together[position]).all()


@pytest.mark.parametrize(("seed", "row", "epoch"), [(2, 5, 0), (1, 6, 0), (1, 5, 1)])
def test_an_image_is_drawn_anew_for_another_seed_row_or_epoch(
    kind: str, seed: int, row: int, epoch: int
) -> None:
    images = random_images(1, 12)
    first = engine_of(kind, ARTICLE, 1)(images, np.array([5]), 0)
    assert first.dtype == np.uint8
    assert (first != images).any()
    assert (engine_of(kind, ARTICLE, seed)(images, np.array([row]), epoch) != first).any()


def test_an_epoch_is_drawn_the_same_after_others(kind: str) -> None:
    images, rows = random_images(3, 12), np.arange(3)
    expected = engine_of(kind, ARTICLE, 1)(images, rows, 7)
    engine = engine_of(kind, ARTICLE, 1)
    for epoch in (0, 3, 7):
        result = engine(images, rows, epoch)
    assert (result == expected).all()


def test_augmentation_leaves_the_images_it_was_given_alone(kind: str) -> None:
    images = random_images(4, 12)
    before = images.copy()
    engine_of(kind, ARTICLE, 1)(images, np.arange(4), 0)
    assert (images == before).all()


def test_a_flip_is_a_flip(kind: str) -> None:
    images = random_images(40, 12)
    result = engine_of(kind, Augmentation(horizontal_flip=True), 1)(images, np.arange(40), 0)
    kept = (result == images).all(axis=(1, 2, 3))
    flipped = (result == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (kept ^ flipped).all()
    assert 10 < flipped.sum() < 30


def test_empty_corners_are_black_where_the_fill_is_constant(kind: str) -> None:
    images = np.full((20, 12, 12, 3), 200, dtype=np.uint8)
    turned = Augmentation(rotation_range=45)
    assert (engine_of(kind, turned, 1)(images, np.arange(20), 0) == 200).all()
    black = engine_of(kind, replace(turned, fill_mode="constant"), 1)(images, np.arange(20), 0)
    assert set(np.unique(black)) == {0, 200}


def test_an_image_becomes_what_imagedatagenerator_draws_with_its_seed() -> None:
    images = random_images(6, 20)
    rows = np.array([3, 0, 999_999, 12, 5, 4])
    result = GeneratorEngine(ARTICLE, seed=7)(images, rows, epoch=2)
    generator = ImageDataGenerator(
        rotation_range=25,
        width_shift_range=0.05,
        height_shift_range=0.05,
        shear_range=0.05,
        zoom_range=0.05,
        horizontal_flip=True,
        fill_mode="nearest",
    )
    for image, row, got in zip(images, rows, result, strict=True):
        seed = int(np.random.SeedSequence([7, 2, int(row)]).generate_state(1)[0])
        expected = generator.random_transform(image.astype("float32"), seed=seed)
        assert abs(got - expected).max() <= 0.5


def test_the_generator_is_given_every_argument_that_it_has() -> None:
    generator = image_data_generator(replace(WIDE, fill_mode="constant"))
    for name, value in asdict(replace(WIDE, fill_mode="constant")).items():
        if hasattr(generator, name):
            assert tuple(np.atleast_1d(getattr(generator, name))) == tuple(np.atleast_1d(value))
    assert image_data_generator(MOVES).brightness_range is None


# A model that augments as it trains.
@pytest.fixture
def pixels() -> keras.Model:
    """A model whose output is what it was given."""
    image = keras.Input((12, 12, 3), dtype="uint8", name="image")
    return keras.Model(image, keras.ops.cast(image, "float32"), name="pixels")


def test_a_model_draws_as_it_trains_and_not_as_it_predicts(pixels: keras.Model) -> None:
    images, rows = random_images(5, 12), np.arange(5)
    model = with_device_augment(pixels, ALL)
    inputs = DeviceEngine(ALL, 1, count=5, size=12)(images, rows, 0)
    training = keras.ops.convert_to_numpy(model(inputs, training=True))
    expected = on_device(images, drawn(ALL, 5, 12, seed=[1, 0]), ALL)  # type: ignore[arg-type]
    assert abs(training - expected).max() <= 0.5
    assert (training == np.rint(training)).all()
    assert (model.predict(inputs, verbose=0) == images).all()
    assert (model.predict(unchanged(images, rows, 0), verbose=0) == images).all()


def test_images_that_stay_have_a_plan_of_their_own_shape() -> None:
    inputs = unchanged(random_images(3, 12), np.arange(3), 0)
    assert inputs["plan"].shape == (3, PLAN_WIDTH)
    assert inputs["plan"].dtype == np.float32


def test_the_picture_has_a_row_for_each_cell(tmp_path: Path) -> None:
    images = random_images(3, 24)
    augmentation = Augmentation(rotation_range=40, stain_jitter=0.2)
    path = tmp_path / "a.png"
    difference = draw_augmentation(images, ["a", "b", "c"], augmentation, path, "title")
    assert 0 < difference < 1e-2
    assert Image.open(path).size == (950, 449)
    off = tmp_path / "off.png"
    assert draw_augmentation(images, ["a", "b", "c"], Augmentation(), off, "title") < 1e-3
    assert off.read_bytes() != path.read_bytes()
