"""Batches read from memory-mapped arrays."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

Inputs = np.ndarray | dict[str, np.ndarray]
Augment = Callable[[np.ndarray, np.ndarray, int], Inputs]  # of images, their rows, the epoch


class Batches(keras.utils.PyDataset):
    """Batches of chosen rows of an array, in the rows' order or shuffled anew each epoch.

    Only the rows of a batch are read into memory. With `labels` a batch is (x, y), y float32
    (B, 1); without, it is (x,). Row i of `array` has label i. `shuffle_seed` and the epoch fix
    the order. `augment` makes x of the images.
    """

    def __init__(
        self,
        array: np.ndarray,
        rows: np.ndarray,
        batch_size: int,
        labels: np.ndarray | None = None,
        shuffle_seed: int | None = None,
        augment: Augment | None = None,
    ) -> None:
        super().__init__()
        self._array = array
        self._rows = rows
        self._batch_size = batch_size
        self._labels = labels
        self._shuffle_seed = shuffle_seed
        self._augment = augment
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Fix the order and the augmentation of the epoch, counted from 0."""
        self._epoch = epoch
        self._order = np.arange(len(self._rows))
        if self._shuffle_seed is not None:
            np.random.default_rng([self._shuffle_seed, epoch]).shuffle(self._order)

    def __len__(self) -> int:
        """Return the number of batches; the last may be smaller."""
        return math.ceil(len(self._rows) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return batch `index`."""
        start = index * self._batch_size
        positions = self._order[start : start + self._batch_size]
        rows = self._rows[positions]
        images = np.asarray(self._array[rows])
        x = images if self._augment is None else self._augment(images, rows, self._epoch)
        if self._labels is None:
            return (x,)
        return x, self._labels[rows].astype("float32")[:, None]
