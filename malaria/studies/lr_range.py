"""The learning-rate range test: the loss as the learning rate grows from step to step.

L. N. Smith: Cyclical learning rates for training neural networks (WACV 2017), with fastai's
exponential growth, stopping rule, and suggestion ("steep").
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.ndimage import median_filter
from scipy.signal import savgol_filter
from tqdm import tqdm

from malaria.core.files import write_file
from malaria.core.params import load
from malaria.drawing import save_figure
from malaria.errors import MalariaError
from malaria.models.base.recipe import Recipe
from malaria.paths import CELLS, PARAMS
from malaria.pipeline.stages import place
from malaria.studies.data import check_data
from malaria.training.fitting import compile_phase
from malaria.training.optimizers import Exponential
from malaria.training.params import AugmentParams, TrainParams
from malaria.training.recipe import resolve
from malaria.training.setup import set_up
from malaria.training.train import Cells, phases, prepare, rate_shares, trained_part

DIVERGED = 4  # the mean of recent losses, if it is so many times the lowest such
CLEAR = 4  # standard errors that a fall has to exceed
SD_OF_MEDIAN = 1.4826  # the standard deviation by the median of absolute deviations


def run(root: Path, folder: str, lowest: float, highest: float, steps: int) -> str:
    """Run the range test with the params of a folder; return the result in a line.

    `folder` is the pipeline's, relative to the repository. Raises MalariaError if its cells or
    images do not exist yet.
    """
    base = root / folder
    if lowest >= highest:
        raise MalariaError(f"--lowest is {lowest:g}; it must be below --highest, {highest:g}.")
    params = load(TrainParams, base / PARAMS)
    recipe = resolve(params, load(AugmentParams, base / PARAMS))
    check_data(base, folder)
    setup = set_up(base, params.model_copy(update={"distribution": "single"}), recipe)
    rates = np.geomspace(lowest, highest, steps)
    workspace = (base / CELLS).parent
    curve = range_test(setup.model, setup.cells, recipe, rates, params.seed, workspace)
    table = curve.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_file(base / "lr_range.csv", table)
    picture = base / "lr_range.png"
    draw_curve(curve, picture, f"{params.model}, {recipe.optimizer}, {len(curve)} batches")
    rate, shown = suggest(curve), place(folder, picture.name)
    if rate is None:
        return (
            f"{shown}: the loss did not clearly fall, so there is nothing to suggest; try more "
            "--steps or a higher --highest"
        )
    return f"{shown}: suggests a learning rate of {rate:.1e}, where the loss falls most steeply"


def range_test(
    model: keras.Model, cells: Cells, recipe: Recipe, rates: np.ndarray, seed: int, workspace: Path
) -> pd.DataFrame:
    """Return learning_rate, loss and smoothed of each step, until the loss diverges.

    `rates` are those of the steps, growing exponentially. Trains all trainable layers of `model`
    in place, so throw it away afterwards. Raises MalariaError if the loss is not finite at the
    lowest rate.
    """
    losses: list[float] = []
    lowest, steps = math.inf, len(rates)
    width = width_of(steps)
    with trained_part(model, cells, recipe, workspace) as (part, inputs):
        learner, batches, _ = prepare(part, inputs, recipe, seed)
        plain = replace(recipe, schedule="constant")
        phase = phases(recipe)[-1]
        compile_phase(learner, plain, phase, steps, rate_shares(learner, part, phase))
        learner.optimizer.learning_rate = Exponential(float(rates[0]), float(rates[-1]), steps)
        for step in tqdm(range(steps), unit="batch", desc="lr-range", disable=None):
            epoch, index = divmod(step, len(batches))
            if index == 0:
                batches.set_epoch(epoch)
            learner.reset_metrics()
            loss = float(learner.train_on_batch(*batches[index], return_dict=True)["loss"])
            if not math.isfinite(loss):
                break
            losses.append(loss)
            recent = float(np.mean(losses[-width:]))
            lowest = min(lowest, recent)
            if recent > DIVERGED * lowest:
                break
    if not losses:
        raise MalariaError(
            f"the loss is not finite at learning rate {rates[0]:g}; start lower with --lowest."
        )
    return pd.DataFrame(
        {"learning_rate": rates[: len(losses)], "loss": losses, "smoothed": smooth(losses)}
    )


def suggest(curve: pd.DataFrame) -> float | None:
    """Return the learning rate at which the smoothed loss falls most steeply, up to its lowest.

    None if the loss does not fall by more than chance, so that there is nothing to suggest.
    `curve` has the columns learning_rate (growing exponentially), loss and smoothed.
    """
    loss, smoothed = curve["loss"].to_numpy(), curve["smoothed"].to_numpy()
    width = width_of(len(loss))
    if len(loss) < 2 * width:
        return None
    lowest = int(np.argmin(smoothed))
    spread = np.median(np.abs(loss - smoothed)[: lowest + 1]) * SD_OF_MEDIAN
    if smoothed[0] - smoothed[lowest] <= CLEAR * spread * np.sqrt(2 / width):
        return None
    slope = savgol_filter(smoothed, width, polyorder=1, deriv=1)  # of a line through as many steps
    return float(curve["learning_rate"].iloc[int(np.argmin(slope[: lowest + 1]))])


def smooth(loss: Sequence[float]) -> np.ndarray:
    """Return the median (N,) of the losses around each step, as a few batches may jump."""
    return np.asarray(median_filter(np.array(loss), width_of(len(loss)), mode="mirror"))


def width_of(steps: int) -> int:
    """Return the number of steps that are smoothed together, a tenth of them."""
    return max(steps // 10, 3)


def draw_curve(curve: pd.DataFrame, path: Path, title: str) -> None:
    """Draw the loss over the learning rate, with the suggestion marked if there is one."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    ax = figure.subplots()
    ax.plot(curve["learning_rate"], curve["loss"], color="#999999", linewidth=0.8, label="batch")
    ax.plot(curve["learning_rate"], curve["smoothed"], color="#0072B2", label="smoothed")
    rate = suggest(curve)
    if rate is not None:
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
