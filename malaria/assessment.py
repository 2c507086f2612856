"""The tables of an evaluation: how sure its numbers are, at which point, and for whom."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from malaria.calibration import calibration_table
from malaria.controls import patient_majority_accuracy
from malaria.curves import NAMES
from malaria.intervals import Interval, interval_table, metric_intervals
from malaria.metrics import Metrics, choose_threshold, compute_metrics, missing_classes
from malaria.params.split import SPLITS
from malaria.subgroups import at_a_smear, averages_over_patients, by_patient, group_table

Intervals = dict[str, tuple[float, Interval]]  # estimate and interval of each metric
HALF = "fixed_0.5"
AT_A_POINT = ("sensitivity", "specificity", "accuracy")
COMPARED = ("accuracy", "sensitivity", "specificity", "roc_auc")
EXTERNAL_COLUMNS = [
    "set",
    "cells",
    "parasitized",
    "metric",
    "estimate",
    "low",
    "high",
    "patients",
    "reason",
]
UNKNOWN_PATIENTS = "patients unknown: cells taken for independent, so the interval is too narrow"
LISTED = 5  # patients that a warning names
MODEL, STATISTICS, MAJORITY = "model", "crop statistics alone", "each patient's majority"


@dataclass(frozen=True)
class Settings:
    """How an evaluation is made."""

    threshold: float  # chosen on val cells
    temperature: float  # fitted to them
    rule: str  # by which it was
    replicates: int  # resamples of the patients
    seed: int


def assess(
    splits: dict[str, pd.DataFrame], controls: dict[str, pd.DataFrame], settings: Settings
) -> dict[str, pd.DataFrame]:
    """Return tables: intervals, operating_points, calibration, patients, groups, smear, controls.

    `splits` has the predictions of 'val' and 'test' with the columns patient, label, logit,
    probability, photo, width and height, `controls` those of the same cells by crop
    statistics. The last four tables are of 'test'.
    """
    test = splits["test"]
    threshold, drawn = settings.threshold, (settings.replicates, settings.seed)
    intervals = pd.concat(
        [
            interval_table(split, threshold, *drawn).assign(split=name)
            for name, split in splits.items()
        ]
    )
    chosen = {name: metric_intervals(split, threshold, *drawn) for name, split in splits.items()}
    specificity, reach = chosen["test"]["specificity"]
    return {
        "intervals": intervals[["split", *intervals.columns.drop("split")]],
        "operating_points": _operating_points(splits, chosen, settings),
        "calibration": calibration_table(splits, settings.temperature, *drawn),
        "patients": by_patient(test, threshold),
        "groups": group_table(test, threshold, *drawn),
        "smear": at_a_smear(chosen["test"]["sensitivity"][0], specificity, reach),
        "controls": _controls(test, chosen["test"], controls, settings),
    }


def warnings_of(controls: pd.DataFrame) -> Iterator[str]:
    """Give a sentence for each metric in which the model does not beat what sees no parasite."""
    ours = controls[controls["predictor"] == MODEL].set_index("metric")["estimate"]
    for row in controls[controls["predictor"] != MODEL].itertuples():
        if row.metric in ("accuracy", "roc_auc") and row.estimate >= ours[row.metric]:
            yield (
                f"the model's {row.metric} on test cells is {ours[row.metric]:.3f}, which does not "
                f"beat {row.predictor} ({row.estimate:.3f})"
            )


def external_metrics(external: pd.DataFrame, threshold: float) -> dict[str, Metrics]:
    """Return the metrics of each external set at the threshold; its name is the key.

    `external` has the columns set, cell_id, patient (missing where it is unknown), label, logit
    and probability. What is not defined is NaN, also the number of unknown patients.
    """
    metrics = {}
    for name, cells in external.groupby("set", sort=False):
        unknown = {} if _knows_patients(cells) else {"n_patients": math.nan}
        metrics[name] = compute_metrics(cells, threshold) | unknown
    return metrics


def external_table(external: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return a row for each metric of each external set, with its interval by patient.

    The interval is by cell where patients are unknown, and the reason says so; a metric without
    its classes is missing, with the reason. `patients` is Kish's effective number.
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
                row = {"metric": row["metric"], "reason": f"no {NAMES[label]} cell"}
            rows.append(counts | row)
    return pd.DataFrame(rows, columns=EXTERNAL_COLUMNS)


def external_warnings(external: pd.DataFrame, cells: pd.DataFrame) -> Iterator[str]:
    """Give a sentence for each set of unknown patients, or with patients of the table `cells`."""
    for name, rows in external.groupby("set", sort=False):
        if not _knows_patients(rows):
            yield f"external.{name}: {UNKNOWN_PATIENTS}"
        shared = cells[cells["patient"].isin(rows["patient"].dropna())]
        if not shared.empty:
            by_split = shared.groupby("split")["patient"].nunique()
            counts = [f"{by_split[split]} in {split}" for split in SPLITS if split in by_split]
            names = sorted(shared["patient"].unique(), key=lambda patient: int(patient[1:]))
            yield (
                f"external.{name} may be no external set: {len(names)} of its "
                f"{rows['patient'].nunique()} patients have names of the pipeline's own "
                f"({', '.join(counts)}): {', '.join(names[:LISTED])}"
                f"{', ...' if len(names) > LISTED else ''}"
            )


def _knows_patients(cells: pd.DataFrame) -> bool:
    return bool(cells["patient"].notna().all())


def _controls(
    test: pd.DataFrame, ours: Intervals, controls: dict[str, pd.DataFrame], settings: Settings
) -> pd.DataFrame:
    """Return the model beside predictors that see no parasite, on test cells.

    The threshold of the crop statistics is chosen on val cells by the same rule.
    """
    val = controls["val"]
    own = choose_threshold(val["label"].to_numpy(), val["probability"].to_numpy(), settings.rule)
    theirs = metric_intervals(controls["test"], own, settings.replicates, settings.seed)
    rows = []
    for predictor, found in {MODEL: ours, STATISTICS: theirs}.items():
        for metric in COMPARED:
            estimate, interval = found[metric]
            rows.append([predictor, metric, estimate, interval.low, interval.high, interval.reason])
    guessed = patient_majority_accuracy(test)
    rows.append([MAJORITY, "accuracy", guessed, None, None, "told by the labels"])
    columns = ["predictor", "metric", "estimate", "low", "high", "reason"]
    return pd.DataFrame(rows, columns=columns)


def _operating_points(
    splits: dict[str, pd.DataFrame], chosen: dict[str, Intervals], settings: Settings
) -> pd.DataFrame:
    """Return what the chosen point and .5 are worth in each split."""
    points = {settings.rule: (settings.threshold, chosen)}
    if settings.rule != HALF:
        half = {
            name: metric_intervals(split, 0.5, settings.replicates, settings.seed)
            for name, split in splits.items()
        }
        points[HALF] = (0.5, half)
    rows = []
    for point, (threshold, found) in points.items():
        for split, predictions in splits.items():
            averages = averages_over_patients(by_patient(predictions, threshold))
            for metric in AT_A_POINT:
                estimate, interval = found[split][metric]
                rows.append(
                    {
                        "point": point,
                        "threshold": threshold,
                        "split": split,
                        "metric": metric,
                        "estimate": estimate,
                        "low": interval.low,
                        "high": interval.high,
                        "patient_average": averages.get(metric),
                        "reason": interval.reason,
                    }
                )
    return pd.DataFrame(rows)
