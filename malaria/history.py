"""The metrics that a branch is judged by, over the commits that changed them."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from malaria.errors import MalariaError
from malaria.evaluated import SPLIT, digest_of_test_set
from malaria.figures import save_figure
from malaria.intervals import Interval, metric_intervals
from malaria.metrics import PREDICTION_COLUMNS, read_predictions
from malaria.pipeline import METRICS, PREDICTIONS
from malaria.revisions import (
    Commit,
    commits_of,
    find_blob,
    find_file,
    run_git,
)

# Colours of Okabe and Ito's palette, and markers.
STYLES = {
    "sensitivity": ("#D55E00", "o"),
    "specificity": ("#0072B2", "s"),
    "roc_auc": ("#009E73", "^"),
}
COLUMNS = ["commit", "date", "subject", "test_set", "metric", "estimate", "low", "high", "reason"]
SHOWN = 8  # characters of a hash
APART = 0.12  # of the markers at one commit


@dataclass(frozen=True)
class History:
    """A row for each commit and metric, the oldest first; and which commits are left out, why."""

    table: pd.DataFrame
    notes: list[str]


def read_history(root: Path, ref: str, folder: str, replicates: int, seed: int) -> History:
    """Return the test metrics of each commit on the first-parent history of `ref`.

    Only commits that changed the folder's metrics.json count. Numbers and their intervals by
    patient come from that commit's predictions.csv at the threshold of its metrics.json.
    `test_set` tells which rows can be compared. Raises MalariaError where no commit is left.
    """
    known: dict[tuple[str, float], list[dict[str, object]]] = {}
    rows, notes = [], []
    for commit in reversed(commits_of(root, ref, f"{folder}/{METRICS}")):
        try:
            blob, threshold = _results_at(root, commit, folder)
            if (blob, threshold) not in known:
                content = run_git(root, "cat-file", "blob", blob)
                known[blob, threshold] = list(_rows(content, threshold, replicates, seed))
        except ValueError as error:
            notes.append(f"{commit.id[:SHOWN]} ({commit.subject}) is left out: {error}")
            continue
        described = {
            "commit": commit.id[:SHOWN],
            "date": commit.date[:10],
            "subject": commit.subject,
        }
        rows += [described | row for row in known[blob, threshold]]
    if not rows:
        raise MalariaError(
            f"no commit of {ref!r} has predictions and metrics of {folder}"
            f"{f' ({notes[-1]})' if notes else ''}; name another folder or --ref."
        )
    return History(pd.DataFrame(rows, columns=COLUMNS), notes)


def draw_history(history: pd.DataFrame, path: Path, title: str) -> None:
    """Draw each metric over the commits with its 95 % interval; a dotted line: other test cells."""
    commits = history.drop_duplicates("commit", ignore_index=True)
    places = pd.Series(commits.index, index=commits["commit"])
    figure = Figure(figsize=(max(6, 2 + 0.8 * len(commits)), 4.5), layout="constrained")
    ax = figure.subplots()
    for shift, (metric, (colour, marker)) in zip((-APART, 0, APART), STYLES.items(), strict=True):
        rows = history[history["metric"] == metric]
        at = places[rows["commit"]].to_numpy() + shift
        ax.vlines(at, rows["low"].astype(float), rows["high"].astype(float), color=colour)
        ax.plot(at, rows["estimate"], marker, color=colour, label=metric)
    for place in commits.index[1:][commits["test_set"].ne(commits["test_set"].shift())[1:]]:
        ax.axvline(place - 0.5, color="black", linewidth=0.8, linestyle=":")
    ax.set_xticks(
        commits.index, commits["commit"] + "\n" + commits["date"], rotation=45, ha="right"
    )
    ax.set(ylabel="test cells: estimate and 95 % interval", title=title)
    ax.grid(axis="y", linewidth=0.4)
    ax.legend(ncols=len(STYLES), frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.3))
    save_figure(figure, path)


def _results_at(root: Path, commit: Commit, folder: str) -> tuple[str, float]:
    """Return the blob of the predictions and the threshold; ValueError says what is not there."""
    blob = find_blob(root, commit.id, f"{folder}/{PREDICTIONS}")
    content = find_file(root, commit.id, f"{folder}/{METRICS}")
    if content is None:
        raise ValueError(f"it has no {METRICS}")
    if blob is None:
        raise ValueError(f"it has no {PREDICTIONS}")
    threshold = json.loads(content).get(SPLIT, {}).get("threshold")
    if threshold is None:
        raise ValueError(f"its {METRICS} has no {SPLIT}.threshold")
    return blob, threshold


def _rows(
    content: bytes, threshold: float, replicates: int, seed: int
) -> Iterator[dict[str, object]]:
    """Give each metric's estimate and interval; ValueError says what the predictions lack."""
    predictions = read_predictions(io.BytesIO(content))
    missing = [column for column in PREDICTION_COLUMNS if column not in predictions]
    if missing:
        raise ValueError(f"its {PREDICTIONS} lacks the columns {', '.join(missing)}")
    tested = predictions[predictions["split"] == SPLIT]
    if tested.empty:
        raise ValueError(f"its {PREDICTIONS} has no {SPLIT} cell")
    found: dict[str, tuple[float, Interval]] = metric_intervals(tested, threshold, replicates, seed)
    for metric in STYLES:
        estimate, interval = found[metric]
        yield {
            "test_set": digest_of_test_set(predictions)[:SHOWN],
            "metric": metric,
            "estimate": estimate,
            "low": interval.low,
            "high": interval.high,
            "reason": interval.reason,
        }
