"""The two engines of augmentation, and a model that augments while it trains."""

from dataclasses import asdict, replace
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from malaria.exploration.augmentation import on_device
from malaria.models.base.recipe import Augmentation
from malaria.models.base.system import find_system
from malaria.training.augment import (
    DeviceAugment,
    DeviceEngine,
    GeneratorEngine,
    image_data_generator,
    unchanged,
    with_device_augment,
)
from malaria.training.draws import PLAN_WIDTH
from tests.conftest import random_images
from tests.training.test_draws import ALL, MOVES, WIDE, drawn

ARTICLE = find_system("vgg19_finetuned").recipe.augment


def engine_of(engine: str, augmentation: Augmentation, seed: int) -> Any:
    """Return a function of images, rows and epoch that gives the augmented images as uint8."""
    if engine == "generator":
        return GeneratorEngine(augmentation, seed)
    planner = DeviceEngine(augmentation, seed, count=1_000_000, size=12)
    layer = DeviceAugment(augmentation)

    def run(images: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        inputs = planner(images, rows, epoch)
        return keras.ops.convert_to_numpy(layer(inputs["image"], inputs["plan"], training=True))

    return run


def test_an_image_depends_neither_on_its_batch_nor_on_its_place_in_it(engine: str) -> None:
    images, rows = random_images(9, 12), np.arange(100, 109)
    together = engine_of(engine, ARTICLE, 1)(images, rows, 4)
    order = np.random.default_rng(0).permutation(9)
    np.random.seed(5)
    assert (engine_of(engine, ARTICLE, 1)(images[order], rows[order], 4) == together[order]).all()
    one_by_one = engine_of(engine, ARTICLE, 1)
    for position in range(9):
        alone = one_by_one(images[[position]], rows[[position]], 4)
        assert (alone[0] == together[position]).all()


@pytest.mark.parametrize(("seed", "row", "epoch"), [(2, 5, 0), (1, 6, 0), (1, 5, 1)])
def test_another_seed_row_or_epoch_gives_another_image(
    engine: str, seed: int, row: int, epoch: int
) -> None:
    images = random_images(1, 12)
    first = engine_of(engine, ARTICLE, 1)(images, np.array([5]), 0)
    assert first.dtype == np.uint8
    assert (first != images).any()
    assert (engine_of(engine, ARTICLE, seed)(images, np.array([row]), epoch) != first).any()


def test_an_epoch_is_drawn_the_same_after_others_and_the_images_given_stay(engine: str) -> None:
    images, rows = random_images(3, 12), np.arange(3)
    before = images.copy()
    expected = engine_of(engine, ARTICLE, 1)(images, rows, 7)
    used = engine_of(engine, ARTICLE, 1)
    for epoch in (0, 3, 7):
        result = used(images, rows, epoch)
    assert (result == expected).all()
    assert (images == before).all()


def test_a_flip_is_a_flip(engine: str) -> None:
    images = random_images(40, 12)
    result = engine_of(engine, Augmentation(horizontal_flip=True), 1)(images, np.arange(40), 0)
    kept = (result == images).all(axis=(1, 2, 3))
    flipped = (result == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (kept ^ flipped).all()
    assert 10 < flipped.sum() < 30


def test_empty_corners_are_black_if_the_fill_is_constant(engine: str) -> None:
    images = np.full((20, 12, 12, 3), 200, dtype=np.uint8)
    turned = Augmentation(rotation_range=45)
    assert (engine_of(engine, turned, 1)(images, np.arange(20), 0) == 200).all()
    black = engine_of(engine, replace(turned, fill_mode="constant"), 1)(images, np.arange(20), 0)
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


def test_the_generator_gets_every_argument_that_it_has() -> None:
    augmentation = replace(WIDE, fill_mode="constant")
    generator = image_data_generator(augmentation)
    for name, value in asdict(augmentation).items():
        if hasattr(generator, name):
            assert tuple(np.atleast_1d(getattr(generator, name))) == tuple(np.atleast_1d(value))
    assert image_data_generator(MOVES).brightness_range is None


def test_a_model_augments_while_it_trains_and_not_when_it_predicts() -> None:
    image = keras.Input((12, 12, 3), dtype="uint8", name="image")
    pixels = keras.Model(image, keras.ops.cast(image, "float32"), name="pixels")
    images, rows = random_images(5, 12), np.arange(5)
    model = with_device_augment(pixels, ALL)
    inputs = DeviceEngine(ALL, 1, count=5, size=12)(images, rows, 0)
    training = keras.ops.convert_to_numpy(model(inputs, training=True))
    expected = on_device(images, drawn(ALL, 5, 12, seed=[1, 0]), ALL)
    assert abs(training - expected).max() <= 0.5
    assert (training == np.rint(training)).all()
    assert (model.predict(inputs, verbose=0) == images).all()
    assert (model.predict(unchanged(images, rows, 0), verbose=0) == images).all()


def test_images_that_stay_have_plans_of_the_same_shape() -> None:
    inputs = unchanged(random_images(3, 12), np.arange(3), 0)
    assert inputs["plan"].shape == (3, PLAN_WIDTH)
    assert inputs["plan"].dtype == np.float32
