"""Recipes, augmentation and batches: what a training sees, in which order."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from malaria.augment import Augmenter
from malaria.batches import Batches
from malaria.params.augment import AugmentParams
from malaria.params.train import TrainParams
from malaria.recipes import RECIPES, Augmentation, resolve
from tests.conftest import random_images

ARTICLE = RECIPES["vgg19_finetuned"].augment
TRAIN: dict[str, Any] = {
    "model": "vgg19_finetuned",
    "weights": "imagenet",
    "epochs": None,
    "batch_size": None,
    "optimizer": None,
    "learning_rate": None,
    "schedule": None,
    "keep": "best",
    "precision": "float32",
    "device": "auto",
    "seed": 1,
}


def train_params(**given: object) -> TrainParams:
    return TrainParams.model_validate(TRAIN | given)


def augment_params(**given: object) -> AugmentParams:
    return AugmentParams.model_validate(dict.fromkeys(AugmentParams.model_fields) | given)


@pytest.mark.parametrize("model", RECIPES)
def test_null_takes_the_value_of_the_recipe(model: str) -> None:
    assert resolve(train_params(model=model), augment_params()) == RECIPES[model]


def test_the_recipes_are_those_of_the_article() -> None:
    finetuned = resolve(train_params(), augment_params())
    assert (finetuned.epochs, finetuned.batch_size, finetuned.published_size) == (25, 64, 125)
    assert (finetuned.optimizer, finetuned.learning_rate) == ("rmsprop", 1e-5)
    assert finetuned.schedule == "constant"
    assert asdict(finetuned.augment) == {
        "rotation_range": 25,
        "width_shift_range": 0.05,
        "height_shift_range": 0.05,
        "shear_range": 0.05,
        "zoom_range": 0.05,
        "horizontal_flip": True,
        "vertical_flip": False,
        "fill_mode": "nearest",
    }
    for model, optimizer, rate in (("basic_cnn", "adam", 1e-3), ("vgg19_frozen", "rmsprop", 1e-4)):
        recipe = resolve(train_params(model=model), augment_params())
        assert (recipe.optimizer, recipe.learning_rate) == (optimizer, rate)
        assert recipe.schedule == "plateau"
        assert recipe.augment.is_off


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 1),
        ("batch_size", 7),
        ("optimizer", "sgd"),
        ("learning_rate", 0.5),
        ("schedule", "plateau"),
    ],
)
def test_a_given_value_overrides_the_recipe_and_nothing_else(key: str, value: object) -> None:
    recipe = asdict(resolve(train_params(**{key: value}), augment_params()))
    assert recipe == asdict(RECIPES["vgg19_finetuned"]) | {key: value}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rotation_range", 0),
        ("zoom_range", 0.2),
        ("horizontal_flip", False),
        ("vertical_flip", True),
        ("fill_mode", "constant"),
    ],
)
def test_a_given_range_overrides_the_recipe_even_where_it_is_zero(key: str, value: object) -> None:
    recipe = resolve(train_params(), augment_params(**{key: value}))
    assert asdict(recipe.augment) == asdict(ARTICLE) | {key: value}


def test_an_augmentation_without_ranges_is_off_whatever_its_fill() -> None:
    assert Augmentation().is_off
    assert Augmentation(fill_mode="constant").is_off
    for key, value in asdict(ARTICLE).items():
        if value not in (False, "nearest"):
            assert not Augmentation(**{key: value}).is_off
    assert not Augmentation(vertical_flip=True).is_off


def test_an_image_becomes_what_imagedatagenerator_draws_with_its_seed() -> None:
    images = random_images(6, 20)
    rows = np.array([3, 0, 999_999, 12, 5, 4])
    drawn = Augmenter(ARTICLE, seed=7)(images, rows, epoch=2)
    generator = ImageDataGenerator(
        rotation_range=25,
        width_shift_range=0.05,
        height_shift_range=0.05,
        shear_range=0.05,
        zoom_range=0.05,
        horizontal_flip=True,
        fill_mode="nearest",
    )
    for image, row, result in zip(images, rows, drawn, strict=True):
        seed = int(np.random.SeedSequence([7, 2, int(row)]).generate_state(1)[0])
        expected = generator.random_transform(image.astype("float32"), seed=seed)
        assert abs(result - expected).max() <= 0.5
    assert drawn.dtype == np.uint8
    assert drawn.shape == images.shape


def test_an_image_depends_neither_on_its_batch_nor_on_its_place_in_it() -> None:
    images = random_images(9, 12)
    rows = np.arange(100, 109)
    augmenter = Augmenter(ARTICLE, seed=1)
    together = augmenter(images, rows, 4)
    order = np.random.default_rng(0).permutation(9)
    np.random.seed(5)
    assert (augmenter(images[order], rows[order], 4) == together[order]).all()
    for position in range(9):
        alone = Augmenter(ARTICLE, seed=1)(images[[position]], rows[[position]], 4)
        assert (alone[0] == together[position]).all()


@pytest.mark.parametrize(("seed", "row", "epoch"), [(2, 5, 0), (1, 6, 0), (1, 5, 1)])
def test_an_image_is_drawn_anew_for_another_seed_row_or_epoch(
    seed: int, row: int, epoch: int
) -> None:
    images = random_images(1, 12)
    drawn = Augmenter(ARTICLE, seed=1)(images, np.array([5]), 0)
    assert (drawn != images).any()
    assert (Augmenter(ARTICLE, seed=seed)(images, np.array([row]), epoch) != drawn).any()


def test_augmentation_leaves_the_images_it_was_given_alone() -> None:
    images = random_images(4, 12)
    before = images.copy()
    Augmenter(ARTICLE, seed=1)(images, np.arange(4), 0)
    assert (images == before).all()


def test_augmentation_that_is_off_returns_the_images() -> None:
    images = random_images(3, 8)
    assert (Augmenter(Augmentation(), seed=1)(images, np.arange(3), 0) == images).all()


def test_a_flip_is_a_flip() -> None:
    images = random_images(40, 8)
    drawn = Augmenter(Augmentation(horizontal_flip=True), seed=1)(images, np.arange(40), 0)
    kept = (drawn == images).all(axis=(1, 2, 3))
    flipped = (drawn == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (kept ^ flipped).all()
    assert 10 < flipped.sum() < 30


def test_empty_corners_are_black_where_the_fill_is_constant() -> None:
    images = np.full((20, 16, 16, 3), 200, dtype=np.uint8)
    repeated = Augmenter(Augmentation(rotation_range=45), 1)(images, np.arange(20), 0)
    assert (repeated == 200).all()
    black = Augmenter(Augmentation(rotation_range=45, fill_mode="constant"), 1)(
        images, np.arange(20), 0
    )
    assert black[:, 0, 0].min() == 0


# Batches of an array whose pixels tell their row.
ROWS = np.array([90, 3, 41, 8, 77, 12, 60, 55, 2, 31, 29])


def encoded(count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Return images that hold their row in every pixel, and labels with no simple pattern."""
    array = np.empty((count, 4, 4, 3), dtype=np.uint8)
    array[:] = np.arange(count)[:, None, None, None]
    return array, np.random.default_rng(3).integers(0, 2, count)


def epoch_of(batches: Batches, epoch: int) -> tuple[list[int], list[np.ndarray]]:
    """Return the rows of an epoch in the order they come in, and its batches of labels."""
    batches.set_epoch(epoch)
    parts = [batches[index] for index in range(len(batches))]
    rows = [int(row) for part in parts for row in part[0][:, 0, 0, 0]]
    return rows, [part[1] for part in parts if len(part) > 1]


@pytest.mark.parametrize("shuffle_seed", [None, 5])
def test_labels_stay_with_their_images(shuffle_seed: int | None) -> None:
    array, labels = encoded()
    batches = Batches(array, ROWS, 4, labels=labels, shuffle_seed=shuffle_seed)
    for epoch in range(3):
        rows, parts = epoch_of(batches, epoch)
        assert (np.concatenate(parts)[:, 0] == labels[rows]).all()
        assert all(part.dtype == np.float32 and part.shape[1:] == (1,) for part in parts)


def test_the_augmentation_is_told_the_rows_of_its_images_and_the_epoch() -> None:
    array, labels = encoded()
    seen = []

    def augment(images: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        assert (images[:, 0, 0, 0] == rows).all()
        seen.append(epoch)
        return images + 100

    batches = Batches(array, ROWS, 4, labels=labels, shuffle_seed=5, augment=augment)
    for epoch in (0, 7):
        rows, parts = epoch_of(batches, epoch)
        assert (np.concatenate(parts)[:, 0] == labels[np.array(rows) - 100]).all()
    assert seen == [0, 0, 0, 7, 7, 7]


def test_every_row_comes_once_an_epoch_in_another_order_each_time() -> None:
    array, labels = encoded()
    batches = Batches(array, ROWS, 4, labels=labels, shuffle_seed=5)
    orders = [tuple(epoch_of(batches, epoch)[0]) for epoch in range(4)]
    assert len({*orders, tuple(ROWS)}) == 5
    assert all(sorted(order) == sorted(ROWS) for order in orders)


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    array, labels = encoded()
    first = Batches(array, ROWS, 4, labels=labels, shuffle_seed=5)
    expected = [epoch_of(first, epoch)[0] for epoch in range(3)]
    np.random.seed(1)
    again = Batches(array, ROWS, 3, labels=labels, shuffle_seed=5)
    assert epoch_of(again, 2)[0] == expected[2]
    assert epoch_of(again, 0)[0] == expected[0]
    assert epoch_of(Batches(array, ROWS, 4, shuffle_seed=6), 0)[0] != expected[0]


def test_without_a_seed_rows_come_as_given_in_every_epoch() -> None:
    array, _ = encoded()
    batches = Batches(array, ROWS, 4)
    assert [epoch_of(batches, epoch)[0] for epoch in range(2)] == [list(ROWS)] * 2


@pytest.mark.parametrize(("size", "sizes"), [(4, [4, 4, 3]), (11, [11]), (64, [11]), (1, [1] * 11)])
def test_the_last_batch_may_be_smaller(size: int, sizes: list[int]) -> None:
    array, _ = encoded()
    batches = Batches(array, ROWS, size, shuffle_seed=1)
    assert [len(batches[index][0]) for index in range(len(batches))] == sizes


def test_images_stay_uint8_and_features_float32() -> None:
    array, labels = encoded()
    batch = Batches(array, ROWS, 4, labels=labels)[0]
    assert batch[0].dtype == np.uint8
    assert len(batch) == 2
    features = Batches(array[:, 0].astype("float32"), ROWS, 4)[0]
    assert features[0].dtype == np.float32
    assert len(features) == 1
