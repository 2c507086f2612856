"""A model fitted to the train split, its epoch chosen on the val split."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from malaria.augment import Augmenter
from malaria.batches import Batches
from malaria.errors import MalariaError
from malaria.modelfile import logit_model
from malaria.models import ARCHITECTURES, split_at
from malaria.recipes import Recipe

# The articles' plateau rule: halve the learning rate after two epochs without a better val_loss.
PLATEAU = {"monitor": "val_loss", "factor": 0.5, "patience": 2, "min_lr": 1e-6}
OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}
Epoch = dict[str, float]
OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class Cells:
    """Rows of an array that training may read, with their labels."""

    array: np.ndarray  # (N, ...), memory-mapped
    labels: np.ndarray  # (N,) 0 or 1
    train: np.ndarray  # row numbers
    val: np.ndarray


def train(
    model: keras.Model,
    cells: Cells,
    recipe: Recipe,
    *,
    keep: str,
    seed: int,
    workspace: Path,
    on_epoch: OnEpoch,
) -> tuple[list[Epoch], int]:
    """Fit `model` in place; return the history, one row an epoch, and the epoch that was kept.

    `keep` is 'best' (lowest val_loss) or 'last'. A frozen body computes its features once,
    into a memory-mapped file in `workspace`; then only the head is trained.
    Raises MalariaError for a loss that is not finite.
    """
    body_end = ARCHITECTURES[model.name].frozen_until
    if body_end is None:
        return _fit(logit_model(model), cells, recipe, keep, seed, on_epoch)
    if not recipe.augment.is_off:
        raise MalariaError(
            f"augment must be off (0 and false) for {model.name}: its frozen body computes "
            "the features of each image once, not once an epoch."
        )
    body, head = split_at(model, body_end)
    with tempfile.TemporaryDirectory(dir=workspace, prefix=".features-") as folder:
        features = _compute_features(body, cells, recipe.batch_size, Path(folder))
        return _fit(head, features, recipe, keep, seed, on_epoch)


def _fit(
    model: keras.Model, cells: Cells, recipe: Recipe, keep: str, seed: int, on_epoch: OnEpoch
) -> tuple[list[Epoch], int]:
    batches = Batches(
        cells.array,
        cells.train,
        recipe.batch_size,
        labels=cells.labels,
        shuffle_seed=seed,
        augment=None if recipe.augment.is_off else Augmenter(recipe.augment, seed),
    )
    validation = Batches(cells.array, cells.val, recipe.batch_size, labels=cells.labels)
    model.compile(
        optimizer=OPTIMIZERS[recipe.optimizer](recipe.learning_rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)],
    )
    recorder = _Recorder(batches, on_epoch)
    callbacks: list[keras.callbacks.Callback] = [recorder]
    if recipe.schedule == "plateau":
        callbacks.append(keras.callbacks.ReduceLROnPlateau(**PLATEAU))
    if keep == "best":
        # Its patience is never exhausted: it only remembers and restores the best epoch.
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor="val_loss", patience=recipe.epochs, restore_best_weights=True
            )
        )
    model.fit(
        batches,
        validation_data=validation,
        epochs=recipe.epochs,
        callbacks=callbacks,
        shuffle=False,  # the batches shuffle their rows; Keras would add Python's global generator
        verbose=0,
    )
    losses = [row["val_loss"] for row in recorder.history]
    kept = int(np.argmin(losses)) + 1 if keep == "best" else len(losses)
    return recorder.history, kept


class _Recorder(keras.callbacks.Callback):
    """Tells the batches which epoch it is, shows progress, and keeps the history."""

    def __init__(self, batches: Batches, on_epoch: OnEpoch) -> None:
        super().__init__()
        self.history: list[Epoch] = []
        self._batches = batches
        self._on_epoch = on_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._batches.set_epoch(epoch)
        self._learning_rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self._bar = tqdm(
            total=len(self._batches), unit="batch", desc=f"epoch {epoch + 1}", disable=None
        )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._bar.close()
        values = {name: float(value) for name, value in (logs or {}).items()}
        for name in ("loss", "val_loss"):
            if not math.isfinite(values[name]):
                raise MalariaError(
                    f"{name} is {values[name]} in epoch {epoch + 1} at learning rate "
                    f"{self._learning_rate:g}; lower train.learning_rate."
                )
        row = {
            "epoch": epoch + 1,
            "loss": values["loss"],
            "accuracy": values["accuracy"],
            "val_loss": values["val_loss"],
            "val_accuracy": values["val_accuracy"],
            "learning_rate": self._learning_rate,
        }
        self.history.append(row)
        self._on_epoch(row)


def _compute_features(body: keras.Model, cells: Cells, batch_size: int, folder: Path) -> Cells:
    """Return the cells with `body`'s float32 output in place of each image.

    Only the rows of train and val are computed; they get new numbers.
    """
    rows = np.concatenate([cells.train, cells.val])
    features = np.lib.format.open_memmap(
        folder / "features.npy",
        mode="w+",
        dtype=np.float32,
        shape=(len(rows), *body.output_shape[1:]),
    )
    batches = Batches(cells.array, rows, batch_size)
    start = 0
    for index in tqdm(range(len(batches)), unit="batch", desc="features", disable=None):
        output = body.predict_on_batch(batches[index][0])
        features[start : start + len(output)] = output
        start += len(output)
    first_val = len(cells.train)
    numbers = np.arange(len(rows))
    return Cells(features, cells.labels[rows], numbers[:first_val], numbers[first_val:])
