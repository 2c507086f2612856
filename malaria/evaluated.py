"""One revision's test predictions, read from the bytes that it has in Git."""

import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from malaria.errors import MalariaError
from malaria.metrics import DIGITS, PREDICTION_COLUMNS, compute_metrics, read_predictions
from malaria.paired import PAIRED
from malaria.params.split import SPLITS

SPLIT = "test"
LARGEST_MB = 10
SAME = 2 * 10**-DIGITS  # written numbers that differ less are equal
KEY = ["cell_id", "patient", "label"]  # what makes two test splits the same
COUNTS = ("n_cells", "n_patients")
LISTED = 5  # names in a message
RERUN = "run `uv run dvc repro` and commit its reports"


@dataclass(frozen=True)
class Files:
    """What one revision has in Git: the bytes of predictions.csv and metrics.json."""

    predictions: bytes
    metrics: bytes


@dataclass(frozen=True)
class Evaluated:
    """One model's test predictions, checked, in the order of their cells."""

    cells: pd.DataFrame
    threshold: float

    @property
    def fingerprint(self) -> str:
        """The test set's digest."""
        return digest_of_test_set(self.cells)

    def only(self, cell_ids: "pd.Series[str]") -> "Evaluated":
        """Return the same model's predictions of these cells alone."""
        chosen = self.cells["cell_id"].isin(cell_ids)
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
    where = f"{whose}'s reports/predictions.csv"
    for content, name in ((files.predictions, "predictions.csv"), (files.metrics, "metrics.json")):
        if len(content) > LARGEST_MB * 10**6:
            raise MalariaError(
                f"{whose}'s reports/{name} has {len(content) / 10**6:.1f} MB, more than the "
                f"{LARGEST_MB} MB that the gate reads; {RERUN}."
            )
    rows = _read_rows(files.predictions, where)
    for fault in _faults(rows):
        raise MalariaError(f"{where} {fault}; {RERUN}.")
    cells = rows[rows["split"] == SPLIT].sort_values("cell_id", ignore_index=True)
    cells = cells.astype({"label": int})  # 1.0 and 1 are the same label, and hash alike
    metrics = _read_metrics(files.metrics, f"{whose}'s reports/metrics.json")
    _check_metrics(cells, metrics, whose)
    return Evaluated(cells, float(metrics["threshold"]))


def listed(names: list[str]) -> str:
    """Return the first names as text."""
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")


def _read_rows(content: bytes, where: str) -> pd.DataFrame:
    try:
        rows = read_predictions(io.BytesIO(content))
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        reason = " ".join(str(error).split())
        raise MalariaError(f"{where} is not readable as CSV ({reason}); {RERUN}.") from None
    missing = [name for name in PREDICTION_COLUMNS if name not in rows]
    if missing:
        raise MalariaError(f"{where} has no column `{missing[0]}`; {RERUN}.")
    return rows


def _faults(rows: pd.DataFrame) -> Iterator[str]:
    """Give what is wrong with the predictions, most telling first."""
    for name in PREDICTION_COLUMNS:
        if rows[name].isna().any():
            line = int(rows[name].isna().to_numpy().argmax()) + 2
            yield f"has no value for `{name}` in line {line}"
    for name in ("label", "logit", "probability"):
        if not pd.api.types.is_numeric_dtype(rows[name]):
            wrong = rows.loc[pd.to_numeric(rows[name], errors="coerce").isna(), name]
            yield f"has {wrong.iloc[0]!r} for `{name}`, which is no number"
    repeated = rows.loc[rows["cell_id"].duplicated(), "cell_id"].unique().tolist()
    if repeated:
        yield f"has {len(repeated)} cells more than once ({listed(repeated)})"
    for name, allowed, what in (
        ("split", rows["split"].isin(SPLITS), "is none of train, val and test"),
        ("label", rows["label"].isin([0, 1]), "is neither 0 nor 1"),
        ("logit", np.isfinite(rows["logit"]), "is not finite"),
        ("probability", rows["probability"].between(0, 1), "is outside [0, 1]"),
        (
            "probability",
            (rows["probability"] - expit(rows["logit"])).abs() <= SAME,
            "does not follow from the logit",
        ),
    ):
        if not allowed.all():
            row = rows[~allowed].iloc[0]
            yield f"has the {name} {row[name]} for {row['cell_id']}, which {what}"
    if not (rows["split"] == SPLIT).any():
        yield f"has no cell of the split {SPLIT}"


def _read_metrics(content: bytes, where: str) -> dict[str, Any]:
    """Return the metrics of the test split, with a threshold that is a number."""
    try:
        metrics = json.loads(content)[SPLIT]
        threshold = metrics["threshold"]
    except (ValueError, UnicodeDecodeError, KeyError, TypeError):
        raise MalariaError(f"{where} is no JSON with the key {SPLIT}.threshold; {RERUN}.") from None
    if type(threshold) not in (int, float) or not math.isfinite(threshold):
        raise MalariaError(f"{where} has the threshold {threshold!r}, which is no number; {RERUN}.")
    return dict(metrics)


def _check_metrics(cells: pd.DataFrame, metrics: Mapping[str, Any], whose: str) -> None:
    """Compare what the gate rests on, as it is written, with what the predictions give."""
    given = compute_metrics(cells, metrics["threshold"])
    for name in (*PAIRED, *COUNTS):
        value, written = given[name], metrics.get(name)
        if isinstance(written, int | float) and abs(written - value) > SAME:
            raise MalariaError(
                f"{whose}'s reports/metrics.json says {SPLIT}.{name} {written:g}, but the "
                f"predictions beside it give {value:g}; {RERUN}."
            )
