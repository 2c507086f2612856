"""Cells, models and recipes that train in no time."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from malaria.models.base.recipe import Augmentation, Recipe
from malaria.models.base.saved import LOGIT, logit_model
from malaria.training.checkpoint import Checkpoint
from malaria.training.fitting import Epoch
from malaria.training.train import Cells, train
from tests.conftest import random_images

PLAIN = Recipe(8, epochs=3, batch_size=8, optimizer="sgd", learning_rate=0.1, schedule="constant")
FLIPPED = replace(PLAIN, augment=Augmentation(horizontal_flip=True))


def bright_and_dark(size: int = 8, train_count: int = 20, val_count: int = 12) -> Cells:
    """Return cells that differ in brightness; the splits lie scattered over the array."""
    count = train_count + val_count + 8  # the last eight are in no split
    labels = np.random.default_rng(1).integers(0, 2, count)
    images = random_images(count, size) // 4 + (labels * 120).astype(np.uint8)[:, None, None, None]
    rows = np.random.default_rng(2).permutation(count)
    return Cells(images, labels, rows[:train_count], rows[train_count : train_count + val_count])


def with_wrong_labels(share: float = 1) -> Cells:
    """Return cells with the labels of the first val cells swapped; of all, epoch 1 is the best."""
    cells = bright_and_dark()
    labels = cells.labels.copy()
    wrong = cells.val[: round(share * len(cells.val))]
    labels[wrong] = 1 - labels[wrong]
    return replace(cells, labels=labels)


def small(size: int = 8, hidden: int = 0) -> keras.Model:
    """Return a model that stands in for basic_cnn, at no cost.

    Without hidden layers it is a logistic regression on the mean colour, starting at zero.
    """
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    for _ in range(hidden):
        x = keras.layers.Dropout(0.3)(keras.layers.Dense(8)(x))
    return _ended(image, x, "glorot_uniform" if hidden else "zeros")


def with_body(size: int = 8) -> keras.Model:
    """Return a model whose body has two groups, a normalisation and a layer that never learns."""
    image = keras.Input((size, size, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(4, 3, name="low_conv", trainable=False)(x)
    x = keras.layers.Conv2D(4, 3, name="low_conv2")(x)
    x = keras.layers.BatchNormalization(name="high_norm")(x)
    x = keras.layers.Conv2D(4, 3, name="high_conv")(x)
    return _ended(image, keras.layers.GlobalAveragePooling2D()(x))


def _ended(image: Any, features: Any, start: str = "glorot_uniform") -> keras.Model:
    logit = keras.layers.Dense(1, kernel_initializer=start, name=LOGIT)(features)
    return keras.Model(image, keras.layers.Activation("sigmoid")(logit), name="basic_cnn")


def fit(
    model: keras.Model, cells: Cells, recipe: Recipe, workspace: Path, **given: Any
) -> tuple[list[Epoch], int]:
    """Train from the beginning; return the history and the number of the epoch kept."""
    checkpoint = Checkpoint(workspace / "checkpoints", "key")
    options: dict[str, Any] = {"keep": "best", "seed": 5, "on_epoch": lambda row: None} | given
    try:
        outcome = train(model, cells, recipe, workspace=workspace, checkpoint=checkpoint, **options)
    finally:
        shutil.rmtree(checkpoint.folder, ignore_errors=True)
    return outcome.history, outcome.kept


def loss_and_accuracy(model: keras.Model, cells: Cells) -> tuple[float, float]:
    """Return the model's cross-entropy and accuracy on the val cells, from its logits."""
    logit = logit_model(model).predict(cells.array[cells.val], verbose=0)[:, 0]
    label = cells.labels[cells.val]
    loss = np.logaddexp(0, np.where(label, -logit, logit)).mean()
    return float(loss), float(((logit > 0) == label).mean())


def all_equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    """Return whether two models' weights are bit by bit the same."""
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
