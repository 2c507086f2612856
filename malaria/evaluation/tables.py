"""The tables of an evaluation: its intervals, operating points, groups and baselines."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from malaria.evaluation.calibration import calibration_table
from malaria.evaluation.intervals import Interval, interval_table, metric_intervals
from malaria.evaluation.metrics import choose_threshold
from malaria.evaluation.names import name_of
from malaria.evaluation.subgroups import (
    at_a_smear,
    averages_over_patients,
    by_patient,
    group_table,
    patient_majority_accuracy,
)
from malaria.prediction.table import arrays_of

HALF = "fixed_0.5"
AT_A_POINT = ("sensitivity", "specificity", "accuracy")
COMPARED = ("accuracy", "sensitivity", "specificity", "roc_auc")
MODEL, STATISTICS, MAJORITY = "model", "crop statistics alone", "each patient's majority"
Found = dict[str, dict[str, dict[str, Interval]]]  # by operating point, split and metric


@dataclass(frozen=True)
class Settings:
    """How an evaluation is made."""

    threshold: float  # chosen on val cells
    temperature: float  # fitted to val cells
    rule: str  # that chose the threshold
    replicates: int  # resamples of the patients
    seed: int


def assess(
    splits: dict[str, pd.DataFrame], controls: dict[str, pd.DataFrame], settings: Settings
) -> dict[str, pd.DataFrame]:
    """Return tables: intervals, operating_points, calibration, patients, groups, smear, controls.

    `splits` has the predictions of 'val' and 'test' with the columns patient, label, logit,
    probability, photo, width and height, `controls` the predictions of the same cells from crop
    statistics. The last four tables are of 'test'.
    """
    test, threshold = splits["test"], settings.threshold
    drawn = (settings.replicates, settings.seed)
    points = {settings.rule: threshold, HALF: 0.5}
    found = {
        point: {split: metric_intervals(cells, at, *drawn) for split, cells in splits.items()}
        for point, at in points.items()
    }
    ours = found[settings.rule]["test"]
    intervals = pd.concat(
        interval_table(cells, threshold, *drawn).assign(split=split)
        for split, cells in splits.items()
    )
    return {
        "intervals": intervals[["split", *intervals.columns.drop("split")]],
        "operating_points": _operating_points(splits, points, found),
        "calibration": calibration_table(splits, settings.temperature, *drawn),
        "patients": by_patient(test, threshold),
        "groups": group_table(test, threshold, *drawn),
        "smear": at_a_smear(ours["sensitivity"].estimate, ours["specificity"]),
        "controls": _controls(test, ours, controls, settings),
    }


def warnings_of(controls: pd.DataFrame) -> Iterator[str]:
    """Give a sentence for each metric in which the model does not beat a shortcut baseline."""
    ours = controls[controls["predictor"] == MODEL].set_index("metric")["estimate"]
    for row in controls[controls["predictor"] != MODEL].itertuples():
        if row.metric in ("accuracy", "roc_auc") and row.estimate >= ours[row.metric]:
            yield (
                f"the model's {name_of(row.metric)} on test cells is {ours[row.metric]:.3f}, which "
                f"does not beat {row.predictor} ({row.estimate:.3f})"
            )


def _controls(
    test: pd.DataFrame,
    ours: dict[str, Interval],
    controls: dict[str, pd.DataFrame],
    settings: Settings,
) -> pd.DataFrame:
    """Return the test metrics of the model and of baselines that see no parasite.

    The threshold of the crop statistics is chosen on val cells by the same rule.
    """
    label, _, probability = arrays_of(controls["val"])
    threshold = choose_threshold(label, probability, settings.rule)
    theirs = metric_intervals(controls["test"], threshold, settings.replicates, settings.seed)
    majority = Interval(patient_majority_accuracy(test), reason="computed from the labels")
    rows = [
        {"predictor": predictor, "metric": metric, **found[metric].row()}
        for predictor, found in {MODEL: ours, STATISTICS: theirs}.items()
        for metric in COMPARED
    ]
    return pd.DataFrame([*rows, {"predictor": MAJORITY, "metric": "accuracy", **majority.row()}])


def _operating_points(
    splits: dict[str, pd.DataFrame], points: dict[str, float], found: Found
) -> pd.DataFrame:
    """Return the metrics of each split at each operating point."""
    rows = []
    for point, threshold in points.items():
        for split, cells in splits.items():
            averages = averages_over_patients(by_patient(cells, threshold))
            for metric in AT_A_POINT:
                row = found[point][split][metric].row(patient_average=averages.get(metric))
                first = {"point": point, "threshold": threshold, "split": split, "metric": metric}
                rows.append(first | row)
    return pd.DataFrame(rows)
