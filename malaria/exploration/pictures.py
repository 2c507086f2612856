"""Pictures of the cells themselves; single cells are only from the train split."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import rgb_to_hsv
from scipy.ndimage import gaussian_filter

from malaria.core.table import LABELS, SPLITS
from malaria.drawing import CLASS_COLOURS, drawn
from malaria.exploration.cells import mean_image, sample_rows

BLUR = 2.0  # pixels, the standard deviation of the Gaussian
BIN = 4  # pixels; a whole number, so that no bin holds more sizes than another
VIEWED = 4  # cells of each class


def draw_balance(cells: pd.DataFrame, path: Path, title: str) -> None:
    """Draw the cells of each class by split and by patient."""
    counts = cells.groupby(["split", "label"]).size().unstack(fill_value=0).loc[list(SPLITS)]
    patients = cells.groupby(["patient", "label"]).size().unstack(fill_value=0)
    patients = patients.sort_values([1, 0], ascending=False, ignore_index=True)
    with drawn(path, title, (10, 3.8)) as figure:
        by_split, by_patient = figure.subplots(1, 2, width_ratios=[1, 2.2])
        for ax, table in ((by_split, counts), (by_patient, patients)):
            below = np.zeros(len(table))
            for label, name in LABELS.items():
                colour = CLASS_COLOURS[label]
                ax.bar(table.index, table[label], 0.9, below, color=colour, label=name)
                below += table[label].to_numpy()
        by_split.set(ylabel="cells", title="By split")
        by_patient.set(xlabel="patients, most parasitized cells first", title="By patient")
        by_split.legend(loc="upper right")


def draw_sizes(cells: pd.DataFrame, path: Path, title: str) -> None:
    """Draw histograms of the crops' width and height by class."""
    with drawn(path, title, (10, 3.4)) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for ax, side in zip(axes, ("width", "height"), strict=True):
            edges = np.arange(cells[side].min(), cells[side].max() + BIN + 1, BIN) - 0.5
            for label, name in LABELS.items():
                colour = CLASS_COLOURS[label]
                values = cells.loc[cells["label"] == label, side]
                ax.hist(values, edges, density=True, histtype="step", color=colour, label=name)
            ax.set(xlabel=f"{side} of the crop, pixels")
        axes[0].set(ylabel="share of the class per pixel")
        axes[0].legend()


def draw_samples(
    images: np.ndarray, cells: pd.DataFrame, side: int, path: Path, title: str
) -> None:
    """Draw `side` x `side` train cells of each class."""
    size = images.shape[1]
    with drawn(path, f"{title}, train cells", (8, 4.4)) as figure:
        for ax, (label, name) in zip(figure.subplots(1, 2), LABELS.items(), strict=True):
            rows = sample_rows(cells, label, side * side)
            grid = np.zeros((side * side, size, size, 3), dtype=np.uint8)
            grid[: len(rows)] = images[rows]
            joined = grid.reshape(side, side, size, size, 3).swapaxes(1, 2)
            _show(ax, joined.reshape(side * size, side * size, 3), name)


def draw_means(images: np.ndarray, cells: pd.DataFrame, path: Path, title: str) -> None:
    """Draw the mean train image of each class, and how much darker the parasitized one is."""
    is_train = cells["split"] == "train"
    means = {
        label: mean_image(images, np.flatnonzero(is_train & (cells["label"] == label)))
        for label in LABELS
    }
    difference = (means[0] - means[1]).mean(axis=-1)
    reach = max(float(np.abs(difference).max()), 1e-9)
    with drawn(path, f"{title}, train cells", (9, 3.3)) as figure:
        *of_class, last = figure.subplots(1, 3)
        for ax, (label, name) in zip(of_class, LABELS.items(), strict=True):
            _show(ax, means[label].round().astype("uint8"), f"mean of {name}")
        shades = last.imshow(difference, cmap="PuOr", vmin=-reach, vmax=reach)
        last.set(xticks=[], yticks=[], title="uninfected less parasitized")
        figure.colorbar(shades, ax=last, label="grey values")


def draw_views(images: np.ndarray, cells: pd.DataFrame, path: Path, title: str) -> None:
    """Draw train cells as they are, their hue, and blurred."""
    with drawn(path, f"{title}, train cells", (9.5, 4.6)) as figure:
        axes = figure.subplots(3, 2 * VIEWED)
        for half, (label, name) in zip(np.split(axes.T, 2), LABELS.items(), strict=True):
            rows = sample_rows(cells, label, VIEWED)
            for (plain, hue, blurred), row in zip(half, rows, strict=False):
                image = np.asarray(images[row])
                _show(plain, image, name)
                hue.imshow(rgb_to_hsv(image / 255)[..., 0], cmap="hsv", vmin=0, vmax=1)
                hue.set(xticks=[], yticks=[])
                _show(blurred, gaussian_filter(image, sigma=(BLUR, BLUR, 0)), "")
        views = ("as it is", "hue (HSV)", f"blur, {BLUR:g} px")
        for ax, name in zip(axes[:, 0], views, strict=True):
            ax.set_ylabel(name)


def _show(ax: Axes, pixels: np.ndarray, name: str) -> None:
    ax.imshow(pixels)
    ax.set(xticks=[], yticks=[])
    ax.set_title(name, fontsize=9)
