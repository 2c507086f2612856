"""Batches read from memory-mapped arrays."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

Inputs = np.ndarray | dict[str, np.ndarray]
Augment = Callable[[np.ndarray, np.ndarray, int], Inputs]  # of images, their rows, the epoch


@dataclass(frozen=True)
class Share:
    """The part of each batch that this process computes."""

    devices: int = 1  # of all processes; each takes an equal part of a batch
    processes: int = 1
    process: int = 0


ALL = Share()


class Batches(keras.utils.PyDataset):
    """Batches of chosen rows of an array, in the rows' order or reshuffled each epoch.

    Only the rows of a batch are read into memory. With `labels` a batch is (x, y), y float32
    (B, 1); without, it is (x,). Row i of `array` has label i. `shuffle_seed` and the epoch fix
    the order. `augment` turns the images into x.

    Several devices take equally many rows of a batch. So a shuffled epoch skips the last few rows
    of its order; batches that are not shuffled are (x, y, weight), and the last is padded with
    rows of weight 0.
    """

    def __init__(
        self,
        array: np.ndarray,
        rows: np.ndarray,
        batch_size: int,
        labels: np.ndarray | None = None,
        shuffle_seed: int | None = None,
        augment: Augment | None = None,
        share: Share = ALL,
    ) -> None:
        super().__init__()
        self._array = array
        self._rows = rows
        self._batch_size = batch_size
        self._labels = labels
        self._shuffle_seed = shuffle_seed
        self._augment = augment
        self._share = share
        left_over = len(rows) % batch_size % share.devices
        self._count = len(rows) - (left_over if shuffle_seed is not None else 0)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Fix the order and the augmentation of the epoch, counted from 0."""
        self._epoch = epoch
        self._order = np.arange(len(self._rows))
        if self._shuffle_seed is not None:
            np.random.default_rng([self._shuffle_seed, epoch]).shuffle(self._order)

    def __len__(self) -> int:
        """Return the number of batches; the last may be smaller."""
        return math.ceil(self._count / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return batch `index`."""
        start = index * self._batch_size
        whole = self._order[: self._count][start : start + self._batch_size]
        positions, weights = self._share_of(whole)
        rows = self._rows[positions]
        images = np.asarray(self._array[rows])
        x = images if self._augment is None else self._augment(images, rows, self._epoch)
        if self._labels is None:
            return (x,)
        y = self._labels[rows].astype("float32")[:, None]
        if self._share.devices == 1 or self._shuffle_seed is not None:
            return x, y
        return x, y, weights

    def _share_of(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return this process' part of a batch, and the weights of its rows."""
        share = self._share
        filled = np.resize(positions, math.ceil(len(positions) / share.devices) * share.devices)
        weights = (np.arange(len(filled)) < len(positions)).astype("float32")
        rows = len(filled) // share.processes
        own = slice(share.process * rows, (share.process + 1) * rows)
        return filled[own], weights[own]
