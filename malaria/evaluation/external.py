"""The metrics of external test sets, with intervals by patient if the patients are known."""

import math
from collections.abc import Iterable, Iterator
from itertools import islice

import pandas as pd

from malaria.core.table import DROPPED, LABELS, SPLITS
from malaria.evaluation.intervals import interval_table
from malaria.evaluation.metrics import Metrics, compute_metrics, missing_classes
from malaria.evaluation.tables import Settings
from malaria.prediction.same_cells import COLUMNS as SAME

COUNTS = ["set", "cells", "parasitized", "known", "doubles"]
COLUMNS = [*COUNTS, "metric", "estimate", "low", "high", "patients", "reason"]
UNKNOWN_PATIENTS = "patients unknown: cells taken for independent, so the interval is too narrow"
LISTED = 5  # patients or cells in a warning


def external_metrics(external: pd.DataFrame, threshold: float) -> dict[str, Metrics]:
    """Return the metrics of each external set at the threshold; its name is the key.

    `external` has the columns set, cell_id, patient (a missing value if unknown), label, logit
    and probability. A metric that is not defined is NaN, and so is an unknown number of patients.
    """
    metrics = {}
    for name, cells in external.groupby("set", sort=False):
        unknown = {} if _knows_patients(cells) else {"n_patients": math.nan}
        metrics[name] = compute_metrics(cells, threshold) | unknown
    return metrics


def external_table(external: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return a row for each metric of each external set, with its interval by patient.

    If patients are unknown, the interval is by cell and the reason says so. A metric that lacks a
    class it needs has no estimate but a reason. `patients` is Kish's effective number, `known` the
    number of cells that are the pipeline's own, `doubles` of those that repeat another of the set.
    """
    rows = []
    for name, cells in external.groupby("set", sort=False):
        known = _knows_patients(cells)
        units = cells if known else cells.assign(patient=cells["cell_id"])
        found = [len(cells), int(cells["label"].sum()), *cells[SAME].notna().sum().astype(int)]
        counts = dict(zip(COUNTS, [name, *found], strict=True))
        table = interval_table(units, settings.threshold, settings.replicates, settings.seed)
        for row in table.to_dict("records"):
            if not known:
                row |= {"patients": None, "reason": row["reason"] or UNKNOWN_PATIENTS}
            for label in missing_classes(row["metric"], cells["label"].to_numpy()):
                row = {"metric": row["metric"], "reason": f"no {LABELS[label]} cell"}
            rows.append(counts | row)
    return pd.DataFrame(rows, columns=COLUMNS)


def external_warnings(external: pd.DataFrame, cells: pd.DataFrame) -> Iterator[str]:
    """Give a sentence for each set that is not what it seems.

    That is one with unknown patients, with cells or patients of the table `cells`, with doubles.
    """
    for name, rows in external.groupby("set", sort=False):
        known = cells[cells["cell_id"].isin(rows["same_as"].dropna())]
        if not known.empty:
            yield (
                f"external.{name} is not external: {rows['same_as'].notna().sum()} of its "
                f"{len(rows)} cells have the very pixels of the pipeline's cells "
                f"({_by_split(known, 'cell_id')}): {_listed(known['cell_id'])}"
            )
        doubles = rows.loc[rows["double_of"].notna(), "cell_id"]
        if not doubles.empty:
            yield (
                f"external.{name}: {len(doubles)} of its {len(rows)} cells have the very pixels of "
                f"another of the set and count again: {_listed(doubles)}"
            )
        if not _knows_patients(rows):
            yield f"external.{name}: {UNKNOWN_PATIENTS}"
        shared = cells[cells["patient"].isin(rows["patient"].dropna())]
        if not shared.empty:
            names = sorted(shared["patient"].unique(), key=lambda patient: int(patient[1:]))
            yield (
                f"external.{name} may not be external: {len(names)} of its "
                f"{rows['patient'].nunique()} patients have names of the pipeline's patients "
                f"({_by_split(shared, 'patient')}): {_listed(names)}"
            )


def table_warnings(table: pd.DataFrame) -> Iterator[str]:
    """Give a sentence for each set of `external_table` with known or double cells."""
    for row in table.drop_duplicates("set").itertuples():
        if row.known:
            yield (
                f"external.{row.set} is not external: {row.known} of its {row.cells} cells have "
                "the very pixels of the pipeline's cells"
            )
        if row.doubles:
            yield (
                f"external.{row.set}: {row.doubles} of its {row.cells} cells have the very pixels "
                "of another of the set and count again"
            )


def _by_split(cells: pd.DataFrame, column: str) -> str:
    """Return how many values of a column are in each split."""
    counts = cells.groupby("split")[column].nunique()
    return ", ".join(f"{counts[one]} in {one}" for one in (*SPLITS, DROPPED) if one in counts)


def _listed(names: Iterable[str]) -> str:
    first = list(islice(names, LISTED + 1))
    return ", ".join([*first[:LISTED], *(["..."] if len(first) > LISTED else [])])


def _knows_patients(cells: pd.DataFrame) -> bool:
    return bool(cells["patient"].notna().all())
