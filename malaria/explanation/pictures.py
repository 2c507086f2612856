"""Figures of cells with their heat maps, and of the occlusion check."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps

from malaria.core.table import LABELS
from malaria.drawing import CLASS_COLOURS, drawn

HEAT = colormaps["viridis"]  # distinct for colour-blind readers, and from Giemsa's purple
OPACITY = 0.65  # of the hottest pixel
GAP = 0.06  # of an image's side, between a cell and its map
BINS = np.linspace(-1, 1, 11)  # of correlations


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return the uint8 (S, S, 3) image under its map (S, S), which covers the hot places."""
    opacity = OPACITY * heat[..., None]
    colours = 255 * HEAT(heat)[..., :3]
    return ((1 - opacity) * image + opacity * colours).round().astype("uint8")


def draw_cells(
    images: np.ndarray, cells: pd.DataFrame, maps: np.ndarray | None, path: Path, title: str
) -> None:
    """Draw cells with captions; if there are maps, each with its heat map on the right."""
    columns, width, height = (6, 1.7, 2.3) if maps is None else (4, 2.6, 1.75)
    lines = max(math.ceil(len(cells) / columns), 1)
    with drawn(path, title, (columns * width, lines * height + 0.6)) as figure:
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for ax in axes:
            ax.axis("off")
        for number, cell in enumerate(cells.itertuples()):
            pixels = np.asarray(images[cell.row])
            caption = [f"actual {LABELS[cell.label]}", f"called {LABELS[cell.called]}"]
            caption.append(f"p {cell.probability:.3f}, {cell.patient}")
            if maps is not None:
                gap = np.full((len(pixels), math.ceil(GAP * len(pixels)), 3), 255, dtype="uint8")
                pixels = np.concatenate([pixels, gap, overlay(pixels, maps[number])], axis=1)
                empty = "" if maps[number].any() else ", empty map"
                caption = [", ".join(caption[:2]), caption[2] + empty]
            axes[number].imshow(pixels)
            axes[number].set_title("\n".join(caption), fontsize=8)
        if cells.empty:
            figure.text(0.5, 0.4, "There is no such cell.", ha="center")


def draw_occlusion(checks: pd.DataFrame, path: Path, title: str) -> None:
    """Draw each cell's fall at the hottest window against its mean fall, and the correlations.

    `checks` is the result of `occlusion.measure`.
    """
    calls = {called: checks[checks["called"] == called] for called in LABELS}
    line = {"color": "black", "linewidth": 0.8, "linestyle": ":"}
    with drawn(path, title, (10, 4.6)) as figure:
        falls, ranks = figure.subplots(1, 2, width_ratios=[1.3, 1])
        for called, cells in calls.items():
            style = {"color": CLASS_COLOURS[called], "label": f"called {LABELS[called]}"}
            falls.scatter(cells["fall_mean"], cells["fall_hottest"], s=18, **style)
        falls.axline((0, 0), slope=1, label="no more than the mean", **line)
        ranks.hist(
            [cells["correlation"].dropna() for cells in calls.values()],
            BINS,
            color=[CLASS_COLOURS[called] for called in calls],
        )
        ranks.axvline(0, **line)
        falls.set(
            xlabel="mean fall over all windows",
            ylabel="fall at the hottest window",
            title="What hiding a part costs the call, in logits",
        )
        ranks.set(
            xticks=np.linspace(-1, 1, 5),
            xlabel="rank correlation of heat and fall over a cell's windows",
            ylabel="cells",
            title="Whether hotter windows cost more",
        )
        ranks.yaxis.get_major_locator().set_params(integer=True)
        falls.legend()
