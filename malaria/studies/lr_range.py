"""The learning-rate range test: the loss as the learning rate grows from step to step.

L. N. Smith: Cyclical learning rates for training neural networks (WACV 2017), with fastai's
exponential growth, smoothing and stopping rule.
"""

import math
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from malaria.core.files import write_file
from malaria.core.params import load
from malaria.drawing import save_figure
from malaria.errors import MalariaError
from malaria.models.base.recipe import Recipe
from malaria.paths import CELLS, PARAMS
from malaria.studies.data import check_data
from malaria.training.fitting import compile_phase
from malaria.training.optimizers import Exponential
from malaria.training.params import AugmentParams, TrainParams
from malaria.training.recipe import resolve
from malaria.training.setup import set_up
from malaria.training.train import Cells, phases, prepare, rate_shares, trained_part

SMOOTHING = 0.98  # of the running mean, which is corrected for its start
DIVERGED = 4  # a smoothed loss that is so many times the lowest


def run(folder: Path, lowest: float, highest: float, steps: int) -> str:
    """Run the range test with the folder's params; return the result in a line for the terminal.

    Raises MalariaError if the pipeline's cells or images do not exist yet.
    """
    if lowest >= highest:
        raise MalariaError(f"--lowest is {lowest:g}; it must be below --highest, {highest:g}.")
    params = load(TrainParams, folder / PARAMS)
    recipe = resolve(params, load(AugmentParams, folder / PARAMS))
    check_data(folder)
    setup = set_up(folder, params.model_copy(update={"distribution": "single"}), recipe)
    rates = np.geomspace(lowest, highest, steps)
    workspace = (folder / CELLS).parent
    curve = range_test(setup.model, setup.cells, recipe, rates, params.seed, workspace)
    table = curve.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_file(folder / "lr_range.csv", table)
    picture = folder / "lr_range.png"
    draw_curve(curve, picture, f"{params.model}, {recipe.optimizer}, {len(curve)} batches")
    return f"{picture}: suggests a learning rate of {suggest(curve):.1e}"


def range_test(
    model: keras.Model, cells: Cells, recipe: Recipe, rates: np.ndarray, seed: int, workspace: Path
) -> pd.DataFrame:
    """Return learning_rate, loss and smoothed of each step, until the loss diverges.

    `rates` are those of the steps, growing exponentially. Trains all trainable layers of `model`
    in place, so throw it away afterwards. Raises MalariaError if the loss is not finite at the
    lowest rate.
    """
    rows: list[tuple[float, float, float]] = []
    mean, lowest, steps = 0.0, rates[0], len(rates)
    with trained_part(model, cells, recipe, workspace) as (part, inputs):
        learner, batches, _ = prepare(part, inputs, recipe, seed)
        plain = replace(recipe, schedule="constant")
        phase = phases(recipe)[-1]
        compile_phase(learner, plain, phase, steps, rate_shares(learner, part, phase))
        learner.optimizer.learning_rate = Exponential(float(lowest), float(rates[-1]), steps)
        for step, rate in enumerate(tqdm(rates, unit="batch", desc="lr-range", disable=None)):
            epoch, index = divmod(step, len(batches))
            if index == 0:
                batches.set_epoch(epoch)
            learner.reset_metrics()
            loss = float(learner.train_on_batch(*batches[index], return_dict=True)["loss"])
            if not math.isfinite(loss):
                break
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smoothed = mean / (1 - SMOOTHING ** (step + 1))
            rows.append((rate, loss, smoothed))
            if smoothed > DIVERGED * min(row[-1] for row in rows):
                break
    if not rows:
        raise MalariaError(
            f"the loss is not finite at learning rate {lowest:g}; start lower with --lowest."
        )
    return pd.DataFrame(rows, columns=["learning_rate", "loss", "smoothed"])


def suggest(curve: pd.DataFrame) -> float:
    """Return a tenth of the learning rate at which the smoothed loss is lowest (fastai's rule)."""
    return float(curve["learning_rate"].iloc[int(np.argmin(curve["smoothed"]))]) / 10


def draw_curve(curve: pd.DataFrame, path: Path, title: str) -> None:
    """Draw the loss over the learning rate, with the suggestion marked."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    ax = figure.subplots()
    ax.plot(curve["learning_rate"], curve["loss"], color="#999999", linewidth=0.8, label="batch")
    ax.plot(curve["learning_rate"], curve["smoothed"], color="#0072B2", label="smoothed")
    rate = suggest(curve)
    ax.axvline(rate, color="black", linewidth=0.8, linestyle=":", label=f"suggested {rate:.1e}")
    start = float(curve["smoothed"].iloc[0])
    ax.set(
        xscale="log",
        xlabel="learning rate",
        ylabel="training loss (cross-entropy)",
        title=title,
        ylim=(0, 2 * start),  # a diverging loss would flatten all else
    )
    ax.legend()
    save_figure(figure, path)
