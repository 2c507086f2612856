"""A model fitted to the train split, its epoch chosen on the val split."""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from malaria.augment import DeviceEngine, GeneratorEngine, unchanged, with_device_augment
from malaria.batches import Augment, Batches
from malaria.errors import MalariaError
from malaria.modelfile import logit_model
from malaria.models import ARCHITECTURES, group_of, split_at
from malaria.optimizers import make_optimizer
from malaria.recipes import Recipe

# The cross-entropy alone: `loss` would have the penalty on large weights in it.
LOSS, VAL_LOSS = "cross_entropy", "val_cross_entropy"
# The articles' plateau rule: halve the learning rate after two epochs without a better loss.
PLATEAU = {"monitor": VAL_LOSS, "mode": "min", "factor": 0.5, "patience": 2, "min_lr": 1e-6}
Epoch = dict[str, float]
OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class Cells:
    """Rows of an array that training may read, with their labels."""

    array: np.ndarray  # (N, ...), memory-mapped
    labels: np.ndarray  # (N,) 0 or 1
    train: np.ndarray  # row numbers
    val: np.ndarray


@dataclass(frozen=True)
class Phase:
    """Epochs that are trained in one go, at one setting of the optimizer."""

    epochs: int
    learning_rate: float  # of the head
    body_learning_rate: float | None = None  # of the first layers; None: learning_rate
    body_learns: bool = True
    patience: int = 0


@dataclass
class Outcome:
    """The epochs so far, and which of them is kept."""

    keep: str  # 'best' (lowest val_loss) or 'last'
    history: list[Epoch] = field(default_factory=list)
    kept: int = 0  # counted from 1
    weights: list[np.ndarray] = field(default_factory=list)  # of the best epoch

    def add(self, row: Epoch, model: keras.Model) -> None:
        """Append an epoch, after which `model` has its weights."""
        lowest = min((epoch["val_loss"] for epoch in self.history), default=math.inf)
        self.history.append(row)
        if self.keep == "last":
            self.kept = len(self.history)
        elif row["val_loss"] < lowest:
            self.kept = len(self.history)
            self.weights = model.get_weights()


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

    `keep` is 'best' (lowest val_loss) or 'last'. A body that is never trained computes its
    features once, into a memory-mapped file in `workspace`; then only the head is trained.
    Raises MalariaError for a recipe that does not fit the model and a loss that is not finite.
    """
    _check(model.name, recipe)
    outcome = Outcome(keep)
    with trained_part(model, cells, recipe, workspace) as (part, inputs):
        learner, batches, validation = prepare(part, inputs, recipe, seed)
        for phase in phases(recipe):
            with _frozen_body(part, phase):
                compile_phase(learner, part, recipe, phase, len(batches))
                _fit(learner, part, batches, validation, recipe, phase, outcome, on_epoch)
        if keep == "best":
            part.set_weights(outcome.weights)
    return outcome.history, outcome.kept


def phases(recipe: Recipe) -> list[Phase]:
    """Return the head alone, if the recipe begins so, then all layers that may learn."""
    whole = Phase(
        recipe.epochs,
        recipe.learning_rate,
        recipe.body_learning_rate,
        patience=recipe.patience,
    )
    if not recipe.head_epochs:
        return [whole]
    rate = recipe.head_learning_rate or recipe.learning_rate
    return [Phase(recipe.head_epochs, rate, body_learns=False), whole]


@contextmanager
def trained_part(
    model: keras.Model, cells: Cells, recipe: Recipe, workspace: Path
) -> Iterator[tuple[keras.Model, Cells]]:
    """Give the layers that are trained, up to the logit, and what goes into them.

    That is the whole model and the images, or the head and a frozen body's features.
    """
    body_end = ARCHITECTURES[model.name].frozen_until
    if body_end is None:
        yield logit_model(model), cells
        return
    body, head = split_at(model, body_end)
    with tempfile.TemporaryDirectory(dir=workspace, prefix=".features-") as folder:
        yield head, _compute_features(body, cells, recipe.batch_size, Path(folder))


def prepare(
    part: keras.Model, inputs: Cells, recipe: Recipe, seed: int
) -> tuple[keras.Model, Batches, Batches]:
    """Return a model around `part` that augments, if need be, and its train and val batches."""
    learner = part
    augment: Augment | None = None
    leave: Augment | None = None
    if not recipe.augment.is_off and recipe.engine == "generator":
        augment = GeneratorEngine(recipe.augment, seed)
    elif not recipe.augment.is_off:
        learner = with_device_augment(part, recipe.augment)
        count, size = inputs.array.shape[:2]
        augment = DeviceEngine(recipe.augment, seed, count, size)
        leave = unchanged
    batches = Batches(
        inputs.array,
        inputs.train,
        recipe.batch_size,
        labels=inputs.labels,
        shuffle_seed=seed,
        augment=augment,
    )
    validation = Batches(
        inputs.array, inputs.val, recipe.batch_size, labels=inputs.labels, augment=leave
    )
    return learner, batches, validation


def compile_phase(
    learner: keras.Model, part: keras.Model, recipe: Recipe, phase: Phase, steps: int
) -> None:
    """Compile `learner` for a phase of `steps` steps an epoch."""
    learner.compile(
        optimizer=make_optimizer(
            recipe.optimizer,
            recipe.schedule,
            phase.learning_rate,
            phase.epochs * steps,
            _shares(learner, part, phase),
        ),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[
            keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0),
            keras.metrics.BinaryCrossentropy(name=LOSS, from_logits=True),
        ],
    )


def _check(name: str, recipe: Recipe) -> None:
    architecture = ARCHITECTURES[name]
    if architecture.frozen_until is not None and not recipe.augment.is_off:
        raise MalariaError(
            f"augment must be off (0 and false) for {name}: its frozen body computes the "
            "features of each image once, not once an epoch."
        )
    if not architecture.groups or architecture.frozen_until is not None:
        for key in ("head_epochs", "body_learning_rate"):
            if getattr(recipe, key):
                raise MalariaError(
                    f"train.{key} is {getattr(recipe, key)}, but {name} has no pre-trained body "
                    "that learns; set it to null."
                )


def _shares(learner: keras.Model, part: keras.Model, phase: Phase) -> list[float] | None:
    """Return each variable's part of the learning rate: by group, evenly spaced in its logarithm.

    That is fastai's slice(body_learning_rate, learning_rate).
    """
    if phase.body_learning_rate is None:
        return None
    head = len(ARCHITECTURES[part.name].groups)
    lowest = phase.body_learning_rate / phase.learning_rate
    share_of = {
        id(variable): lowest ** (1 - group_of(part, layer) / head)
        for layer in part.layers
        for variable in layer.trainable_variables
    }
    return [share_of[id(variable)] for variable in learner.trainable_variables]


@contextmanager
def _frozen_body(part: keras.Model, phase: Phase) -> Iterator[None]:
    """Keep the body from learning during a phase of the head alone.

    Its batch normalisation learns on, as in fastai.
    """
    frozen = [
        layer
        for layer in part.layers
        if not phase.body_learns
        and layer.trainable
        and group_of(part, layer) < len(ARCHITECTURES[part.name].groups)
        and not isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in frozen:
        layer.trainable = False
    try:
        yield
    finally:
        for layer in frozen:
            layer.trainable = True


def _fit(
    learner: keras.Model,
    part: keras.Model,
    batches: Batches,
    validation: Batches,
    recipe: Recipe,
    phase: Phase,
    outcome: Outcome,
    on_epoch: OnEpoch,
) -> None:
    callbacks: list[keras.callbacks.Callback] = [_Recorder(part, batches, outcome, on_epoch)]
    if recipe.schedule == "plateau":
        callbacks.append(keras.callbacks.ReduceLROnPlateau(**PLATEAU))
    if phase.patience:
        callbacks.append(
            keras.callbacks.EarlyStopping(VAL_LOSS, mode="min", patience=phase.patience)
        )
    done = len(outcome.history)
    learner.fit(
        batches,
        validation_data=validation,
        initial_epoch=done,
        epochs=done + phase.epochs,
        callbacks=callbacks,
        shuffle=False,  # the batches shuffle their rows; Keras would add Python's global generator
        verbose=0,
    )


class _Recorder(keras.callbacks.Callback):
    """Tells the batches which epoch it is, shows progress, and adds each epoch to the outcome."""

    def __init__(
        self, part: keras.Model, batches: Batches, outcome: Outcome, on_epoch: OnEpoch
    ) -> None:
        super().__init__()
        self._part = part
        self._batches = batches
        self._outcome = outcome
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
        row = {
            "epoch": epoch + 1,
            "loss": values[LOSS],
            "accuracy": values["accuracy"],
            "val_loss": values[VAL_LOSS],
            "val_accuracy": values["val_accuracy"],
            "learning_rate": self._learning_rate,  # of the head, as the epoch began
        }
        for name in ("loss", "val_loss"):
            if not math.isfinite(row[name]):
                raise MalariaError(
                    f"{name} is {row[name]} in epoch {epoch + 1} at learning rate "
                    f"{self._learning_rate:g}; lower train.learning_rate."
                )
        self._outcome.add(row, self._part)
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
