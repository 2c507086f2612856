"""Metrics of single patients and of groups of cells, at one threshold."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from malaria.data.split import patient_strata
from malaria.evaluation.intervals import Interval, metric_intervals

THIRDS = ("low", "middle", "high")
PREVALENCES = (0.01, 0.001)  # of red cells infected, in a patient with malaria
SMEAR_CELLS = 5000  # that WHO asks a microscopist to examine
GROUP_METRICS = ("sensitivity", "specificity")


def by_patient(cells: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return a row for each patient: cells of each class, errors and rates.

    `cells` has the columns patient, label and probability. A rate is NaN if the patient has no
    cell of the class. Sorted by the share of wrong cells, the worst first.
    """
    called = cells["probability"] >= threshold
    positive = cells["label"] == 1
    counted = cells[["patient"]].assign(
        cells=1,
        parasitized=positive.astype(int),
        missed=(positive & ~called).astype(int),
        false_alarms=(~positive & called).astype(int),
    )
    counts = counted.groupby("patient", as_index=False).sum()
    uninfected = counts["cells"] - counts["parasitized"]
    counts["sensitivity"] = 1 - counts["missed"] / counts["parasitized"].where(lambda n: n > 0)
    counts["specificity"] = 1 - counts["false_alarms"] / uninfected.where(lambda n: n > 0)
    counts["wrong"] = (counts["missed"] + counts["false_alarms"]) / counts["cells"]
    return counts.sort_values(["wrong", "patient"], ascending=[False, True], ignore_index=True)


def averages_over_patients(patients: pd.DataFrame) -> dict[str, float]:
    """Return the means over patients of the rates in `by_patient`'s rows.

    A rate skips the patients without a cell of its class.
    """
    return {name: float(patients[name].mean()) for name in GROUP_METRICS}


def groups(cells: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Give (kind, name, cells) of the groups that are compared.

    `cells` has the columns patient, label, photo, width and height. Thirds of parasite burden are
    thirds of the patients of these cells.
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
        first = {
            "group": kind,
            "value": name,
            "patients": members["patient"].nunique(),
            "cells": len(members),
            "parasitized": int(members["label"].sum()),
        }
        rows += [first | {"metric": metric, **found[metric].row()} for metric in GROUP_METRICS]
    return pd.DataFrame(rows)


def at_a_smear(sensitivity: float, specificity: Interval) -> pd.DataFrame:
    """Return what the rates mean if few cells are infected.

    Positive predictive value by Bayes' theorem, and the expected false alarms among SMEAR_CELLS
    cells, with the interval that follows from the specificity's.
    """
    rows = []
    low, high = specificity.low, specificity.high
    for prevalence in PREVALENCES:
        true, false = sensitivity * prevalence, (1 - specificity.estimate) * (1 - prevalence)
        uninfected = SMEAR_CELLS * (1 - prevalence)
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


def patient_majority_accuracy(cells: pd.DataFrame) -> float:
    """Return the accuracy of calling all cells of a patient what most of them are.

    It needs the labels, so no model can do this. It is what knowing the patient would be worth.
    """
    share = cells.groupby("patient")["label"].transform("mean")
    return float(np.maximum(share, 1 - share).mean())
