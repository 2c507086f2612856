"""The metrics of external test sets, with intervals by patient if the patients are known."""

import math
from collections.abc import Iterator

import pandas as pd

from malaria.core.table import LABELS, SPLITS
from malaria.evaluation.intervals import interval_table
from malaria.evaluation.metrics import Metrics, compute_metrics, missing_classes
from malaria.evaluation.tables import Settings

COLUMNS = ["set", "cells", "parasitized", "metric", "estimate", "low", "high", "patients", "reason"]
UNKNOWN_PATIENTS = "patients unknown: cells taken for independent, so the interval is too narrow"
LISTED = 5  # patients in a warning


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
    class it needs has no estimate but a reason. `patients` is Kish's effective number.
    """
    rows = []
    for name, cells in external.groupby("set", sort=False):
        known = _knows_patients(cells)
        units = cells if known else cells.assign(patient=cells["cell_id"])
        counts = {"set": name, "cells": len(cells), "parasitized": int(cells["label"].sum())}
        table = interval_table(units, settings.threshold, settings.replicates, settings.seed)
        for row in table.to_dict("records"):
            if not known:
                row |= {"patients": None, "reason": row["reason"] or UNKNOWN_PATIENTS}
            for label in missing_classes(row["metric"], cells["label"].to_numpy()):
                row = {"metric": row["metric"], "reason": f"no {LABELS[label]} cell"}
            rows.append(counts | row)
    return pd.DataFrame(rows, columns=COLUMNS)


def external_warnings(external: pd.DataFrame, cells: pd.DataFrame) -> Iterator[str]:
    """Give a sentence for each set with unknown patients, or with patients of the table `cells`."""
    for name, rows in external.groupby("set", sort=False):
        if not _knows_patients(rows):
            yield f"external.{name}: {UNKNOWN_PATIENTS}"
        shared = cells[cells["patient"].isin(rows["patient"].dropna())]
        if not shared.empty:
            by_split = shared.groupby("split")["patient"].nunique()
            counts = [f"{by_split[split]} in {split}" for split in SPLITS if split in by_split]
            names = sorted(shared["patient"].unique(), key=lambda patient: int(patient[1:]))
            yield (
                f"external.{name} may not be external: {len(names)} of its "
                f"{rows['patient'].nunique()} patients have names of the pipeline's patients "
                f"({', '.join(counts)}): {', '.join(names[:LISTED])}"
                f"{', ...' if len(names) > LISTED else ''}"
            )


def _knows_patients(cells: pd.DataFrame) -> bool:
    return bool(cells["patient"].notna().all())
