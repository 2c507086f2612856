"""Images a second that each engine of the augmentation draws, at the article's ranges and size."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library


import keras
import numpy as np
from keras import ops

from benchmarks.report import publish, spread, table, verdict
from malaria.models.base.system import find_system
from malaria.training import backend
from malaria.training.augment import DeviceEngine, GeneratorEngine, transform
from malaria.training.draws import PLAN_WIDTH

ARTICLE = find_system("vgg19_finetuned").recipe.augment
CLAIMS = {"cpu": 4, "gpu": 100}
SEED = 1


def main(
    size: Annotated[int, typer.Option(help="pixels a side")] = 125,
    batch: Annotated[int, typer.Option(help="images a batch")] = 64,
    batches: Annotated[int, typer.Option(help="batches of one measurement")] = 30,
    rounds: Annotated[int, typer.Option(help="how often each side runs, in turn")] = 7,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
) -> None:
    """Measure the device engine against ImageDataGenerator, draws included on both sides."""
    device = backend.prepare("auto", "float32", SEED).device
    images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    rows = np.arange(batch)
    sides: dict[str, Callable[[int], np.ndarray]] = {
        "device: plans on the host, pixels on the device and back": device_side(images, rows),
        "generator: ImageDataGenerator, image by image": generator_side(images, rows),
    }
    for name, run in sides.items():
        if np.array_equal(run(0), images):
            raise SystemExit(f"{name} leaves the images as they are: nothing is measured")
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            for epoch in range(batches):
                run(number * batches + epoch)
            if number > 0:  # the first round compiles
                rates[name].append(batch * batches / (time.perf_counter() - start))
    ours, theirs = (median(values) for values in rates.values())
    header = ["side", "images/s: median (min to max)", "x times the generator"]
    lines = [
        [name, spread(values), f"{median(values) / theirs:.2f}"] for name, values in rates.items()
    ]
    body = "\n\n".join(
        [
            f"{batch} x {batches} images of {size} x {size} px, {rounds} rounds, on the {device}, "
            f"{keras.backend.backend()}.",
            table(header, lines),
            f"Of the generator's rate: {verdict(ours / theirs, CLAIMS[device], True)}.",
        ]
    )
    publish("augmentation", body, ["keras", keras.backend.backend(), "numpy", "scipy"], write)


def device_side(images: np.ndarray, rows: np.ndarray) -> Callable[[int], np.ndarray]:
    """Return a function that draws the batch anew, compiled as a training step is."""
    image = keras.Input(images.shape[1:], dtype="uint8")
    plans = keras.Input((PLAN_WIDTH,))
    # As `DeviceAugment` does in training; prediction would leave the images alone.
    drawn = ops.cast(ops.round(transform(image, plans, ARTICLE)), "uint8")
    model = keras.Model([image, plans], drawn)
    engine = DeviceEngine(ARTICLE, SEED, len(rows), images.shape[1])

    def run(epoch: int) -> np.ndarray:
        inputs = engine(images, rows, epoch)
        return model.predict_on_batch([inputs["image"], inputs["plan"]])

    return run


def generator_side(images: np.ndarray, rows: np.ndarray) -> Callable[[int], np.ndarray]:
    """Return a function that draws the batch anew."""
    engine = GeneratorEngine(ARTICLE, SEED)
    return lambda epoch: engine(images, rows, epoch)


if __name__ == "__main__":
    typer.run(main)
