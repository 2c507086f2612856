"""Which test cells are worth a look, and pictures of why the model called them so."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from scipy.special import logit

from malaria.explore import CLASSES, spread
from malaria.figures import save_figure
from malaria.metrics import DIGITS, cross_entropies

KINDS = {
    "confident_right": "most confident right",
    "confident_wrong": "most confident wrong",
    "least_sure": "least sure",
    "top_losses": "largest losses",
}
LISTED = ["kind", "cell_id", "patient", "label", "probability", "logit", "loss"]
HEAT = colormaps["viridis"]  # told apart by colour-blind readers too, and from Giemsa's purple
OPACITY = 0.65  # of the hottest pixel
GAP = 0.06  # of an image's side, between a cell and its map
BINS = np.linspace(-1, 1, 11)  # of correlations


def called_cells(predictions: pd.DataFrame, cells: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the test predictions by name, with their row in `cells`, call, distance and loss.

    `called` is 1 from the threshold (a probability) on; `distance` is how far the logit is from
    the threshold's, `loss` the cross-entropy in nats.
    """
    tested = predictions[predictions["split"] == "test"]
    # A threshold that calls all cells or none has no finite logit; files hold no finer ones.
    border = logit(np.clip(threshold, 10**-DIGITS, 1 - 10**-DIGITS))
    return tested.assign(
        row=pd.Index(cells["cell_id"]).get_indexer(tested["cell_id"]),
        called=(tested["probability"] >= threshold).astype(int),
        distance=(tested["logit"] - border).abs(),
        loss=cross_entropies(tested["label"].to_numpy(), tested["logit"].to_numpy()),
    ).sort_values("cell_id", ignore_index=True)


def choose(cells: pd.DataFrame, kind: str, count: int) -> pd.DataFrame:
    """Return `count` cells of a kind, or as many as there are; half of the right ones a class.

    `cells` are those of `called_cells`; equal ones come by name.
    """
    right = cells["called"] == cells["label"]
    if kind == "confident_right":
        halves = [
            _largest(cells[right & (cells["label"] == label)], "distance", part)
            for label, part in _halves(count)
        ]
        return pd.concat(halves)
    if kind == "confident_wrong":
        return _largest(cells[~right], "distance", count)
    if kind == "least_sure":
        return cells.sort_values(["distance", "cell_id"]).head(count)
    return _largest(cells, "loss", count)


def sample_calls(cells: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return `count` cells, half of them called parasitized, of as many patients as there are."""
    chosen = [spread(cells[cells["called"] == call], part) for call, part in _halves(count)]
    return cells.loc[np.concatenate(chosen)]


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return the uint8 (S, S, 3) image under its map (S, S), which covers it where it is hot."""
    opacity = OPACITY * heat[..., None]
    colours = 255 * HEAT(heat)[..., :3]
    return ((1 - opacity) * image + opacity * colours).round().astype("uint8")


def draw_cells(
    images: np.ndarray, cells: pd.DataFrame, maps: np.ndarray | None, path: Path, title: str
) -> None:
    """Draw cells with what they are, each beside its heat map where there are maps."""
    columns, width, height = (6, 1.7, 2.3) if maps is None else (4, 2.6, 1.75)
    lines = max(math.ceil(len(cells) / columns), 1)
    figure = Figure(figsize=(columns * width, lines * height + 0.6), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    for number, cell in enumerate(cells.itertuples()):
        pixels = np.asarray(images[cell.row])
        caption = [
            f"actual {CLASSES[cell.label][0]}",
            f"called {CLASSES[cell.called][0]}",
            f"p {cell.probability:.3f}, {cell.patient}",
        ]
        if maps is not None:
            gap = np.full((len(pixels), math.ceil(GAP * len(pixels)), 3), 255, dtype="uint8")
            pixels = np.concatenate([pixels, gap, overlay(pixels, maps[number])], axis=1)
            empty = "" if maps[number].any() else ", empty map"
            caption = [", ".join(caption[:2]), caption[2] + empty]
        axes[number].imshow(pixels)
        axes[number].set_title("\n".join(caption), fontsize=8)
    if cells.empty:
        figure.text(0.5, 0.4, "There is no such cell.", ha="center")
    figure.suptitle(title)
    save_figure(figure, path)


def draw_occlusion(checks: pd.DataFrame, path: Path, title: str) -> None:
    """Draw each cell's fall at the hottest window against its mean fall, and the correlations.

    `checks` is what `occlusion.measure` gives.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    falls, ranks = figure.subplots(1, 2, width_ratios=[1.3, 1])
    calls = [checks[checks["called"] == called] for called in CLASSES]
    names, colours = zip(*CLASSES.values(), strict=True)
    for cells, name, colour in zip(calls, names, colours, strict=True):
        falls.scatter(
            cells["fall_mean"], cells["fall_hottest"], s=18, color=colour, label=f"called {name}"
        )
    line = {"color": "black", "linewidth": 0.8, "linestyle": ":"}
    falls.axline((0, 0), slope=1, label="no more than the mean", **line)
    ranks.hist([cells["correlation"].dropna() for cells in calls], BINS, color=colours)
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
    figure.suptitle(title)
    save_figure(figure, path)


def summarise(checks: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return how well the maps of each call point, by the call's name.

    `pointing` counts the cells where hiding the hottest window costs more than hiding the average
    one. All but `cells` leave out cells without a hottest window; falls are means, `correlation`
    is the median.
    """
    summary = {}
    for called, (name, _) in CLASSES.items():
        cells = checks[checks["called"] == called]
        mapped = cells[cells["fall_hottest"].notna()]
        summary[name] = {
            "cells": len(cells),
            "mapped": len(mapped),
            "pointing": int((mapped["fall_hottest"] > mapped["fall_mean"]).sum()),
            "fall_hottest": float(mapped["fall_hottest"].mean()),
            "fall_mean": float(mapped["fall_mean"].mean()),
            "correlation": float(mapped["correlation"].median()),
        }
    return summary


def describe(called: str, summary: dict[str, float]) -> str:
    """Return what the summary of one call says."""
    if not summary["mapped"]:
        return f"called {called}: none of {summary['cells']} cells has a map"
    return (
        f"called {called}: hiding the hottest window costs more than hiding the average one in "
        f"{summary['pointing']} of {summary['mapped']} cells that have a map (of "
        f"{summary['cells']}); the logit falls by {summary['fall_hottest']:.2f} and "
        f"{summary['fall_mean']:.2f} on average; median rank correlation of heat and fall "
        f"{summary['correlation']:.2f}"
    )


def _largest(cells: pd.DataFrame, column: str, count: int) -> pd.DataFrame:
    return cells.sort_values([column, "cell_id"], ascending=[False, True]).head(count)


def _halves(count: int) -> list[tuple[int, int]]:
    """Return how many are parasitized and how many uninfected."""
    return [(1, count - count // 2), (0, count // 2)]
