"""The gated metrics of a branch, over the commits that changed them."""

import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from malaria.drawing import METRIC_COLOURS, save_figure
from malaria.errors import MalariaError
from malaria.evaluation.intervals import metric_intervals
from malaria.evaluation.names import name_of
from malaria.gate.predictions import SPLIT, digest_of_test_set
from malaria.paths import METRICS, PREDICTIONS
from malaria.pipeline.git import Commit, commits_of, find_blob, find_file, run_git
from malaria.pipeline.stages import place
from malaria.prediction.table import read_predictions

MARKERS = {"sensitivity": "o", "specificity": "s", "roc_auc": "^"}
COLUMNS = ["commit", "date", "subject", "test_set", "metric", "estimate", "low", "high", "reason"]
SHOWN = 8  # characters of a hash
LONGEST_SUBJECT = 40  # characters on the terminal
APART = 0.12  # of the markers at one commit


@dataclass(frozen=True)
class History:
    """A row per commit and metric, the oldest first, and why other commits are skipped."""

    table: pd.DataFrame
    notes: list[str]


def read_history(root: Path, ref: str, folder: str, replicates: int, seed: int) -> History:
    """Return the test metrics of each commit on the first-parent history of `ref`.

    Only commits that changed the folder's metrics.json count. Numbers and their intervals by
    patient come from that commit's predictions.csv at the threshold of its metrics.json. Rows
    with the same `test_set` can be compared. Raises MalariaError if no commit is left.
    """

    @cache
    def measured(blob: str, threshold: float) -> list[dict[str, object]]:
        return _rows(run_git(root, "cat-file", "blob", blob), threshold, replicates, seed)

    rows, notes = [], []
    for commit in reversed(commits_of(root, ref, place(folder, METRICS))):
        shown = {"commit": commit.id[:SHOWN], "date": commit.date[:10], "subject": commit.subject}
        try:
            rows += [shown | row for row in measured(*_results_at(root, commit, folder))]
        except ValueError as error:
            notes.append(f"{commit.id[:SHOWN]} ({commit.subject}) is skipped: {error}")
    if not rows:
        raise MalariaError(
            f"no commit of {ref!r} has predictions and metrics of {folder}"
            f"{f' ({notes[-1]})' if notes else ''}; name another folder or --ref."
        )
    return History(pd.DataFrame(rows, columns=COLUMNS), notes)


def by_commit(history: pd.DataFrame) -> pd.DataFrame:
    """Return a row per commit for the terminal: each metric with its interval, the subject last."""
    values = history.apply(
        lambda row: (
            f"{row.estimate:.3f}"
            + ("" if pd.isna(row.low) else f" ({row.low:.3f} to {row.high:.3f})")
        ),
        axis=1,
    )
    index = [history[name] for name in ("commit", "date", "test_set", "subject", "metric")]
    wide = values.set_axis(pd.MultiIndex.from_arrays(index)).unstack(sort=False).reset_index()
    subject = wide.pop("subject").str.slice(0, LONGEST_SUBJECT)
    return wide.assign(subject=subject).rename_axis(columns=None)


def draw_history(history: pd.DataFrame, path: Path, title: str) -> None:
    """Draw each metric over the commits with its interval; dotted lines: the test cells change."""
    commits = history.drop_duplicates("commit", ignore_index=True)
    places = pd.Series(commits.index, index=commits["commit"])
    figure = Figure(figsize=(max(6, 2 + 0.8 * len(commits)), 4.5), layout="constrained")
    ax = figure.subplots()
    for shift, (metric, marker) in zip((-APART, 0, APART), MARKERS.items(), strict=True):
        colour = METRIC_COLOURS[metric]
        rows = history[history["metric"] == metric]
        at = places[rows["commit"]].to_numpy() + shift
        ax.vlines(at, rows["low"].astype(float), rows["high"].astype(float), color=colour)
        ax.plot(at, rows["estimate"], marker, color=colour, label=name_of(metric))
    for number in commits.index[1:][commits["test_set"].ne(commits["test_set"].shift())[1:]]:
        ax.axvline(number - 0.5, color="black", linewidth=0.8, linestyle=":")
    ax.set_xticks(
        commits.index, commits["commit"] + "\n" + commits["date"], rotation=45, ha="right"
    )
    ax.set(ylabel="test cells: estimate and 95 % interval", title=title)
    ax.grid(axis="y", linewidth=0.4)
    ax.legend(ncols=len(MARKERS), frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.3))
    save_figure(figure, path)


def _results_at(root: Path, commit: Commit, folder: str) -> tuple[str, float]:
    """Return the predictions' blob and the threshold; raises ValueError if one is missing."""
    blob = find_blob(root, commit.id, place(folder, PREDICTIONS))
    content = find_file(root, commit.id, place(folder, METRICS))
    if content is None or blob is None:
        raise ValueError(f"it has no {PREDICTIONS if content else METRICS}")
    try:
        return blob, float(json.loads(content, parse_int=float)[SPLIT]["threshold"])
    except (KeyError, TypeError, RecursionError):
        raise ValueError(f"its {METRICS} has no {SPLIT}.threshold") from None


def _rows(content: bytes, threshold: float, replicates: int, seed: int) -> list[dict[str, object]]:
    """Return each metric's estimate and interval; raises ValueError for unusable predictions."""
    predictions = read_predictions(io.BytesIO(content))
    tested = predictions[predictions["split"] == SPLIT]
    if tested.empty:
        raise ValueError(f"its {PREDICTIONS} has no {SPLIT} cell")
    found = metric_intervals(tested, threshold, replicates, seed)
    test_set = digest_of_test_set(predictions)[:SHOWN]
    return [
        {"test_set": test_set, "metric": metric, **interval.row()}
        for metric, interval in found.items()
        if metric in MARKERS
    ]
