"""Augmentation, drawn anew for each image and epoch, by either of two engines.

What an image becomes depends on the seed, the epoch and the image's row alone, not on the
order of the batches, so a training can be repeated and continued.
"""

from dataclasses import asdict
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.legacy.preprocessing.image import ImageDataGenerator  # has no public name

from malaria.draws import (
    BRIGHTNESS,
    CONTRAST,
    DELTA,
    MATRIX,
    PLAN_WIDTH,
    STAIN,
    draw,
    moves,
    plan,
)
from malaria.recipes import OURS, UNCHANGED, Augmentation

Planned = dict[str, np.ndarray]  # images uint8 (B, S, S, 3), plans float32 (B, 14)


class GeneratorEngine:
    """Keras' ImageDataGenerator on the host, with a seed of its own for each image of an epoch."""

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        self._generator = image_data_generator(augmentation)
        self._seed = seed

    def __call__(self, images: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Return a drawn version of each image; uint8 (B, S, S, 3) in and out."""
        drawn = np.empty_like(images)
        for position, row in enumerate(rows):
            seed = np.random.SeedSequence([self._seed, epoch, int(row)]).generate_state(1)[0]
            image = self._generator.random_transform(images[position].astype("float32"), int(seed))
            drawn[position] = np.rint(image).clip(0, 255)
        return drawn


def image_data_generator(augmentation: Augmentation) -> ImageDataGenerator:
    """Return ImageDataGenerator with those of the arguments that it has."""
    arguments: dict[str, Any] = {
        name: value for name, value in asdict(augmentation).items() if name not in OURS
    }
    if arguments["brightness_range"] == UNCHANGED:
        arguments["brightness_range"] = None  # a factor of 1 would cut grey values to whole ones
    return ImageDataGenerator(**arguments, data_format="channels_last", dtype="float32")


class DeviceEngine:
    """The draws of each image as one more input of the model, where `DeviceAugment` uses them."""

    def __init__(self, augmentation: Augmentation, seed: int, count: int, size: int) -> None:
        """Take the number of rows that there are, and the pixels of a side."""
        self._augmentation = augmentation
        self._seed = seed
        self._count = count
        self._size = size
        self._epoch = -1

    def __call__(self, images: np.ndarray, rows: np.ndarray, epoch: int) -> Planned:
        """Return the images as they are, and their plans."""
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, epoch])
            draws = draw(self._augmentation, self._count, self._size, rng)
            self._plans = plan(draws, self._size)
            self._epoch = epoch
        return {"image": images, "plan": self._plans[rows]}


def unchanged(images: np.ndarray, rows: np.ndarray, epoch: int) -> Planned:
    """Return the inputs of a model with `DeviceAugment` for images that stay as they are."""
    return {"image": images, "plan": np.zeros((len(images), PLAN_WIDTH), "float32")}


def with_device_augment(model: keras.Model, augmentation: Augmentation) -> keras.Model:
    """Return a model around `model`, sharing its weights, that draws images as it trains."""
    image = keras.Input(model.input.shape[1:], dtype="uint8", name="image")
    plans = keras.Input((PLAN_WIDTH,), dtype="float32", name="plan")
    drawn = DeviceAugment(augmentation, name="augment")(image, plans)
    return keras.Model({"image": image, "plan": plans}, model(drawn), name=model.name)


class DeviceAugment(keras.layers.Layer):
    """Draws a batch of uint8 images by their plans while a model trains; else leaves them."""

    def __init__(self, augmentation: Augmentation, **options: Any) -> None:
        super().__init__(dtype="float32", autocast=False, trainable=False, **options)
        self._augmentation = augmentation
        # TensorFlow's affine kernel is not compiled by XLA.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def call(self, images: Any, plans: Any, training: bool = False) -> Any:
        """Return uint8 (B, S, S, 3)."""
        if not training:
            return images
        return ops.cast(ops.round(transform(images, plans, self._augmentation)), "uint8")

    def compute_output_spec(self, images: Any, plans: Any, training: bool = False) -> Any:
        """Return the specification of the images."""
        return keras.KerasTensor(images.shape, dtype="uint8")


def transform(images: Any, plans: Any, augmentation: Augmentation) -> Any:
    """Return the images (B, S, S, 3), 0 to 255, as their plans (B, 14) say, in float32.

    Affine part and brightness as ImageDataGenerator, which cuts to whole grey values where it
    changes brightness. Contrast is the distance from the mean of the image's channel. Stain:
    by Beer and Lambert's law the optical density of a channel, -log(value / 255), follows the
    amount of stain, so a factor of it is a power of the value; black and white stay.
    """
    x = ops.cast(images, "float32")
    if moves(augmentation):
        x = _moved(x, plans[:, MATRIX], augmentation.fill_mode)
    if augmentation.brightness_range != UNCHANGED:
        x = ops.floor(ops.clip(ops.floor(x) * _of_image(plans[:, BRIGHTNESS]), 0, 255))
    if augmentation.brightness_delta:
        x = ops.clip(x + _of_image(plans[:, DELTA]), 0, 255)
    if augmentation.contrast_range != UNCHANGED:
        mean = ops.mean(x, axis=(1, 2), keepdims=True)
        x = ops.clip((x - mean) * _of_image(plans[:, CONTRAST]) + mean, 0, 255)
    if augmentation.stain_jitter:
        x = 255 * (x / 255) ** _of_image(plans[:, STAIN])
    return x


def _of_image(values: Any) -> Any:
    """Return (B, C) as (B, 1, 1, C)."""
    return values[:, None, None, :]


def _moved(x: Any, matrices: Any, fill_mode: str) -> Any:
    moved = ops.image.affine_transform(
        x, matrices, interpolation="bilinear", fill_mode="nearest", data_format="channels_last"
    )
    if fill_mode == "nearest":
        return moved
    # SciPy's constant, ImageDataGenerator's, fills whatever lies outside the pixels' centres;
    # the kernel's own would blend the outermost pixels with the fill.
    size = x.shape[1]
    place = ops.arange(size, dtype="float32")
    row, column = place[None, :, None], place[None, None, :]
    inside: Any = True
    for first in (0, 3):
        a, b, c = (matrices[:, first + term, None, None] for term in range(3))
        source = a * column + b * row + c
        inside = ops.logical_and(inside, ops.logical_and(source >= 0, source <= size - 1))
    return ops.where(inside[..., None], moved, 0.0)
