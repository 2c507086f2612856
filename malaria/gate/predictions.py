"""One revision's test predictions, read from the bytes that it has in Git."""

import hashlib
import io
import json
import math
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from malaria.core.table import SPLITS
from malaria.errors import MalariaError
from malaria.evaluation.metrics import compute_metrics
from malaria.gate.params import CAN_BE_GATED
from malaria.paths import METRICS, PREDICTIONS
from malaria.pipeline.git import commits_of, find_blob, run_git
from malaria.pipeline.stages import place
from malaria.prediction.table import DIGITS, PREDICTION_COLUMNS, read_predictions

SPLIT = "test"  # what a model is judged by
LARGEST_MB = 10
SAME = 2 * 10**-DIGITS  # written numbers that differ less are equal
KEY = ["cell_id", "patient", "label"]  # what makes two test splits the same
COUNTS = ("n_cells", "n_patients")
LISTED = 5  # names in a message
LONGEST = 60  # characters of a name or value in it
SHORT = 8  # characters of a commit's id that are shown


@dataclass(frozen=True)
class Files:
    """One revision's results: the bytes of predictions.csv and metrics.json."""

    predictions: bytes
    metrics: bytes
    # Test predictions in another format, which tables.py has read.
    read: "Evaluated | None" = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One model's test predictions, checked, in the order of their cells."""

    cells: pd.DataFrame
    threshold: float

    @property
    def fingerprint(self) -> str:
        """The test set's digest."""
        return digest_of_test_set(self.cells)

    def __eq__(self, other: object) -> bool:
        """Return whether cells, predictions and threshold are the same."""
        if not isinstance(other, Evaluated):
            return NotImplemented
        return self.threshold == other.threshold and self.cells.equals(other.cells)

    def only(self, chosen: "pd.Series[bool] | np.ndarray") -> "Evaluated":
        """Return the same model's predictions of some of the cells."""
        return Evaluated(self.cells[chosen].reset_index(drop=True), self.threshold)


def digest_of_test_set(predictions: pd.DataFrame) -> str:
    """Return the SHA-256 of which cells are tested, of which patients and with which labels.

    `predictions` has the columns split and KEY, its rows in any order.
    """
    tested = predictions[predictions["split"] == SPLIT].sort_values("cell_id")
    rows = tested[KEY].to_csv(index=False, header=False, lineterminator="\n")
    return hashlib.sha256(rows.encode()).hexdigest()


def read_evaluated(files: Files, whose: str) -> Evaluated:
    """Return the test predictions and the threshold of one revision.

    Raises MalariaError that names `whose` files are broken: too large, unreadable, with missing,
    repeated or impossible values, or with metrics that do not follow from the predictions.
    """
    if files.read is not None:
        return files.read
    try:
        for path, content in ((PREDICTIONS, files.predictions), (METRICS, files.metrics)):
            if len(content) > LARGEST_MB * 10**6:
                raise ValueError(
                    f"{path} has {len(content) / 10**6:.1f} MB, more than the {LARGEST_MB} MB that "
                    "the gate reads"
                )
        cells = _read_cells(files.predictions)
        return Evaluated(cells, _read_threshold(files.metrics, cells))
    except ValueError as error:
        raise MalariaError(
            f"{whose}'s {error}; run `uv run dvc repro` in its folder and commit the reports."
        ) from None


def uses_of_test_set(root: Path, ref: str, folder: str, test_set: str) -> int:
    """Return how many results on a test set have come into the first-parent history of `ref`.

    They are the different contents of the folder's predictions.csv there with this digest. A
    result that was seen but never merged leaves no trace.
    """
    path = place(folder, PREDICTIONS)
    blobs = {find_blob(root, commit.id, path) for commit in commits_of(root, ref, path)}
    uses = 0
    for blob in filter(None, blobs):
        with suppress(ValueError):  # predictions with other columns
            content = run_git(root, "cat-file", "blob", blob)
            uses += digest_of_test_set(read_predictions(io.BytesIO(content))) == test_set
    return uses


def listed(names: list[str]) -> str:
    """Return the first names as text."""
    return ", ".join(map(shown, names[:LISTED])) + (", ..." if len(names) > LISTED else "")


def shown(value: object) -> str:
    """Return a foreign value as text for a message: on one line, not too long."""
    text = str(value)
    return printable(f"{text[:LONGEST]}…" if len(text) > LONGEST else text)


def printable(text: str) -> str:
    """Return foreign text on one line: what is not printable is replaced."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _read_cells(content: bytes) -> pd.DataFrame:
    """Return the test cells, sorted; raises ValueError that says what is wrong with the file."""
    if b"\0" in content:
        raise ValueError(f"{PREDICTIONS} has a NUL byte, so it is no text")
    try:
        rows = read_predictions(io.BytesIO(content))
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"{PREDICTIONS} is not readable ({shown_error(error)})") from None
    lines = content.count(b"\n") + (not content.endswith(b"\n")) - 1
    if lines != len(rows):  # a quote that is not closed swallows rows
        raise ValueError(f"{PREDICTIONS} has {lines} lines below the header, but {len(rows)} rows")
    if fault := _find_fault(rows):
        raise ValueError(f"{PREDICTIONS} has {fault}")
    return rows[rows["split"] == SPLIT].sort_values("cell_id", ignore_index=True)


def shown_error(error: Exception) -> str:
    """Return a library's message on one line, not too long."""
    return printable(" ".join(str(error).split())[:200])


def _find_fault(rows: pd.DataFrame) -> str | None:
    """Return what is wrong with the predictions, the most telling first."""
    if rows.empty:
        return "a header, but no rows"
    for name in PREDICTION_COLUMNS:
        if rows[name].isna().any():
            line = int(rows[name].isna().to_numpy().argmax()) + 2
            return f"no value for `{name}` in line {line}"
    for name in ("label", "logit", "probability"):
        if not pd.api.types.is_numeric_dtype(rows[name]):
            wrong = rows.loc[pd.to_numeric(rows[name], errors="coerce").isna(), name]
            value = shown(wrong.iloc[0] if len(wrong) else rows[name].iloc[0])
            return f"{value!r} for `{name}`, which is not a number"
    repeated = rows.loc[rows["cell_id"].duplicated(), "cell_id"].unique().tolist()
    if repeated:
        return f"{len(repeated)} cells more than once ({listed(repeated)})"
    is_whole = pd.api.types.is_integer_dtype(rows["label"])
    follows = (rows["probability"] - expit(rows["logit"])).abs() <= SAME
    for name, allowed, what in (
        ("split", rows["split"].isin(SPLITS), "is not train, val or test"),
        ("label", rows["label"].isin([0, 1]), "is neither 0 nor 1"),
        ("label", pd.Series(is_whole, rows.index), "is not written as 0 or 1"),
        ("logit", np.isfinite(rows["logit"]), "is not finite"),
        ("probability", rows["probability"].between(0, 1), "is outside [0, 1]"),
        ("probability", follows, "does not follow from the logit"),
    ):
        if not allowed.all():
            row = rows[~allowed].iloc[0]
            return f"the {name} {shown(row[name])} for {shown(row['cell_id'])}, which {what}"
    return None if (rows["split"] == SPLIT).any() else f"no cell of the split {SPLIT}"


def _read_threshold(content: bytes, cells: pd.DataFrame) -> float:
    """Return the threshold in metrics.json; raises ValueError that says what is wrong with it.

    What the gate rests on, as it is written, must be what the predictions give.
    """
    try:
        # A whole number may have more digits than a float can hold: it becomes inf.
        metrics: dict[str, Any] = dict(json.loads(content, parse_int=float)[SPLIT])
        threshold = metrics["threshold"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{METRICS} is not JSON with the key {SPLIT}.threshold") from None
    if type(threshold) is not float or not math.isfinite(threshold):
        raise ValueError(
            f"{METRICS} has the threshold {shown(repr(threshold))}, which is not a number"
        )
    given = compute_metrics(cells, threshold)
    for name in (*CAN_BE_GATED, *COUNTS):
        value, written = given[name], metrics.get(name, given[name])
        written = math.nan if written is None else written
        if not isinstance(written, float | int) or not np.isclose(
            written, value, rtol=0, atol=SAME, equal_nan=True
        ):
            says = f"{written:g}" if isinstance(written, float) else shown(repr(written))
            raise ValueError(
                f"{METRICS} says {SPLIT}.{name} {says}, but the predictions next to it give "
                f"{value:g}"
            )
    return threshold
