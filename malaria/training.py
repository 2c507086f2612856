"""A model fitted to the train split, its epoch chosen on the val split."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from malaria.augment import DeviceEngine, GeneratorEngine, unchanged, with_device_augment
from malaria.backend import is_lost_process, is_out_of_memory, refuse_difference
from malaria.batches import ALL, Augment, Batches, Share
from malaria.checkpoint import Checkpoint
from malaria.errors import MalariaError
from malaria.fitting import Fit, OnEpoch, Outcome, Phase, compile_phase
from malaria.modelfile import logit_model
from malaria.models import ARCHITECTURES, group_of, split_at
from malaria.recipes import Recipe


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
    checkpoint: Checkpoint,
    share: Share = ALL,
) -> Outcome:
    """Fit `model` in place; return the epochs and which of them was kept.

    `keep` is 'best' (lowest val_loss) or 'last'. A body that is never trained computes its
    features once, into a memory-mapped file in `workspace`; then only the head is trained.
    After each epoch a checkpoint is written. Where there is one, the training goes on from it
    and ends with the same weights as if it had never stopped; `on_epoch` is told new epochs.
    Of several processes each calls this, with its `share`, and ends with the same weights.
    Raises MalariaError for a recipe that does not fit the model, a loss that is not finite, too
    little memory, and processes that do not do the same.
    """
    _check(model.name, recipe, share)
    outcome = Outcome(keep)
    saved = checkpoint.read()
    refuse_difference(
        json.dumps(saved and saved.state),
        f"the processes do not see the same checkpoint at {checkpoint.path}; let them share its "
        "folder, or delete it on each host.",
    )
    if saved is not None:
        outcome.restore(saved)
    with (
        _faults_explained(recipe, cells),
        trained_part(model, cells, recipe, workspace) as (part, inputs),
    ):
        learner, batches, validation = prepare(part, inputs, recipe, seed, share)
        for number, phase in enumerate(phases(recipe)):
            if saved is not None and number < saved.state["phase"]:
                continue
            with _frozen_body(part, phase):
                shares = rate_shares(learner, part, phase)
                compile_phase(learner, recipe, phase, len(batches), shares)
                fit = Fit(number, phase, learner, part, batches, outcome)
                if saved is not None and number == saved.state["phase"]:
                    fit.restore(saved)
                fit.run(recipe, validation, on_epoch, checkpoint)
        if keep == "best":
            part.set_weights(outcome.weights)
    refuse_difference(
        weights_digest(model),
        "the processes ended with different weights; start the training anew on equal hosts.",
    )
    return outcome


def weights_digest(model: keras.Model) -> str:
    """Return the SHA-256 of the model's weights."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(array.tobytes())
    return digest.hexdigest()


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
    part: keras.Model, inputs: Cells, recipe: Recipe, seed: int, share: Share = ALL
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
    batches_of = partial(
        Batches, inputs.array, batch_size=recipe.batch_size, labels=inputs.labels, share=share
    )
    batches = batches_of(inputs.train, shuffle_seed=seed, augment=augment)
    return learner, batches, batches_of(inputs.val, augment=leave)


def _check(name: str, recipe: Recipe, share: Share) -> None:
    architecture = ARCHITECTURES[name]
    if recipe.batch_size % share.devices:
        raise MalariaError(
            f"train.batch_size is {recipe.batch_size}, but {share.devices} devices share a batch "
            f"equally; set it to a multiple of {share.devices}."
        )
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


def rate_shares(learner: keras.Model, part: keras.Model, phase: Phase) -> list[float] | None:
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


@contextmanager
def _faults_explained(recipe: Recipe, cells: Cells) -> Iterator[None]:
    """Say what to do where the device's memory is too small or another process is lost."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            size = cells.array.shape[1]
            raise MalariaError(
                f"the memory is too small for batches of {recipe.batch_size} images of "
                f"{size} x {size} pixels; lower train.batch_size or preprocess.size."
            ) from error
        if is_lost_process(error):
            reason = " ".join(str(error).split())[:300]
            raise MalariaError(
                f"another process of this training is lost ({reason}); start all of them again, "
                "and they go on from the last checkpoint."
            ) from error
        raise


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
