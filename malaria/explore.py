"""Tables and pictures of the cells themselves, before any model.

Pictures of single cells and means of many are of the train split alone: who looks at test cells
may choose by them.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import rgb_to_hsv
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from malaria.figures import save_figure

CLASSES = {1: ("parasitized", "#D55E00"), 0: ("uninfected", "#0072B2")}
SPLITS = ("train", "val", "test")
BLUR = 2.0  # pixels, the standard deviation of the Gaussian
BATCH = 1024
BIN = 4  # pixels; a whole number, so that no bin holds more sizes than another
SUMMARY = {"min": 0, "quarter": 0.25, "median": 0.5, "three_quarters": 0.75, "max": 1}


def balance_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return patients and cells of each class by split; infected patients have parasitized cells.

    `cells` has the columns patient, label and split.
    """
    infected = cells.groupby("patient")["label"].transform("max") == 1
    rows = []
    for split in SPLITS:
        inside = cells["split"] == split
        patients = cells.loc[inside, "patient"].nunique()
        with_parasites = cells.loc[inside & infected, "patient"].nunique()
        rows.append(
            {
                "split": split,
                "patients": patients,
                "infected": with_parasites,
                "healthy": patients - with_parasites,
                "cells": int(inside.sum()),
                "parasitized": int(cells.loc[inside, "label"].sum()),
                "uninfected": int((1 - cells.loc[inside, "label"]).sum()),
            }
        )
    return pd.DataFrame(rows)


def size_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the quartiles of the crops' width and height in pixels, by class."""
    rows = []
    for label, (name, _) in CLASSES.items():
        for side in ("width", "height"):
            values = cells.loc[cells["label"] == label, side]
            summary = {key: values.quantile(share) for key, share in SUMMARY.items()}
            rows.append({"class": name, "side": side, "cells": len(values), **summary})
    return pd.DataFrame(rows)


def sample_rows(cells: pd.DataFrame, label: int, count: int) -> np.ndarray:
    """Return row numbers of `count` train cells of a class, of as many patients as there are."""
    return spread(cells[(cells["label"] == label) & (cells["split"] == "train")], count)


def spread(cells: pd.DataFrame, count: int) -> np.ndarray:
    """Return the index of `count` of these cells, of as many patients as there are.

    The order is that of a hash of the names, so it depends on no generator; each patient gives
    one cell before any gives a second.
    """
    order = cells["cell_id"].map(lambda name: hashlib.sha256(name.encode()).hexdigest())
    shuffled = cells.loc[order.sort_values().index]
    turn = shuffled.groupby("patient").cumcount()
    return turn.sort_values(kind="stable").index.to_numpy()[:count]


def mean_image(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the float64 mean (S, S, 3) of the chosen uint8 images."""
    total = np.zeros(images.shape[1:])
    for start in range(0, len(rows), BATCH):
        total += np.asarray(images[rows[start : start + BATCH]]).sum(axis=0, dtype="float64")
    return total / len(rows)


def draw_balance(cells: pd.DataFrame, path: Path, title: str) -> None:
    """Draw the cells of each class by split, and of each patient."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    by_split, by_patient = figure.subplots(1, 2, width_ratios=[1, 2.2])
    counts = cells.groupby(["split", "label"]).size().unstack(fill_value=0).loc[list(SPLITS)]
    patients = cells.groupby(["patient", "label"]).size().unstack(fill_value=0)
    patients = patients.sort_values([1, 0], ascending=False, ignore_index=True)
    for ax, table in ((by_split, counts), (by_patient, patients)):
        below = np.zeros(len(table))
        for label, (name, colour) in CLASSES.items():
            ax.bar(table.index, table[label], bottom=below, color=colour, label=name, width=0.9)
            below += table[label].to_numpy()
    by_split.set(ylabel="cells", title="By split")
    by_patient.set(xlabel="patients, most parasitized cells first", title="By patient")
    by_split.legend(loc="upper right")
    figure.suptitle(title)
    save_figure(figure, path)


def draw_sizes(cells: pd.DataFrame, path: Path, title: str) -> None:
    """Draw histograms of the crops' width and height by class."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, side in zip(axes, ("width", "height"), strict=True):
        edges = np.arange(cells[side].min(), cells[side].max() + BIN + 1, BIN) - 0.5
        for label, (name, colour) in CLASSES.items():
            values = cells.loc[cells["label"] == label, side]
            ax.hist(values, edges, density=True, histtype="step", color=colour, label=name)
        ax.set(xlabel=f"{side} of the crop, pixels")
    axes[0].set(ylabel="share of the class per pixel")
    axes[0].legend()
    figure.suptitle(title)
    save_figure(figure, path)


def draw_samples(
    images: np.ndarray, cells: pd.DataFrame, side: int, path: Path, title: str
) -> None:
    """Draw `side` x `side` train cells of each class."""
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, (label, (name, _)) in zip(axes, CLASSES.items(), strict=True):
        rows = sample_rows(cells, label, side * side)
        size = images.shape[1]
        grid = np.zeros((side * side, size, size, 3), dtype=np.uint8)
        grid[: len(rows)] = images[rows]
        joined = grid.reshape(side, side, size, size, 3).swapaxes(1, 2)
        _show(ax, joined.reshape(side * size, side * size, 3), name)
    figure.suptitle(f"{title}, train cells")
    save_figure(figure, path)


def draw_means(images: np.ndarray, cells: pd.DataFrame, path: Path, title: str) -> None:
    """Draw the mean train image of each class, and how much darker the parasitized one is."""
    is_train = cells["split"] == "train"
    means = {
        label: mean_image(images, np.flatnonzero(is_train & (cells["label"] == label)))
        for label in CLASSES
    }
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    axes = figure.subplots(1, 3)
    for ax, (label, (name, _)) in zip(axes, CLASSES.items(), strict=False):
        _show(ax, means[label].round().astype("uint8"), f"mean of {name}")
    difference = (means[0] - means[1]).mean(axis=-1)
    reach = max(float(np.abs(difference).max()), 1e-9)
    drawn = axes[2].imshow(difference, cmap="PuOr", vmin=-reach, vmax=reach)
    axes[2].set(xticks=[], yticks=[], title="uninfected less parasitized")
    figure.colorbar(drawn, ax=axes[2], label="grey values")
    figure.suptitle(f"{title}, train cells")
    save_figure(figure, path)


def draw_views(images: np.ndarray, cells: pd.DataFrame, path: Path, title: str) -> None:
    """Draw train cells as they are, their hue, and blurred."""
    count = 4
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    axes = figure.subplots(3, 2 * count)
    for half, (label, (name, _)) in enumerate(CLASSES.items()):
        for number, row in enumerate(sample_rows(cells, label, count)):
            column = axes[:, half * count + number]
            image = np.asarray(images[row])
            _show(column[0], image, name)
            column[1].imshow(rgb_to_hsv(image / 255)[..., 0], cmap="hsv", vmin=0, vmax=1)
            column[1].set(xticks=[], yticks=[])
            _show(column[2], gaussian_filter(image, sigma=(BLUR, BLUR, 0)), "")
    for ax, name in zip(axes[:, 0], ("as it is", "hue (HSV)", f"blur, {BLUR:g} px"), strict=True):
        ax.set_ylabel(name)
    figure.suptitle(f"{title}, train cells")
    save_figure(figure, path)


def _show(ax: Axes, pixels: np.ndarray, name: str) -> None:
    ax.imshow(pixels)
    ax.set(xticks=[], yticks=[])
    ax.set_title(name, fontsize=9)
