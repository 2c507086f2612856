"""Augmentation by Keras' ImageDataGenerator, drawn anew for each image and epoch."""

from dataclasses import asdict

import numpy as np
from keras.src.legacy.preprocessing.image import ImageDataGenerator  # has no public name

from malaria.recipes import Augmentation


class Augmenter:
    """ImageDataGenerator with a seed of its own for each image of each epoch.

    What an image becomes depends on the seed, the epoch and the image's row alone, not on
    the order of the batches, so a training can be repeated and continued.
    """

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        self._generator = ImageDataGenerator(
            **asdict(augmentation), data_format="channels_last", dtype="float32"
        )
        self._off = augmentation.is_off
        self._seed = seed

    def __call__(self, images: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Return a drawn version of each image; uint8 (N, S, S, 3) in and out."""
        if self._off:
            return images
        drawn = np.empty_like(images)
        for position, row in enumerate(rows):
            seed = np.random.SeedSequence([self._seed, epoch, int(row)]).generate_state(1)[0]
            image = self._generator.random_transform(images[position].astype("float32"), int(seed))
            drawn[position] = np.rint(image).clip(0, 255)
        return drawn
