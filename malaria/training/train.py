"""Training: a model fitted to the train split, its epoch chosen on the val split."""

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

from malaria.errors import MalariaError
from malaria.models.base.build import group_of
from malaria.models.base.recipe import Recipe
from malaria.models.base.saved import logit_model, split_at
from malaria.models.base.system import find_system
from malaria.training.augment import DeviceEngine, GeneratorEngine, unchanged, with_device_augment
from malaria.training.backend import is_lost_process, is_out_of_memory, refuse_difference
from malaria.training.batches import ALL, Batches, Share
from malaria.training.checkpoint import FINISHED, Checkpoint
from malaria.training.fitting import Fit, OnEpoch, Outcome, Phase, assign, compile_phase


@dataclass(frozen=True)
class Cells:
    """The rows of an array that a training may read, with their labels."""

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

    `keep` is 'best' (lowest val_loss) or 'last'. A frozen body computes its features once, into a
    memory-mapped file in `workspace`; then only the head is trained. Each epoch ends with a
    checkpoint. If there is one at the start, the training resumes from it and ends with the same
    weights as without a break; `on_epoch` gets only the new epochs. One of the last epoch is the
    result, so nothing is computed.
    If several processes train together, each calls this with its `share` and ends with the same
    weights.
    Raises MalariaError for a recipe that does not fit the model, a loss that is not finite, too
    little memory, and processes that differ.
    """
    _check(model.name, recipe, share)
    outcome = Outcome(keep)
    snapshot = checkpoint.read()
    refuse_difference(
        json.dumps(snapshot and snapshot.state),
        f"the processes do not see the same checkpoint at {checkpoint.path}; let them share its "
        "folder, or delete it on each host.",
    )
    if snapshot is not None:
        outcome.restore(snapshot)
    if snapshot is not None and snapshot.state[FINISHED]:
        _, part = _body_and_part(model)
        assign(part.variables, snapshot.arrays["model"])
    else:
        with (
            _faults_explained(recipe, cells),
            trained_part(model, cells, recipe, workspace) as (part, inputs),
        ):
            learner, batches, validation = prepare(part, inputs, recipe, seed, share)
            planned = phases(recipe)
            for number, phase in enumerate(planned):
                if snapshot is not None and number < snapshot.state["phase"]:
                    continue
                with _frozen_body(part, phase):
                    shares = rate_shares(learner, part, phase)
                    compile_phase(learner, recipe, phase, len(batches), shares)
                    is_last = number == len(planned) - 1
                    fit = Fit(number, phase, learner, part, batches, outcome, is_last)
                    if snapshot is not None and number == snapshot.state["phase"]:
                        fit.restore(snapshot)
                    fit.run(recipe, validation, on_epoch, checkpoint)
    part.set_weights(outcome.weights)
    refuse_difference(
        weights_digest(model),
        "the processes ended with different weights; repeat the training on identical hosts.",
    )
    return outcome


def weights_digest(model: keras.Model) -> str:
    """Return the SHA-256 of the model's weights."""
    return hashlib.sha256(b"".join(array.tobytes() for array in model.get_weights())).hexdigest()


def phases(recipe: Recipe) -> list[Phase]:
    """Return the phase of the head, if the recipe has one, and that of all trainable layers."""
    rate, body_rate = recipe.learning_rate, recipe.body_learning_rate
    whole = Phase(recipe.epochs, rate, body_rate, recipe.patience)
    if not recipe.head_epochs:
        return [whole]
    head_rate = recipe.head_learning_rate or rate
    return [Phase(recipe.head_epochs, head_rate, body_learns=False), whole]


@contextmanager
def trained_part(
    model: keras.Model, cells: Cells, recipe: Recipe, workspace: Path
) -> Iterator[tuple[keras.Model, Cells]]:
    """Yield the layers to train, up to the logit, and their inputs.

    These are the whole model and the images, or the head and a frozen body's features.
    """
    body, part = _body_and_part(model)
    if body is None:
        yield part, cells
        return
    with tempfile.TemporaryDirectory(dir=workspace, prefix=".features-") as folder:
        yield part, _compute_features(body, cells, recipe.batch_size, Path(folder))


def _body_and_part(model: keras.Model) -> tuple[keras.Model | None, keras.Model]:
    """Return a frozen body, if the model has one, and the layers to train, up to the logit."""
    body_end = find_system(model.name).frozen_until
    return (None, logit_model(model)) if body_end is None else split_at(model, body_end)


def prepare(
    part: keras.Model, inputs: Cells, recipe: Recipe, seed: int, share: Share = ALL
) -> tuple[keras.Model, Batches, Batches]:
    """Return `part`, in a model that augments if the recipe does, and its train and val batches."""
    batches_of = partial(
        Batches, inputs.array, batch_size=recipe.batch_size, labels=inputs.labels, share=share
    )
    train_batches = partial(batches_of, inputs.train, shuffle_seed=seed)
    if recipe.augment.is_off:
        return part, train_batches(), batches_of(inputs.val)
    if recipe.engine == "generator":
        engine = GeneratorEngine(recipe.augment, seed)
        return part, train_batches(augment=engine), batches_of(inputs.val)
    learner = with_device_augment(part, recipe.augment)
    plans = DeviceEngine(recipe.augment, seed, *inputs.array.shape[:2])
    return learner, train_batches(augment=plans), batches_of(inputs.val, augment=unchanged)


def _check(name: str, recipe: Recipe, share: Share) -> None:
    system = find_system(name)
    if recipe.batch_size % share.devices:
        raise MalariaError(
            f"train.batch_size is {recipe.batch_size}, but {share.devices} devices share a batch "
            f"equally; set it to a multiple of {share.devices}."
        )
    is_frozen = system.frozen_until is not None
    if is_frozen and not recipe.augment.is_off:
        raise MalariaError(
            f"augment must be off (0 and false) for {name}: its frozen body computes the "
            "features of each image once, not in each epoch."
        )
    for key in ("head_epochs", "body_learning_rate"):
        value = getattr(recipe, key)
        if value and (is_frozen or not system.pretrained):
            raise MalariaError(
                f"train.{key} is {value}, but {name} has no pre-trained body that learns; set it "
                "to recipe."
            )


def rate_shares(learner: keras.Model, part: keras.Model, phase: Phase) -> list[float] | None:
    """Return each variable's factor of the learning rate: by group, evenly spaced in logarithm.

    That is fastai's slice(body_learning_rate, learning_rate).
    """
    if phase.body_learning_rate is None:
        return None
    head = len(find_system(part.name).groups)
    lowest = phase.body_learning_rate / phase.learning_rate
    share_of = {
        id(variable): lowest ** (1 - group_of(part, layer) / head)
        for layer in part.layers
        for variable in layer.trainable_variables
    }
    return [share_of[id(variable)] for variable in learner.trainable_variables]


@contextmanager
def _frozen_body(part: keras.Model, phase: Phase) -> Iterator[None]:
    """Freeze the body in a phase of the head, except for batch normalisation, as fastai does."""
    frozen = [
        layer
        for layer in part.layers
        if not phase.body_learns
        and layer.trainable
        and group_of(part, layer) < len(find_system(part.name).groups)
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
    """Say what to do if the memory is too small or another process is lost."""
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
                "and they resume from the last checkpoint."
            ) from error
        raise


def _compute_features(body: keras.Model, cells: Cells, batch_size: int, folder: Path) -> Cells:
    """Return the cells with `body`'s float32 output in place of each image.

    Only the rows of train and val are computed; they are renumbered.
    """
    rows = np.concatenate([cells.train, cells.val])
    shape = (len(rows), *body.output_shape[1:])
    features = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, shape)
    batches = Batches(cells.array, rows, batch_size)
    for index in tqdm(range(len(batches)), unit="batch", desc="features", disable=None):
        output = body.predict_on_batch(batches[index][0])
        features[index * batch_size :][: len(output)] = output
    train, val = np.split(np.arange(len(rows)), [len(cells.train)])
    return Cells(features, cells.labels[rows], train, val)
