"""train: a model fitted to the train split, its epoch chosen on the val split."""

import startup  # noqa: F401

import malaria.quiet_keras  # noqa: F401

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from malaria import backend, models
from malaria.batches import Share
from malaria.cells import open_images, read_cells
from malaria.checkpoint import Checkpoint
from malaria.modelfile import save_model
from malaria.params.augment import AugmentParams
from malaria.params.base import load
from malaria.params.train import TrainParams
from malaria.recipes import Recipe, resolve
from malaria.stage import run_stage
from malaria.tracking import StageRun
from malaria.training import Cells, train, weights_digest
from malaria.weights import NONE, find_weights

CELLS = Path("data/cells.csv")
IMAGES = Path("data/images.npy")
ORDER = Path("data/images.json")
MODEL = Path("models/model.keras")
HISTORY = Path("reports/history.csv")
SUMMARY = Path("reports/train.json")
HISTORY_DIGITS = 6


def main(run: StageRun) -> None:
    params = load(TrainParams)
    recipe = resolve(params, load(AugmentParams))
    table = read_cells(CELLS)
    images = open_images(IMAGES, ORDER, table)
    size = images.shape[1]

    prepared = backend.prepare(params.device, params.precision, params.seed, params.distribution)
    share = prepared.share
    is_first = share.process == 0
    backend.refuse_difference(
        run.context.key,
        "the processes have other params, code, data or package versions; let them run the same "
        "checkout.",
    )
    pretrained = models.ARCHITECTURES[params.model].pretrained
    model = models.build(params.model, size, find_weights(params.weights) if pretrained else None)
    resolved = {
        "model": params.model,
        "weights": params.weights if pretrained else "none",
        "parameters": model.count_params(),
        "size": size,
        "device": prepared.device,
        "backend": keras.backend.backend(),
        "precision": prepared.precision,
        "devices": share.devices,
        "recipe": asdict(recipe),
    }
    run.resolved(resolved)
    where = (
        f"{share.devices} x {prepared.device}" if share.devices > 1 else f"the {prepared.device}"
    )
    print(
        f"train: {params.model}, {model.count_params():,} parameters, {prepared.precision} on "
        f"{where}{_of(share)}"
    )
    for warning in _warnings(params, recipe, size, prepared):
        print(f"train: warning: {warning}")

    def on_epoch(row: dict[str, float]) -> None:
        run.metrics(_rounded(row), step=int(row["epoch"]))
        if is_first:
            print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)

    checkpoint = Checkpoint(run.context.checkpoints, run.context.key, run.run_id, writes=is_first)
    if is_first:
        checkpoint.delete_old_ones()
    outcome = train(
        model,
        Cells(
            images,
            table["label"].to_numpy(),
            train=np.flatnonzero(table["split"] == "train"),
            val=np.flatnonzero(table["split"] == "val"),
        ),
        recipe,
        keep=params.keep,
        seed=params.seed,
        workspace=IMAGES.parent,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
        share=share,
    )
    backend.leave()
    if share.processes > 1:
        print(f"train: weights {weights_digest(model)[:16]}{_of(share)}")
    if not is_first:
        return
    run.metrics({"seconds": outcome.seconds})

    MODEL.parent.mkdir(exist_ok=True)
    HISTORY.parent.mkdir(exist_ok=True)
    save_model(model, MODEL)
    rows = pd.DataFrame(map(_rounded, outcome.history))
    rows.to_csv(HISTORY, index=False, lineterminator="\n")
    val_loss = round(outcome.history[outcome.kept - 1]["val_loss"], HISTORY_DIGITS)
    best = {"kept_epoch": outcome.kept, "val_loss": val_loss}
    SUMMARY.write_text(json.dumps(resolved | best, indent=2) + "\n")
    checkpoint.delete()


def _of(share: Share) -> str:
    """Return which process this is, where there are several."""
    if share.processes == 1:
        return ""
    return f", process {share.process + 1} of {share.processes}"


def _warnings(
    params: TrainParams, recipe: Recipe, size: int, prepared: backend.Prepared
) -> Iterator[str]:
    """Give what a user should know of values that work, but not as one may think."""
    if prepared.idle and params.distribution == "auto":
        yield (
            f"{prepared.idle} more of kind {prepared.device} stay idle: the "
            f"{keras.backend.backend()} backend trains on one; with KERAS_BACKEND=jax all train"
        )
    pretrained = models.ARCHITECTURES[params.model].pretrained
    if not pretrained and params.weights != NONE:
        yield f"{params.model} has no pre-trained body; train.weights is not used"
    if pretrained and params.weights == NONE and recipe.head_epochs:
        yield (
            f"the body starts at random, so {recipe.head_epochs} epochs of the head alone learn "
            "from random features; set train.head_epochs to 0"
        )
    if size != recipe.published_size:
        yield f"{size} px; the recipe was published at {recipe.published_size} px"


def _rounded(row: dict[str, float]) -> dict[str, float]:
    """Return a row of the history for the file; learning rates are too small for fixed digits."""
    rate = float(f"{row['learning_rate']:.{HISTORY_DIGITS}g}")
    fixed = {name: round(value, HISTORY_DIGITS) for name, value in row.items()}
    return fixed | {"learning_rate": rate}


if __name__ == "__main__":
    run_stage("train", main)
