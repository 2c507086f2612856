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

from malaria.errors import MalariaError
from malaria.fitting import compile_phase
from malaria.optimizers import Exponential
from malaria.recipes import Recipe
from malaria.training import Cells, phases, prepare, rate_shares, trained_part

SMOOTHING = 0.98  # of the running mean, which is corrected for its start
DIVERGED = 4  # times the lowest smoothed loss
DIGITS = 6


def range_test(
    model: keras.Model,
    cells: Cells,
    recipe: Recipe,
    *,
    lowest: float,
    highest: float,
    steps: int,
    seed: int,
    workspace: Path,
) -> pd.DataFrame:
    """Return learning_rate, loss and smoothed of each step, until the loss diverges.

    Trains `model` in place, all of it that may learn, so throw it away afterwards.
    Raises MalariaError where the loss is not finite at the lowest learning rate.
    """
    rows: list[dict[str, float]] = []
    mean = 0.0
    with trained_part(model, cells, recipe, workspace) as (part, inputs):
        learner, batches, _ = prepare(part, inputs, recipe, seed)
        plain = replace(recipe, schedule="constant")
        phase = phases(recipe)[-1]
        compile_phase(learner, plain, phase, steps, rate_shares(learner, part, phase))
        learner.optimizer.learning_rate = Exponential(lowest, highest, steps)
        for step in tqdm(range(steps), unit="batch", desc="lr-range", disable=None):
            epoch, index = divmod(step, len(batches))
            if index == 0:
                batches.set_epoch(epoch)
            rate = lowest * (highest / lowest) ** (step / max(1, steps - 1))
            learner.reset_metrics()
            loss = float(learner.train_on_batch(*batches[index], return_dict=True)["loss"])
            if not math.isfinite(loss):
                break
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smoothed = mean / (1 - SMOOTHING ** (step + 1))
            rows.append({"learning_rate": rate, "loss": loss, "smoothed": smoothed})
            if smoothed > DIVERGED * min(row["smoothed"] for row in rows):
                break
    if not rows:
        raise MalariaError(
            f"the loss is not finite at learning rate {lowest:g}; start lower with --lowest."
        )
    return pd.DataFrame(rows)


def suggest(curve: pd.DataFrame) -> float:
    """Return a tenth of the learning rate at which the smoothed loss is lowest (fastai's rule)."""
    return float(curve["learning_rate"].iloc[int(np.argmin(curve["smoothed"]))]) / 10


def write_curve(curve: pd.DataFrame, path: Path) -> None:
    """Write the curve as CSV, to six significant digits."""
    curve.to_csv(path, index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")


def draw_curve(curve: pd.DataFrame, path: Path, title: str) -> None:
    """Draw the loss over the learning rate, the suggestion marked."""
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
        ylim=(0, 2 * start),  # what comes of divergence would flatten all else
    )
    ax.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})
