"""Augmentation: new draws for each image and epoch, by one of two engines.

The result depends only on the seed, the epoch and the image's row, not on the order of the
batches, so a training can be repeated and resumed.
"""

from dataclasses import asdict
from functools import lru_cache
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.legacy.preprocessing.image import ImageDataGenerator  # has no public name

from malaria.models.base.recipe import OURS, UNCHANGED, Augmentation
from malaria.training.draws import (
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

Batch = dict[str, np.ndarray]  # "image": uint8 (B, S, S, 3), "plan": float32 (B, 14)


class GeneratorEngine:
    """Keras' ImageDataGenerator on the host, seeded separately for each image and epoch."""

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        self._generator = image_data_generator(augmentation)
        self._seed = seed

    def __call__(self, images: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Return each image augmented; uint8 (B, S, S, 3) in and out."""
        drawn = np.empty_like(images)
        for position, row in enumerate(rows):
            seed = np.random.SeedSequence([self._seed, epoch, int(row)]).generate_state(1)[0]
            image = self._generator.random_transform(images[position].astype("float32"), int(seed))
            drawn[position] = np.rint(image).clip(0, 255)
        return drawn


def image_data_generator(augmentation: Augmentation) -> ImageDataGenerator:
    """Return ImageDataGenerator with the arguments that it has."""
    arguments = {name: value for name, value in asdict(augmentation).items() if name not in OURS}
    if arguments["brightness_range"] == UNCHANGED:
        arguments["brightness_range"] = None  # a factor of 1 would truncate grey values
    return ImageDataGenerator(**arguments, data_format="channels_last", dtype="float32")


class DeviceEngine:
    """The draws of each image as a second input of the model, for its `DeviceAugment`."""

    def __init__(self, augmentation: Augmentation, seed: int, count: int, size: int) -> None:
        """`count` is the number of rows in the array, `size` the pixels of a side."""

        @lru_cache(maxsize=1)
        def plans(epoch: int) -> np.ndarray:
            rng = np.random.default_rng([seed, epoch])
            return plan(draw(augmentation, count, size, rng), size)

        self._plans = plans

    def __call__(self, images: np.ndarray, rows: np.ndarray, epoch: int) -> Batch:
        """Return the images as they are, and their plans."""
        return {"image": images, "plan": self._plans(epoch)[rows]}


def unchanged(images: np.ndarray, rows: np.ndarray, epoch: int) -> Batch:
    """Return inputs of a model with `DeviceAugment` that leave the images as they are."""
    return {"image": images, "plan": np.zeros((len(images), PLAN_WIDTH), "float32")}


def with_device_augment(model: keras.Model, augmentation: Augmentation) -> keras.Model:
    """Return a model around `model`, with the same weights, that augments while it trains."""
    image = keras.Input(model.input.shape[1:], dtype="uint8", name="image")
    plans = keras.Input((PLAN_WIDTH,), dtype="float32", name="plan")
    drawn = DeviceAugment(augmentation, name="augment")(image, plans)
    return keras.Model({"image": image, "plan": plans}, model(drawn), name=model.name)


class DeviceAugment(keras.layers.Layer):
    """Augments a batch of uint8 images by their plans while a model trains, and only then."""

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
        """Return that of the images."""
        return keras.KerasTensor(images.shape, dtype="uint8")


def transform(images: Any, plans: Any, augmentation: Augmentation) -> Any:
    """Apply the plans (B, 14) to images (B, S, S, 3) of 0 to 255; return float32.

    Affine part and brightness are ImageDataGenerator's, which truncates grey values when it
    changes brightness. Contrast scales the distance from the mean of the image's channel. Stain:
    by the Beer-Lambert law the optical density of a channel, -log(value / 255), follows the
    amount of stain, so scaling it is a power of the value; black and white stay.
    """
    x = ops.cast(images, "float32")
    colours = plans[:, None, None, :]
    if moves(augmentation):
        x = _moved(x, plans[:, MATRIX], augmentation.fill_mode)
    if augmentation.brightness_range != UNCHANGED:
        x = ops.floor(ops.clip(ops.floor(x) * colours[..., BRIGHTNESS], 0, 255))
    if augmentation.brightness_delta:
        x = ops.clip(x + colours[..., DELTA], 0, 255)
    if augmentation.contrast_range != UNCHANGED:
        mean = ops.mean(x, axis=(1, 2), keepdims=True)
        x = ops.clip((x - mean) * colours[..., CONTRAST] + mean, 0, 255)
    if augmentation.stain_jitter:
        x = 255 * (x / 255) ** colours[..., STAIN]
    return x


def _moved(x: Any, matrices: Any, fill_mode: str) -> Any:
    moved = ops.image.affine_transform(
        x, matrices, interpolation="bilinear", fill_mode="nearest", data_format="channels_last"
    )
    if fill_mode == "nearest":
        return moved
    # ImageDataGenerator's (SciPy's) constant mode fills all that comes from outside the outermost
    # pixels' centres; the kernel's own would blend those pixels with the fill.
    size = x.shape[1]
    place = ops.arange(size, dtype="float32")
    row, column = place[None, :, None], place[None, None, :]
    inside: Any = True
    for first in (0, 3):
        a, b, c = (matrices[:, first + term, None, None] for term in range(3))
        source = a * column + b * row + c
        inside = ops.logical_and(inside, ops.logical_and(source >= 0, source <= size - 1))
    return ops.where(inside[..., None], moved, 0.0)
