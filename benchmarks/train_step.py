"""Images a second of the main model's training, against the article's literal recipe.

And against itself with one batch that is at hand: what the input costs.
"""

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
from malaria.training.augment import image_data_generator
from malaria.training.batches import Batches
from malaria.training.fitting import compile_phase
from malaria.training.train import Cells, phases, prepare, rate_shares, trained_part

MODEL = "vgg19_finetuned"
FIRST_LEARNING = "block4_conv1"
RECIPE = find_system(MODEL).recipe
SEED = 1
CLAIMS = {"cpu": 1.6, "gpu": 10}
INPUT_CLAIM = 0.95
MODULE = "train_step"
OURS, ARTICLE = "ours", "article"


class EpochTimer(keras.callbacks.Callback):
    """Seconds of each epoch, without what Keras does before and after."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop the clock; the metrics in `logs` have waited for the device."""
        self.seconds.append(time.perf_counter() - self._start)


def main(
    size: Annotated[int, typer.Option(help="pixels a side")] = 125,
    images: Annotated[int, typer.Option(help="N, in the file that is read")] = 2048,
    steps: Annotated[int, typer.Option(help="of one measurement")] = 4,
    rounds: Annotated[int, typer.Option(help="how often each side runs, in turn")] = 3,
    peak_tflops: Annotated[
        float | None, typer.Option(help="of the chip in bfloat16; adds the share of it")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="put the result into README.md")] = False,
    side: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure a training step with real input, ours and the article's."""
    if side:
        measure = ours if side == OURS else literal
        print(json.dumps(measure(size, images, steps)))
        return
    options = {"size": size, "images": images, "steps": steps}
    results = in_turn(MODULE, [OURS, ARTICLE], rounds, options)
    report(results, options, peak_tflops, write)


def report(
    results: dict[str, list[dict[str, Any]]],
    options: dict[str, int],
    peak_tflops: float | None,
    write: bool,
) -> None:
    """Print the table of both sides, and of the input."""
    known = results[OURS][0]
    gflop = known["gflop"]
    rates = {
        f"ours: uint8 batches, augmented on the device, {known['precision']}": [
            result["rate"] for result in results[OURS]
        ],
        "ours with one batch at hand, the same at each step": [
            result["cached_rate"] for result in results[OURS]
        ],
        "article: `ImageDataGenerator.flow` over scaled floats, float32": [
            result["rate"] for result in results[ARTICLE]
        ],
    }
    ours, cached, theirs = (median(values) for values in rates.values())
    header = ["side", "images/s: median (min to max)", "x times the article", "TFLOP/s"]
    rows = [
        [
            name,
            spread(values, 1),
            f"{median(values) / theirs:.2f}",
            f"{median(values) * gflop / 1000:.3g}",
        ]
        for name, values in rates.items()
    ]
    if peak_tflops:
        header.append(f"share of {peak_tflops:g} TFLOP/s")
        for row, values in zip(rows, rates.values(), strict=True):
            row.append(f"{median(values) * gflop / 1000 / peak_tflops:.1%}")
    device = known["device"]
    body = "\n\n".join(
        [
            f"{options['steps']} steps of {RECIPE.batch_size} of {options['images']:,} images of "
            f"{options['size']} x {options['size']} px (noise), {MODEL}, {len(results[OURS])} "
            f"rounds, on the {device}, {keras.backend.backend()}; {gflop:.1f} GFLOP an image.",
            table(header, rows),
            f"Of the article's rate: {verdict(ours / theirs, CLAIMS[device], True)}. "
            f"Of the rate with one batch at hand: {verdict(ours / cached, INPUT_CLAIM, True)}.",
        ]
    )
    publish(MODULE, body, ["keras", keras.backend.backend(), "numpy", "scipy"], write)


def ours(size: int, count: int, steps: int) -> dict[str, Any]:
    """Return the rates of a training as the train stage sets it up."""
    prepared = backend.prepare("auto", "auto", SEED)
    model = build(MODEL, size, weights=None)
    rows = np.random.default_rng(SEED).permutation(count)[: steps * RECIPE.batch_size]
    with tempfile.TemporaryDirectory(prefix="malaria-") as folder:
        images = np.lib.format.open_memmap(
            Path(folder) / "images.npy", mode="w+", dtype=np.uint8, shape=(count, size, size, 3)
        )
        for row in range(count):
            images[row] = noise(row, size)
        cells = Cells(images, np.arange(count) % 2, rows, rows[:1])
        with trained_part(model, cells, RECIPE, Path(folder)) as (part, inputs):
            learner, batches, _ = prepare(part, inputs, RECIPE, SEED)
        (phase,) = phases(RECIPE)
        shares = rate_shares(learner, part, phase)
        compile_phase(learner, RECIPE, phase, len(batches), shares)
        cached = OneBatch(batches)
        learner.fit(cached, epochs=1, shuffle=False, verbose=0)  # compiles
        seconds = [epoch_seconds(learner, input_) for input_ in (batches, cached, batches, cached)]
    pixels = len(rows)
    return {
        "rate": 2 * pixels / (seconds[0] + seconds[2]),
        "cached_rate": 2 * pixels / (seconds[1] + seconds[3]),
        "gflop": training_flop(model) / 1e9,
        "precision": prepared.precision,
        "device": prepared.device,
    }


class OneBatch(keras.utils.PyDataset):
    """The first batch, drawn once, in place of each."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self._count = len(batches)
        self._batch = batches[0]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self._batch


def literal(size: int, count: int, steps: int) -> dict[str, Any]:
    """Return the rate of the article's training: all images as floats, drawn one by one."""
    images = np.empty((count, size, size, 3), dtype=np.float32)
    for row in range(count):
        images[row] = noise(row, size) / np.float32(255)
    labels = np.arange(count, dtype="float32") % 2
    model = article.vgg19(size, FIRST_LEARNING)
    # The article's `rescale` is done above, which is cheaper.
    flow = image_data_generator(RECIPE.augment).flow(images, labels, RECIPE.batch_size, seed=SEED)
    model.fit(flow, steps_per_epoch=1, epochs=1, verbose=0)  # compiles
    seconds = epoch_seconds(model, flow, steps_per_epoch=steps)
    return {"rate": steps * RECIPE.batch_size / seconds}


def epoch_seconds(model: keras.Model, inputs: Any, **options: Any) -> float:
    """Return the seconds of an epoch."""
    timer = EpochTimer()
    model.fit(inputs, epochs=1, shuffle=False, verbose=0, callbacks=[timer], **options)
    return timer.seconds[0]


def noise(row: int, size: int) -> np.ndarray:
    """Return the uint8 (size, size, 3) image of a row."""
    return np.random.default_rng(row).integers(0, 256, (size, size, 3), dtype=np.uint8)


def training_flop(model: keras.Model) -> float:
    """Return the additions and multiplications of a training step for one image.

    Of convolutions and dense layers: forward, once more for the gradient of a layer's weights,
    and once more for that of its input where a layer before it learns.
    """
    total, learns = 0.0, False
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            continue
        places = np.prod(layer.output.shape[1:-1]) if len(layer.output.shape) > 2 else 1
        forward = 2 * np.prod(layer.kernel.shape) * places
        total += forward * (1 + layer.trainable + learns)
        learns = learns or layer.trainable
    return float(total)


if __name__ == "__main__":
    typer.run(main)
