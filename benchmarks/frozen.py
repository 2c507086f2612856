"""Seconds of a training whose body is frozen, its features computed once, against the article's."""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library


import keras
import numpy as np

from benchmarks import article
from benchmarks.report import publish, spread, table, verdict
from benchmarks.sides import in_turn
from malaria.models.base.build import build
from malaria.models.base.system import find_system
from malaria.training import backend
from malaria.training.checkpoint import Checkpoint
from malaria.training.train import Cells, train

MODEL = "vgg19_frozen"
RECIPE = find_system(MODEL).recipe
SEED = 1
CLAIM = 10
VAL_SHARE = 0.25  # of the train cells' number, as in the study
MODULE = "frozen"
OURS, ARTICLE = "ours", "article"


def main(
    size: Annotated[int, typer.Option(help="pixels a side")] = 125,
    images: Annotated[int, typer.Option(help="N to train on; a quarter more to validate")] = 64,
    rounds: Annotated[int, typer.Option(help="how often each side runs, in turn")] = 3,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
    side: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure all epochs of the recipe, features and compilation included."""
    if side:
        measure = ours if side == OURS else literal
        print(json.dumps(measure(noise(size, images))))
        return
    results = in_turn(MODULE, [OURS, ARTICLE], rounds, {"size": size, "images": images})
    known = results[OURS][0]
    seconds = {
        f"ours: features once, {known['precision']}; then the head": results[OURS],
        "article: the whole network each epoch, float32": results[ARTICLE],
    }
    medians = [median(item["seconds"] for item in items) for items in seconds.values()]
    rows = [
        [name, spread([item["seconds"] for item in items], 1), f"{medians[1] / own:.1f}"]
        for (name, items), own in zip(seconds.items(), medians, strict=True)
    ]
    body = "\n\n".join(
        [
            f"{RECIPE.epochs} epochs of {images:,} images of {size} x {size} px (noise) and "
            f"{round(images * VAL_SHARE):,} to validate, {MODEL}, {rounds} rounds, on the "
            f"{known['device']}, {keras.backend.backend()}.",
            table(["side", "seconds: median (min to max)", "x times as fast"], rows),
            f"As fast as the article: {verdict(medians[1] / medians[0], CLAIM, True)}.",
        ]
    )
    publish(MODULE, body, ["keras", keras.backend.backend(), "numpy"], write)


def noise(size: int, count: int) -> Cells:
    """Return random images, the val cells last."""
    every = count + round(count * VAL_SHARE)
    rows = np.arange(every)
    pixels = np.random.default_rng(SEED).integers(0, 256, (every, size, size, 3), dtype=np.uint8)
    return Cells(pixels, rows % 2, rows[:count], rows[count:])


def ours(cells: Cells) -> dict[str, Any]:
    """Return the seconds of the library's training."""
    prepared = backend.prepare("auto", "auto", SEED)
    model = build(MODEL, cells.array.shape[1], weights=None)
    with tempfile.TemporaryDirectory(prefix="malaria-") as folder:
        start = time.perf_counter()
        train(
            model,
            cells,
            RECIPE,
            keep="best",
            seed=SEED,
            workspace=Path(folder),
            on_epoch=lambda row: None,
            checkpoint=Checkpoint(Path(folder) / "checkpoints", "key"),
        )
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "precision": prepared.precision,
        "device": prepared.device,
    }


def literal(cells: Cells) -> dict[str, Any]:
    """Return the seconds of the article's training."""
    scaled = cells.array / np.float32(255)
    labels = cells.labels.astype("float32")
    model = article.vgg19(cells.array.shape[1], learns_from=None)
    plateau = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=2, min_lr=1e-6)
    start = time.perf_counter()
    model.fit(
        scaled[cells.train],
        labels[cells.train],
        validation_data=(scaled[cells.val], labels[cells.val]),
        batch_size=RECIPE.batch_size,
        epochs=RECIPE.epochs,
        callbacks=[plateau],
        verbose=0,
    )
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    typer.run(main)
