"""For whom a model works: patients, and groups of cells, at one threshold."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from malaria.intervals import Interval, metric_intervals
from malaria.splitting import patient_strata

THIRDS = ("low", "middle", "high")
PREVALENCES = (0.01, 0.001)  # of red cells infected, in a patient with malaria
SMEAR_CELLS = 5000  # that WHO asks a microscopist to look at
GROUP_METRICS = ("sensitivity", "specificity")


def by_patient(cells: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return a row for each patient: its cells of each class, its errors and rates.

    `cells` has the columns patient, label and probability. A rate is NaN where the patient has
    no cell of the class. Sorted by the share of wrong cells, the worst first.
    """
    called = cells["probability"] >= threshold
    positive = cells["label"] == 1
    counts = (
        pd.DataFrame(
            {
                "patient": cells["patient"],
                "cells": 1,
                "parasitized": positive.astype(int),
                "missed": (positive & ~called).astype(int),
                "false_alarms": (~positive & called).astype(int),
            }
        )
        .groupby("patient", as_index=False)
        .sum()
    )
    uninfected = counts["cells"] - counts["parasitized"]
    counts["sensitivity"] = 1 - counts["missed"] / counts["parasitized"].where(lambda n: n > 0)
    counts["specificity"] = 1 - counts["false_alarms"] / uninfected.where(lambda n: n > 0)
    counts["wrong"] = (counts["missed"] + counts["false_alarms"]) / counts["cells"]
    return counts.sort_values(["wrong", "patient"], ascending=[False, True], ignore_index=True)


def averages_over_patients(patients: pd.DataFrame) -> dict[str, float]:
    """Return sensitivity and specificity with each patient counted once, of `by_patient`'s rows.

    Patients without a cell of the class are left out of its rate.
    """
    return {name: float(patients[name].mean()) for name in GROUP_METRICS}


def groups(cells: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Give (kind, name, cells) of the groups that are looked at.

    `cells` has the columns patient, label, photo, width and height. Thirds of parasite burden are
    of these cells' own patients.
    """
    stratum = cells["patient"].map(patient_strata(cells))
    yield "patients", "healthy", cells[stratum == 0]
    yield "patients", "infected", cells[stratum > 0]
    for number, third in enumerate(THIRDS, start=1):
        yield "parasite burden", third, cells[stratum == number]
    longest = cells[["width", "height"]].max(axis=1)
    third_of = pd.qcut(longest.rank(method="first"), len(THIRDS), labels=False)
    for number in range(len(THIRDS)):
        members = cells[third_of == number]
        low, high = longest[members.index].min(), longest[members.index].max()
        yield "longer side", f"{low} to {high} px", members
    month = cells["photo"].str.extract(r"^(\d{6})\d{2}_", expand=False)
    for name in sorted(month.dropna().unique()):
        yield "photographed", f"{name[:4]}-{name[4:]}", cells[month == name]


def group_table(cells: pd.DataFrame, threshold: float, replicates: int, seed: int) -> pd.DataFrame:
    """Return sensitivity and specificity of each group, with their intervals by patient."""
    rows = []
    for kind, name, members in groups(cells):
        if members.empty:
            continue
        found = metric_intervals(members, threshold, replicates, seed)
        for metric in GROUP_METRICS:
            estimate, interval = found[metric]
            rows.append(
                {
                    "group": kind,
                    "value": name,
                    "patients": members["patient"].nunique(),
                    "cells": len(members),
                    "parasitized": int(members["label"].sum()),
                    "metric": metric,
                    "estimate": estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "reason": interval.reason,
                }
            )
    return pd.DataFrame(rows)


def at_a_smear(
    sensitivity: float, specificity: float, specificity_interval: Interval
) -> pd.DataFrame:
    """Return what the rates mean where few cells are infected.

    Positive predictive value by Bayes' theorem, and the false alarms that are expected among
    SMEAR_CELLS cells, with their interval from that of the specificity.
    """
    rows = []
    for prevalence in PREVALENCES:
        true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
        uninfected = SMEAR_CELLS * (1 - prevalence)
        low, high = specificity_interval.low, specificity_interval.high
        rows.append(
            {
                "prevalence": prevalence,
                "ppv": true / (true + false) if true + false else np.nan,
                "parasitized": SMEAR_CELLS * prevalence,
                "found": SMEAR_CELLS * true,
                "false_alarms": SMEAR_CELLS * false,
                "false_alarms_low": None if high is None else uninfected * (1 - high),
                "false_alarms_high": None if low is None else uninfected * (1 - low),
            }
        )
    return pd.DataFrame(rows)
