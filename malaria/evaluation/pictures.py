"""Figures of a training and of an evaluation; equal numbers give equal bytes."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from malaria.core.table import LABELS
from malaria.drawing import METRIC_COLOURS, SPLIT_COLOURS, drawn
from malaria.evaluation.names import name_of

ROOM = 0.15  # on the axis, below the lowest estimate
APART = 0.15  # rows, of the two series from the middle
Curves = dict[str, dict[str, pd.DataFrame]]


def draw_learning_curves(history: pd.DataFrame, kept: int, path: Path, title: str) -> None:
    """Draw loss and accuracy of train and val by epoch, with the kept epoch marked."""
    with drawn(path, title, (9, 3.6)) as figure:
        for ax, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            for split, column in (("train", name), ("val", f"val_{name}")):
                style = {"color": SPLIT_COLOURS[split], "label": split}
                ax.plot(history["epoch"], history[column], "o-", **style)
            ax.axvline(kept, color="black", linewidth=0.8, linestyle=":", label="kept")
            ax.set(xlabel="epoch", ylabel=name)
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.legend()


def draw_evaluation(curves: Curves, threshold: float, path: Path, title: str) -> None:
    """Draw ROC, precision-recall, calibration and the test confusion matrix.

    `curves` has the tables of `compute_curves` for each of 'val' and 'test'.
    """
    with drawn(path, title, (9, 8)) as figure:
        (roc, pr), (calibration, confusion) = figure.subplots(2, 2)
        for split, tables in curves.items():
            style = {"color": SPLIT_COLOURS[split], "label": split}
            roc.plot(*tables["roc"].to_numpy().T, **style)
            pr.plot(*tables["pr"].to_numpy().T, **style)
            calibration.plot(*tables["calibration"].to_numpy().T, "o-", **style)
            style["label"] += ", scaled"
            calibration.plot(*tables["calibration_scaled"].to_numpy().T, "o--", mfc="none", **style)
        roc.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC")
        pr.set(xlabel="sensitivity (recall)", ylabel="precision", title="Precision-recall")
        calibration.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
        calibration.set(
            xlabel="predicted probability", ylabel="share parasitized", title="Calibration"
        )
        for ax in (roc, pr, calibration):
            ax.legend()
        _draw_confusion(confusion, curves["test"]["confusion"], threshold)


def draw_intervals(intervals: pd.DataFrame, groups: pd.DataFrame, path: Path, title: str) -> None:
    """Draw the test metrics with their 95 % intervals, and sensitivity and specificity by group.

    The tables are those of `tables.assess`; losses are skipped. An interval that reaches far below
    all estimates is cut off, with an arrow at the axis.
    """
    metrics = intervals[
        (intervals["split"] == "test") & ~intervals["metric"].isin(["log_loss", "brier", "ece"])
    ].assign(name=lambda rows: rows["metric"].map(name_of))
    by_cell = metrics.assign(low=metrics["cell_low"], high=metrics["cell_high"])
    named = groups.assign(
        name=groups["group"] + ": " + groups["value"] + " (" + groups["patients"].astype(str) + ")"
    )
    with drawn(path, title, (11, 6)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
        _scale(left, metrics, "estimate and 95 % interval")
        _draw_ranges(left, metrics, SPLIT_COLOURS["test"], "patients vary", APART)
        _draw_ranges(left, by_cell, SPLIT_COLOURS["train"], "cells vary (too narrow)", -APART)
        left.set_title("Test cells")
        _scale(right, groups, "estimate, 95 % interval if any")
        for metric, shift in (("sensitivity", APART), ("specificity", -APART)):
            rows = named[named["metric"] == metric]
            _draw_ranges(right, rows, METRIC_COLOURS[metric], metric, shift)
        right.set_title("By group (patients)")
        for ax in (left, right):
            ax.grid(axis="x", linewidth=0.4)
            ax.legend(loc="upper left", bbox_to_anchor=(0, -0.1), ncols=2, frameon=False)


def _scale(ax: Axes, rows: pd.DataFrame, label: str) -> None:
    """Let the axis begin below the lowest estimate; the label says what an arrow there means."""
    lowest = rows["estimate"].min()
    begin = max(lowest - ROOM, min(lowest, 0))
    is_cut = (rows["low"].astype("float64") < begin).any()
    ax.set_xlim(begin, 1.005)
    ax.set_xlabel(f"{label}; ◀ reaches further" if is_cut else label)


def _draw_ranges(ax: Axes, rows: pd.DataFrame, colour: str, label: str, shift: float) -> None:
    """Draw the rows' estimates as points and their bounds as bars, the first name on top.

    A bar that begins before the axis gets an arrow there.
    """
    middle, low = np.arange(len(rows))[::-1], rows["low"].to_numpy("float64")
    ticks, bars, begin = middle + shift, ~np.isnan(low), ax.get_xlim()[0]
    ax.hlines(ticks[bars], low[bars], rows["high"][bars], color=colour, linewidth=1.5)
    cut = ticks[low < begin]
    for arrow in ax.plot([begin] * len(cut), cut, "<", color=colour, markersize=7, clip_on=False):
        arrow.set_in_layout(False)  # without a point it would cover everything
    ax.plot(rows["estimate"], ticks, "o", color=colour, markersize=4, label=label)
    ax.set_yticks(middle, rows["name"].tolist())


def _draw_confusion(ax: Axes, cells: pd.DataFrame, threshold: float) -> None:
    names = [LABELS[0], LABELS[1]]
    counts = pd.crosstab(cells["actual"], cells["called"]).reindex(
        index=names, columns=names, fill_value=0
    )
    shares = counts.div(counts.sum(axis=1), axis=0)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{counts.iat[row, column]}\n{share:.1%}"
        colour = "white" if share > 0.5 else "black"
        ax.text(column, row, text, ha="center", va="center", color=colour)
    ax.set(xticks=[0, 1], xticklabels=names, xlabel="called")
    ax.set(yticks=[0, 1], yticklabels=names, ylabel="actual")
    ax.set_title(f"Test cells at threshold {threshold:.3f}")
