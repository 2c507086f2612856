"""The tables of an evaluation: how sure its numbers are, at which point, and for whom."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from malaria.calibration import calibration_table, fit_temperature
from malaria.controls import patient_majority_accuracy
from malaria.intervals import interval_table, metric_intervals
from malaria.metrics import DIGITS, choose_threshold
from malaria.subgroups import at_a_smear, averages_over_patients, by_patient, group_table

HALF = "fixed_0.5"
AT_A_POINT = ("sensitivity", "specificity", "accuracy")
COMPARED = ("accuracy", "sensitivity", "specificity", "roc_auc")
MODEL, STATISTICS, MAJORITY = "model", "crop statistics alone", "each patient's majority"


def assess(
    splits: dict[str, pd.DataFrame],
    controls: dict[str, pd.DataFrame],
    threshold: float,
    rule: str,
    replicates: int,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Return tables: intervals, operating_points, calibration, patients, groups, smear, controls.

    `splits` has the predictions of 'val' and 'test' with the columns patient, label, logit,
    probability, photo, width, height and stratum, `controls` those of the same cells by crop
    statistics; `threshold` was chosen on 'val' by `rule`. The last four tables are of 'test'.
    """
    val, test = splits["val"], splits["test"]
    temperature = fit_temperature(val["label"].to_numpy(), val["logit"].to_numpy())
    intervals = pd.concat(
        [
            interval_table(split, threshold, replicates, seed).assign(split=name)
            for name, split in splits.items()
        ]
    )
    sensitivity, specificity = (
        metric_intervals(test, threshold, replicates, seed)[name]
        for name in ("sensitivity", "specificity")
    )
    return {
        "intervals": intervals[["split", *intervals.columns.drop("split")]],
        "operating_points": _operating_points(splits, threshold, rule, replicates, seed),
        "calibration": calibration_table(splits, temperature),
        "patients": by_patient(test, threshold),
        "groups": group_table(test, threshold, replicates, seed),
        "smear": at_a_smear(sensitivity[0], specificity[0], specificity[1]),
        "controls": _controls(splits, controls, threshold, rule, replicates, seed),
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


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table with 6 digits after the point."""
    table.to_csv(path, index=False, float_format=f"%.{DIGITS}f", lineterminator="\n")


def _controls(
    splits: dict[str, pd.DataFrame],
    controls: dict[str, pd.DataFrame],
    threshold: float,
    rule: str,
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    """Return the model beside predictors that see no parasite, on test cells.

    The threshold of the crop statistics is chosen on val cells by the same rule.
    """
    val = controls["val"]
    own = choose_threshold(val["label"].to_numpy(), val["probability"].to_numpy(), rule)
    compared = {MODEL: (splits["test"], threshold), STATISTICS: (controls["test"], own)}
    rows = []
    for predictor, (predictions, value) in compared.items():
        found = metric_intervals(predictions, value, replicates, seed)
        for metric in COMPARED:
            estimate, interval = found[metric]
            rows.append([predictor, metric, estimate, interval.low, interval.high, interval.reason])
    guessed = patient_majority_accuracy(splits["test"])
    rows.append([MAJORITY, "accuracy", guessed, None, None, "told by the labels"])
    columns = ["predictor", "metric", "estimate", "low", "high", "reason"]
    return pd.DataFrame(rows, columns=columns)


def _operating_points(
    splits: dict[str, pd.DataFrame], threshold: float, rule: str, replicates: int, seed: int
) -> pd.DataFrame:
    """Return what the chosen point and .5 are worth in each split."""
    rows = []
    for point, value in dict.fromkeys([(rule, threshold), (HALF, 0.5)]):
        for split, predictions in splits.items():
            found = metric_intervals(predictions, value, replicates, seed)
            averages = averages_over_patients(by_patient(predictions, value))
            for metric in AT_A_POINT:
                estimate, interval = found[metric]
                rows.append(
                    {
                        "point": point,
                        "threshold": value,
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
