"""Labels that a person reviewed: what changes in training, and only there."""

import csv
from pathlib import Path

import pandas as pd

from malaria.core.files import find_in_mirror, sha256_of
from malaria.core.table import DROPPED
from malaria.errors import MalariaError

FLIP, DROP, KEEP = "flip", "drop", "keep"
VERDICTS = (FLIP, DROP, KEEP)
COLUMNS = ("cell_id", "label", "verdict")


def find_corrections(path: str, sha256: str) -> Path:
    """Return the file with this hash: in $MALARIA_MIRROR, else at `path`.

    Raises MalariaError if there is none, or the one at `path` was edited since.
    """
    given = find_in_mirror(sha256) or Path(path)
    if not given.is_file():
        raise MalariaError(
            f"split.corrections.path is {path!r}, which is not a file in {Path.cwd()}; make the "
            "list with `uv run malaria audit`, correct the path, or set split.corrections to none."
        )
    found = sha256_of(given)
    if found != sha256:
        raise MalariaError(
            f"{path} has SHA-256 {found}, but split.corrections.sha256 is {sha256}; after an edit "
            "pin the new one."
        )
    return given


def read_list(path: Path) -> pd.DataFrame:
    """Return a reviewed list as it was written, every value as text, '' where it is blank.

    Raises MalariaError if it is not readable, or lacks one of COLUMNS.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            columns = len(next(lines, []))
            # pandas would take the first column for names of the lines, and move the others.
            wrong = next((lines.line_num for line in lines if line and len(line) != columns), 0)
        if wrong:
            raise ValueError(f"line {wrong} has not {columns} values; quote a value with a comma")
        table = pd.read_csv(path, dtype="string", keep_default_na=False)
    except (OSError, ValueError, csv.Error) as error:  # ValueError: also what pandas raises
        reason = " ".join(str(error).split())
        raise MalariaError(
            f"{path} is not readable as CSV ({reason}); save it as UTF-8, with commas."
        ) from None
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise MalariaError(
            f"{path} has no column `{missing[0]}`; a list as `malaria audit` writes it has it."
        )
    return table


def read_corrections(path: Path, cells: pd.DataFrame) -> pd.Series:
    """Return the verdicts of a reviewed list by cell_id, 'flip', 'drop' or 'keep'.

    `cells` has the columns cell_id and label, as the zip gives them. A row without a verdict was
    not reviewed and is skipped. Raises MalariaError for missing columns, unknown verdicts and
    cells, cells named twice, and labels other than the zip's.
    """
    table = read_list(path)
    cell_id, label = table["cell_id"], table["label"].str.strip()
    verdict = table["verdict"].str.strip().str.lower()
    labels = cells.set_index("cell_id")["label"].astype("string")
    wrong_verdict = f"has a verdict other than {', '.join(VERDICTS)} or blank"
    faults = {
        wrong_verdict: ~verdict.isin([*VERDICTS, ""]),
        "names a cell that the zip does not have": ~cell_id.isin(labels.index),
        "names a cell twice": cell_id.duplicated(),
        "gives a label that is not the zip's": label != cell_id.map(labels).fillna(""),
    }
    for fault, rows in faults.items():
        if rows.any():
            first = table[rows].iloc[0]
            raise MalariaError(
                f"{path} {fault}: {first['cell_id']!r}, label {first['label']!r}, verdict "
                f"{first['verdict']!r}; correct this line."
            )
    return pd.Series(verdict.to_numpy(), index=cell_id.to_numpy())[verdict.to_numpy() != ""]


def correct(cells: pd.DataFrame, verdicts: pd.Series) -> pd.DataFrame:
    """Return the cells with the verdicts applied to the train split, and to nothing else.

    `cells` has the columns cell_id, label and split. A flipped cell gets the other label, a
    dropped one the split 'dropped'; val and test are judged by the zip's labels.
    """
    verdict = cells["cell_id"].map(verdicts).where(cells["split"] == "train")
    return cells.assign(
        label=cells["label"].where(verdict != FLIP, 1 - cells["label"]),
        split=cells["split"].where(verdict != DROP, DROPPED),
    )
