"""The table of predictions, one row per cell: every number of an evaluation follows from it."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from scipy.special import expit

from malaria.core.files import write_file

PREDICTION_COLUMNS = ["cell_id", "patient", "split", "label", "logit", "probability"]
DIGITS = 6


def with_probabilities(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells with the probability of 'parasitized' that follows from their `logit`."""
    return cells.assign(probability=expit(cells["logit"]))


def arrays_of(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the arrays (N,) of label, logit and probability."""
    label, logit, probability = (
        predictions[name].to_numpy() for name in ("label", "logit", "probability")
    )
    return label, logit, probability


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table with 6 digits after the point."""
    write_file(path, table.to_csv(index=False, float_format=f"%.{DIGITS}f", lineterminator="\n"))


def as_text(table: pd.DataFrame, index: bool = False) -> str:
    """Return a table for the terminal: three decimals, whole counts, blanks for missing values."""

    def shown(value: Any) -> str:
        if pd.isna(value):
            return ""
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    return table.astype(object).map(shown).to_string(index=index)


def write_predictions(predictions: pd.DataFrame, path: Path) -> None:
    """Write one row per cell; logit and probability with 6 digits after the point."""
    write_table(predictions[PREDICTION_COLUMNS], path)


def read_predictions(path: Path | BinaryIO) -> pd.DataFrame:
    """Return the predictions as written, so that every number follows from the file.

    Raises ValueError if the file is not a CSV or lacks a column.
    """
    text = dict.fromkeys(("cell_id", "patient", "split"), "string")
    predictions = pd.read_csv(path, dtype=text)
    missing = [column for column in PREDICTION_COLUMNS if column not in predictions]
    if missing:
        raise ValueError(f"there is no column `{missing[0]}`")
    return predictions
