"""train: a model fitted to the train split, its epoch chosen on the val split."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from malaria.core.files import write_file
from malaria.core.params import load
from malaria.models.base.saved import save_model
from malaria.paths import HISTORY, IMAGES, MODEL, TRAINED
from malaria.training import backend
from malaria.training.batches import Share
from malaria.training.checkpoint import Checkpoint
from malaria.training.params import AugmentParams, TrainParams
from malaria.training.recipe import resolve
from malaria.training.setup import set_up
from malaria.training.train import train, weights_digest

if TYPE_CHECKING:
    from malaria.tracking.live import StageRun

HISTORY_DIGITS = 6


def main(run: "StageRun") -> None:
    params = load(TrainParams)
    recipe = resolve(params, load(AugmentParams))
    setup = set_up(Path(), params, recipe, run.facts.key)
    share = setup.runtime.share
    is_first = share.process == 0
    run.resolved(setup.summary)
    print(f"train: {setup}{_of(share)}")
    for warning in setup.warnings():
        print(f"train: warning: {warning}")

    def on_epoch(row: dict[str, float]) -> None:
        run.metrics(_rounded(row), step=int(row["epoch"]))
        if is_first:
            print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)

    checkpoint = Checkpoint(run.facts.checkpoints, run.facts.key, run.run_id, writes=is_first)
    if is_first:
        checkpoint.prepare()
        if checkpoint.is_finished:
            print("train: the checkpoint has all epochs, which DVC has not committed; none is new")
    outcome = train(
        setup.model,
        setup.cells,
        recipe,
        keep=params.keep,
        seed=params.seed,
        workspace=Path(IMAGES).parent,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
        share=share,
    )
    backend.leave()
    if share.processes > 1:
        print(f"train: weights {weights_digest(setup.model)[:16]}{_of(share)}")
    if not is_first:
        return
    run.metrics({"seconds": outcome.seconds})

    for path in (MODEL, HISTORY):
        Path(path).parent.mkdir(exist_ok=True)
    save_model(setup.model, Path(MODEL))
    rows = pd.DataFrame(map(_rounded, outcome.history))
    write_file(Path(HISTORY), rows.to_csv(index=False, lineterminator="\n"))
    val_loss = round(outcome.history[outcome.kept - 1]["val_loss"], HISTORY_DIGITS)
    summary = setup.summary | {"kept_epoch": outcome.kept, "val_loss": val_loss}
    write_file(Path(TRAINED), json.dumps(summary, indent=2) + "\n")


def _of(share: Share) -> str:
    """Return which process this is, '' if there is only one."""
    if share.processes == 1:
        return ""
    return f", process {share.process + 1} of {share.processes}"


def _rounded(row: dict[str, float]) -> dict[str, float]:
    """Return a rounded row of the history; learning rates are too small for fixed decimals."""
    rate = float(f"{row['learning_rate']:.{HISTORY_DIGITS}g}")
    fixed = {name: round(value, HISTORY_DIGITS) for name, value in row.items()}
    return fixed | {"learning_rate": rate}
