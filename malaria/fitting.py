"""Epochs that are fitted in one go: what each of them leaves, and how a killed one goes on."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from malaria.batches import Batches
from malaria.checkpoint import Checkpoint, Saved
from malaria.errors import MalariaError
from malaria.optimizers import make_optimizer
from malaria.recipes import Recipe

# The cross-entropy alone: `loss` would have the penalty on large weights in it.
LOSS, VAL_LOSS = "cross_entropy", "val_cross_entropy"
BROKEN = "first_broken_step"
LOOK = 50  # steps between looks at BROKEN: each makes the host wait for the device
# The articles' plateau rule: halve the learning rate after two epochs without a better loss.
PLATEAU = {"monitor": VAL_LOSS, "mode": "min", "factor": 0.5, "patience": 2, "min_lr": 1e-6}
# What Keras' callbacks remember from epoch to epoch.
PLATEAU_STATE = ("wait", "best", "cooldown_counter")
EARLY_STOPPING_STATE = ("wait", "best", "best_epoch", "stopped_epoch")
Epoch = dict[str, float]
OnEpoch = Callable[[Epoch], None]


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
    weights: Sequence[np.ndarray] = ()  # of the best epoch
    seconds: float = 0.0  # that the epochs took

    def add(self, row: Epoch, model: keras.Model) -> None:
        """Append an epoch, after which `model` has its weights."""
        lowest = min((epoch["val_loss"] for epoch in self.history), default=math.inf)
        self.history.append(row)
        if self.keep == "last":
            self.kept = len(self.history)
        elif row["val_loss"] < lowest:
            self.kept = len(self.history)
            self.weights = model.get_weights()

    def restore(self, saved: Saved) -> None:
        """Take the epochs of a checkpoint."""
        self.history = [dict(row) for row in saved.state["history"]]
        self.kept = saved.state["kept"]
        self.seconds = saved.state["seconds"]
        self.weights = saved.arrays.get("best", ())


class Fit:
    """One phase of a training, from its first epoch or from where a checkpoint stands."""

    def __init__(
        self,
        number: int,
        phase: Phase,
        learner: keras.Model,
        part: keras.Model,
        batches: Batches,
        outcome: Outcome,
    ) -> None:
        """`learner` is compiled; `part` is what of it is saved; `number` counts from 0."""
        self._number = number
        self._phase = phase
        self._learner = learner
        self._part = part
        self._batches = batches
        self._outcome = outcome
        self._first_epoch = len(outcome.history)
        self._stopped = False
        self._remembered: Mapping[str, Mapping[str, Any]] = {}

    def restore(self, saved: Saved) -> None:
        """Take weights, optimizer, random state and callbacks of a checkpoint of this phase."""
        self._first_epoch = saved.state["first_epoch"]
        self._stopped = saved.state["stopped"]
        self._remembered = saved.state["callbacks"]
        optimizer = self._learner.optimizer
        optimizer.build(self._learner.trainable_variables)
        for name, variables in self._variables().items():
            for variable, array in zip(variables, saved.arrays[name], strict=True):
                variable.assign(array)

    def run(self, recipe: Recipe, validation: Batches, on_epoch: OnEpoch, to: Checkpoint) -> None:
        """Train the epochs that are left; write a checkpoint after each."""
        if self._stopped:
            return
        kept: dict[str, tuple[keras.callbacks.Callback, tuple[str, ...]]] = {}
        if recipe.schedule == "plateau":
            kept["plateau"] = (keras.callbacks.ReduceLROnPlateau(**PLATEAU), PLATEAU_STATE)
        if self._phase.patience:
            stop = keras.callbacks.EarlyStopping(
                VAL_LOSS, mode="min", patience=self._phase.patience
            )
            kept["early_stopping"] = (stop, EARLY_STOPPING_STATE)

        def save() -> None:
            self._stopped = self._learner.stop_training
            to.write(self._saved(kept))

        self._learner.fit(
            self._batches,
            validation_data=validation,
            initial_epoch=len(self._outcome.history),
            epochs=self._first_epoch + self._phase.epochs,
            callbacks=[
                _Recorder(self._part, self._batches, self._outcome, on_epoch),
                *(callback for callback, _ in kept.values()),
                _Remembered(kept, self._remembered),
                keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: save()),
            ],
            shuffle=False,  # the batches shuffle their rows; Keras would add Python's generator
            verbose=0,
        )

    def _variables(self) -> dict[str, list[keras.Variable]]:
        """Return all that training changes; the model's include the states of its dropouts."""
        return {"model": self._part.variables, "optimizer": self._learner.optimizer.variables}

    def _saved(self, kept: Mapping[str, tuple[keras.callbacks.Callback, Sequence[str]]]) -> Saved:
        arrays = {
            name: [ops.convert_to_numpy(variable) for variable in variables]
            for name, variables in self._variables().items()
        }
        state = {
            "phase": self._number,
            "first_epoch": self._first_epoch,
            "stopped": self._stopped,
            "callbacks": {
                name: {key: getattr(callback, key) for key in keys}
                for name, (callback, keys) in kept.items()
            },
            "history": self._outcome.history,
            "kept": self._outcome.kept,
            "seconds": self._outcome.seconds,
        }
        return Saved(arrays | {"best": self._outcome.weights}, state)


def compile_phase(
    learner: keras.Model, recipe: Recipe, phase: Phase, steps: int, shares: Sequence[float] | None
) -> None:
    """Compile `learner` for a phase of `steps` steps an epoch.

    `shares` has each trainable variable's part of the learning rate; None is all of it.
    """
    learner.compile(
        optimizer=make_optimizer(
            recipe.optimizer, recipe.schedule, phase.learning_rate, phase.epochs * steps, shares
        ),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        weighted_metrics=[  # several devices fill up the last val batch with rows of weight 0
            keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0),
            keras.metrics.BinaryCrossentropy(name=LOSS, from_logits=True),
            FirstBrokenStep(name=BROKEN),
        ],
    )


class FirstBrokenStep(keras.metrics.Metric):
    """The first step of an epoch, counted from 1, whose logits are not all finite; 0 for none."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._steps = self.add_weight(name="steps", initializer="zeros")
        self._first = self.add_weight(name="first", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a step."""
        self._steps.assign(self._steps + 1)
        is_first = ops.logical_and(
            ops.logical_not(ops.all(ops.isfinite(y_pred))), ops.equal(self._first, 0)
        )
        # JAX takes no variable here, but its value
        self._first.assign(ops.where(is_first, self._steps.value, self._first.value))

    def result(self) -> Any:
        """Return the step."""
        return self._first + 0.0  # its value now: validation counts with the same variable


class _Remembered(keras.callbacks.Callback):
    """Gives Keras' callbacks what they had remembered, once they have begun anew."""

    def __init__(
        self,
        callbacks: Mapping[str, tuple[keras.callbacks.Callback, Sequence[str]]],
        remembered: Mapping[str, Mapping[str, Any]],
    ) -> None:
        super().__init__()
        self._callbacks = callbacks
        self._remembered = remembered

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        for name, values in self._remembered.items():
            for key, value in values.items():
                setattr(self._callbacks[name][0], key, value)


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
        self._start = time.perf_counter()
        self._batches.set_epoch(epoch)
        self._learning_rate = self._rate()
        self._bar = tqdm(
            total=len(self._batches), unit="batch", desc=f"epoch {epoch + 1}", disable=None
        )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._bar.update()
        if logs and (batch + 1) % LOOK == 0:
            self._refuse_broken(float(logs[BROKEN]))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._bar.close()
        values = {name: float(value) for name, value in (logs or {}).items()}
        self._refuse_broken(values[BROKEN])
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
                    f"{name} is {row[name]} after epoch {epoch + 1} (step {len(self._batches)}) at "
                    f"learning rate {self._rate():g}; lower train.learning_rate."
                )
        self._outcome.seconds += time.perf_counter() - self._start
        self._outcome.add(row, self._part)
        self._on_epoch(row)

    def _rate(self) -> float:
        return float(ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def _refuse_broken(self, step: float) -> None:
        if step:
            raise MalariaError(
                f"the loss is not finite in epoch {len(self._outcome.history) + 1}, step "
                f"{step:.0f} of {len(self._batches)}, at learning rate {self._rate():g}; lower "
                "train.learning_rate."
            )
