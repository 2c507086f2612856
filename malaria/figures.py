"""Pictures of a training and of an evaluation, the same bytes for the same numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart by colour-blind readers too.
COLOURS = {"train": "#999999", "val": "#E69F00", "test": "#0072B2"}
ROOM = 0.15  # below the lowest estimate of a picture of intervals
Curves = dict[str, dict[str, pd.DataFrame]]


def draw_learning_curves(history: pd.DataFrame, kept: int, path: Path, title: str) -> None:
    """Draw loss and accuracy by epoch of train and val, the kept epoch marked."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, name in zip(axes, ("loss", "accuracy"), strict=True):
        ax.plot(history["epoch"], history[name], "o-", color=COLOURS["train"], label="train")
        ax.plot(history["epoch"], history[f"val_{name}"], "o-", color=COLOURS["val"], label="val")
        ax.axvline(kept, color="black", linewidth=0.8, linestyle=":", label="kept")
        ax.set(xlabel="epoch", ylabel=name)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend()
    figure.suptitle(title)
    save_figure(figure, path)


def draw_evaluation(curves: Curves, threshold: float, path: Path, title: str) -> None:
    """Draw ROC, precision-recall, calibration and the test confusion matrix.

    `curves` has the tables of `compute_curves` for each of 'val' and 'test'.
    """
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    for split, tables in curves.items():
        style = {"color": COLOURS[split], "label": split}
        axes[0, 0].plot(*tables["roc"].to_numpy().T, **style)
        axes[0, 1].plot(*tables["pr"].to_numpy().T, **style)
        axes[1, 0].plot(*tables["calibration"].to_numpy().T, "o-", **style)
        style["label"] += ", scaled"
        axes[1, 0].plot(*tables["calibration_scaled"].to_numpy().T, "o--", mfc="none", **style)
    axes[0, 0].set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC")
    axes[0, 1].set(xlabel="sensitivity (recall)", ylabel="precision", title="Precision-recall")
    axes[1, 0].plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    axes[1, 0].set(xlabel="predicted probability", ylabel="share parasitized", title="Calibration")
    for ax in (axes[0, 0], axes[0, 1], axes[1, 0]):
        ax.legend()
    _draw_confusion(axes[1, 1], curves["test"]["confusion"], threshold)
    figure.suptitle(title)
    save_figure(figure, path)


def draw_intervals(intervals: pd.DataFrame, groups: pd.DataFrame, path: Path, title: str) -> None:
    """Draw the test metrics with their 95 % intervals, and sensitivity and specificity by group.

    The tables are those of `assessment.assess`; losses are left out. An interval
    that reaches far below all estimates runs out of the picture.
    """
    metrics = intervals[
        (intervals["split"] == "test") & ~intervals["metric"].isin(["log_loss", "brier", "ece"])
    ]
    named = groups.assign(
        name=groups["group"] + ": " + groups["value"] + " (" + groups["patients"].astype(str) + ")"
    )
    figure = Figure(figsize=(11, 6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    _draw_ranges(
        left,
        metrics["metric"],
        metrics["estimate"],
        metrics["low"],
        metrics["high"],
        colour="#0072B2",
        label="patients vary",
        shift=0.15,
    )
    _draw_ranges(
        left,
        metrics["metric"],
        metrics["estimate"],
        metrics["cell_low"],
        metrics["cell_high"],
        colour="#999999",
        label="cells vary (too narrow)",
        shift=-0.15,
    )
    left.set(title="Test cells", xlabel="estimate and 95 % interval")
    for metric, colour, shift in (
        ("sensitivity", "#D55E00", 0.15),
        ("specificity", "#0072B2", -0.15),
    ):
        rows = named[named["metric"] == metric]
        _draw_ranges(
            right,
            rows["name"],
            rows["estimate"],
            rows["low"],
            rows["high"],
            colour=colour,
            label=metric,
            shift=shift,
        )
    right.set(title="By group (patients)", xlabel="estimate; 95 % interval where there is one")
    for ax, lowest in ((left, metrics["estimate"].min()), (right, groups["estimate"].min())):
        ax.set_xlim(max(lowest - ROOM, 0), 1.005)
        ax.grid(axis="x", linewidth=0.4)
        ax.legend(loc="upper left", bbox_to_anchor=(0, -0.1), ncols=2, frameon=False)
    figure.suptitle(title)
    save_figure(figure, path)


def _draw_ranges(
    ax: Axes,
    names: pd.Series,
    estimate: pd.Series,
    low: pd.Series,
    high: pd.Series,
    *,
    colour: str,
    label: str,
    shift: float,
) -> None:
    """Draw points with bars, the first name on top."""
    places = np.arange(len(names))[::-1] + shift
    bounds = low.notna().to_numpy()
    ax.hlines(places[bounds], low[bounds], high[bounds], color=colour, linewidth=1.5)
    ax.plot(estimate, places, "o", color=colour, markersize=4, label=label)
    ax.set_yticks(np.arange(len(names))[::-1], names.tolist())


def _draw_confusion(ax: Axes, cells: pd.DataFrame, threshold: float) -> None:
    names = ["uninfected", "parasitized"]
    counts = pd.crosstab(cells["actual"], cells["called"]).reindex(
        index=names, columns=names, fill_value=0
    )
    shares = counts.div(counts.sum(axis=1), axis=0)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(2):
        for column in range(2):
            share = shares.iat[row, column]
            ax.text(
                column,
                row,
                f"{counts.iat[row, column]}\n{share:.1%}",
                ha="center",
                va="center",
                color="white" if share > 0.5 else "black",
            )
    ax.set(
        xticks=[0, 1],
        yticks=[0, 1],
        xticklabels=names,
        yticklabels=names,
        xlabel="called",
        ylabel="actual",
        title=f"Test cells at threshold {threshold:.3f}",
    )


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    # Without the Software entry, whose version would change the bytes.
    figure.savefig(path, dpi=100, metadata={"Software": None})
