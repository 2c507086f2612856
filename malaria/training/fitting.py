"""One phase of a training: its epochs, what each leaves, and how an interrupted one resumes."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from malaria.errors import MalariaError
from malaria.models.base.recipe import Recipe
from malaria.training.batches import Batches
from malaria.training.checkpoint import FINISHED, HISTORY, Checkpoint, Snapshot
from malaria.training.optimizers import make_optimizer

# Metrics of the cross-entropy, because `loss` includes the penalty on large weights.
LOSS, VAL_LOSS = "cross_entropy", "val_cross_entropy"
BROKEN = "first_broken_step"
LOOK = 50  # steps between looks at BROKEN, each of which makes the host wait for the device
# The articles' plateau rule: halve the learning rate after two epochs without a better loss.
PLATEAU = {"monitor": VAL_LOSS, "mode": "min", "factor": 0.5, "patience": 2, "min_lr": 1e-6}
# What Keras' callbacks remember from epoch to epoch.
REMEMBERED = {
    "plateau": ("wait", "best", "cooldown_counter"),
    "early_stopping": ("wait", "best", "best_epoch", "stopped_epoch"),
}
Epoch = dict[str, float]
OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class Phase:
    """Epochs that are trained with one optimizer."""

    epochs: int
    learning_rate: float  # of the head
    body_learning_rate: float | None = None  # of the body's first layers; None: learning_rate
    patience: int = 0
    body_learns: bool = True


@dataclass
class Outcome:
    """The epochs so far, and the one that is kept."""

    keep: str  # 'best' (lowest val_loss) or 'last'
    history: list[Epoch] = field(default_factory=list)
    kept: int = 0  # counted from 1
    weights: Sequence[np.ndarray] = ()  # of the kept epoch
    seconds: float = 0.0  # that the epochs took

    def add(self, row: Epoch, model: keras.Model) -> None:
        """Append an epoch, whose weights are those of `model` now."""
        lowest = min((epoch["val_loss"] for epoch in self.history), default=math.inf)
        self.history.append(row)
        if self.keep == "last" or row["val_loss"] < lowest:
            self.kept = len(self.history)
            self.weights = model.get_weights()

    def restore(self, snapshot: Snapshot) -> None:
        """Take the epochs of a checkpoint."""
        self.history = [dict(row) for row in snapshot.state[HISTORY]]
        self.kept = snapshot.state["kept"]
        self.seconds = snapshot.state["seconds"]
        self.weights = snapshot.arrays["kept"]


@dataclass
class Fit:
    """One phase of a training, from its first epoch or from a checkpoint."""

    number: int  # of the phase, counted from 0
    phase: Phase
    learner: keras.Model  # compiled
    part: keras.Model  # what of the learner is saved
    batches: Batches
    outcome: Outcome
    is_last: bool

    def __post_init__(self) -> None:
        self._first_epoch = len(self.outcome.history)
        self._stopped = False
        self._remembered: Mapping[str, Mapping[str, Any]] = {}

    def restore(self, snapshot: Snapshot) -> None:
        """Take weights, optimizer, random state and callbacks from a checkpoint of this phase."""
        self._first_epoch = snapshot.state["first_epoch"]
        self._stopped = snapshot.state["stopped"]
        self._remembered = snapshot.state["callbacks"]
        self.learner.optimizer.build(self.learner.trainable_variables)
        for name, variables in self._variables().items():
            assign(variables, snapshot.arrays[name])

    def run(self, recipe: Recipe, validation: Batches, on_epoch: OnEpoch, to: Checkpoint) -> None:
        """Train the remaining epochs; write a checkpoint after each."""
        if self._stopped:
            return
        callbacks: dict[str, keras.callbacks.Callback] = {}
        if recipe.schedule == "plateau":
            callbacks["plateau"] = keras.callbacks.ReduceLROnPlateau(**PLATEAU)
        if self.phase.patience:
            callbacks["early_stopping"] = keras.callbacks.EarlyStopping(
                VAL_LOSS, mode="min", patience=self.phase.patience
            )

        def remember() -> None:
            for name, values in self._remembered.items():
                vars(callbacks[name]).update(values)

        def save() -> None:
            self._stopped = self.learner.stop_training
            to.write(self._snapshot(callbacks))

        self.learner.fit(
            self.batches,
            validation_data=validation,
            initial_epoch=len(self.outcome.history),
            epochs=self._first_epoch + self.phase.epochs,
            callbacks=[
                _Recorder(self, on_epoch),
                *callbacks.values(),
                keras.callbacks.LambdaCallback(  # after those, which forget all when they begin
                    on_train_begin=lambda logs: remember(),
                    on_epoch_end=lambda epoch, logs: save(),
                ),
            ],
            shuffle=False,  # the batches shuffle their rows; Keras would add Python's generator
            verbose=0,
        )

    def _variables(self) -> dict[str, list[keras.Variable]]:
        """Return all that training changes; the model's include the states of its dropouts."""
        return {"model": self.part.variables, "optimizer": self.learner.optimizer.variables}

    def _snapshot(self, callbacks: Mapping[str, keras.callbacks.Callback]) -> Snapshot:
        arrays = {
            name: [ops.convert_to_numpy(variable) for variable in variables]
            for name, variables in self._variables().items()
        }
        state = {
            "phase": self.number,
            "first_epoch": self._first_epoch,
            "stopped": self._stopped,
            FINISHED: self.is_last
            and (
                self._stopped or len(self.outcome.history) == self._first_epoch + self.phase.epochs
            ),
            "callbacks": {
                name: {key: getattr(callback, key) for key in REMEMBERED[name]}
                for name, callback in callbacks.items()
            },
            HISTORY: self.outcome.history,
            "kept": self.outcome.kept,
            "seconds": self.outcome.seconds,
        }
        return Snapshot(arrays | {"kept": self.outcome.weights}, state)


def assign(variables: Sequence[keras.Variable], arrays: Sequence[np.ndarray]) -> None:
    """Give variables the values that a checkpoint has of them."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def compile_phase(
    learner: keras.Model, recipe: Recipe, phase: Phase, steps: int, shares: Sequence[float] | None
) -> None:
    """Compile `learner` for a phase of `steps` steps per epoch.

    `shares` are the factors of the learning rate by trainable variable; None is 1 for all.
    """
    learner.compile(
        optimizer=make_optimizer(
            recipe.optimizer,
            recipe.schedule,
            phase.learning_rate,
            phase.epochs * steps,
            shares,
            recipe.averaging,
        ),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        weighted_metrics=[  # several devices pad the last val batch with rows of weight 0
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
        # JAX accepts only the value of a variable here
        self._first.assign(ops.where(is_first, self._steps.value, self._first.value))

    def result(self) -> Any:
        """Return the step."""
        return self._first + 0.0  # a copy: validation counts with the same variable


class _Recorder(keras.callbacks.Callback):
    """Tells the batches which epoch it is, shows progress, and adds each epoch to the outcome.

    From the validation until then the learner has the averaged weights, if its optimizer averages.
    """

    def __init__(self, fit: Fit, on_epoch: OnEpoch) -> None:
        super().__init__()
        self._part, self._batches, self._outcome = fit.part, fit.batches, fit.outcome
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

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        weights = self.model.trainable_variables
        self._last_step = [ops.convert_to_numpy(weight) for weight in weights]
        self.model.optimizer.finalize_variable_values(weights)
        # Copies, because JAX frees what the average would share with the weights.
        assign(weights, [np.array(ops.convert_to_numpy(weight)) for weight in weights])

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
        assign(self.model.trainable_variables, self._last_step)
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
