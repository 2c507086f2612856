"""Patients, groups and smears: numbers that were counted by hand."""

import numpy as np
import pandas as pd
import pytest

from malaria.evaluation.intervals import Interval
from malaria.evaluation.subgroups import (
    at_a_smear,
    averages_over_patients,
    by_patient,
    group_table,
    groups,
    patient_majority_accuracy,
)
from malaria.prediction.table import with_probabilities

# C1 has malaria: 4 parasitized cells, 1 missed, and 2 uninfected ones, 1 false alarm. C2 has
# malaria: 1 parasitized cell, missed. C3 is healthy: 4 cells, 1 false alarm.
CELLS = pd.DataFrame(
    {
        "patient": ["C1"] * 6 + ["C2"] + ["C3"] * 4,
        "label": [1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0],
        "logit": [3.0, 2, 1, -1, -2, 1, -1, -2, -2, -1, 2],
        "photo": ["20150918_161508"] * 7 + ["20151001_090000"] * 4,
        "width": [100, 110, 120, 130, 140, 150, 160, 170, 180, 190, 200],
        "height": 90,
    }
).pipe(with_probabilities)


def test_each_patients_cells_and_errors_the_worst_first() -> None:
    table = by_patient(CELLS, 0.5)
    counted = ["patient", "cells", "parasitized", "missed", "false_alarms"]
    assert table[counted].to_numpy().tolist() == [
        ["C2", 1, 1, 1, 0],
        ["C1", 6, 4, 1, 1],
        ["C3", 4, 0, 0, 1],
    ]
    assert table["wrong"].tolist() == pytest.approx([1, 2 / 6, 1 / 4])
    assert table["sensitivity"].tolist() == pytest.approx([0, 0.75, np.nan], nan_ok=True)
    assert table["specificity"].tolist() == pytest.approx([np.nan, 0.5, 0.75], nan_ok=True)


def test_a_mean_over_patients_is_not_one_over_cells() -> None:
    averages = averages_over_patients(by_patient(CELLS, 0.5))
    expected = {"sensitivity": 0.75 / 2, "specificity": 1.25 / 2}  # not 3 / 5
    assert averages == pytest.approx(expected)


def test_the_groups_and_their_cells() -> None:
    found = {(kind, name): len(members) for kind, name, members in groups(CELLS)}
    assert found == {
        ("patients", "healthy"): 4,
        ("patients", "infected"): 7,
        ("parasite burden", "low"): 1,
        ("parasite burden", "middle"): 6,
        ("parasite burden", "high"): 0,
        ("longer side", "100 to 130 px"): 4,
        ("longer side", "140 to 160 px"): 3,
        ("longer side", "170 to 200 px"): 4,
        ("photographed", "2015-09"): 7,
        ("photographed", "2015-10"): 4,
    }


def test_groups_of_photos_without_a_date_are_skipped() -> None:
    kinds = {kind for kind, _, _ in groups(CELLS.assign(photo="unknown"))}
    assert kinds == {"patients", "parasite burden", "longer side"}


def test_the_table_of_groups_says_where_a_rate_is_missing() -> None:
    table = group_table(CELLS, 0.5, replicates=100, seed=1)
    assert "high" not in set(table["value"])
    sensitivity, specificity = table[table["value"] == "healthy"].itertuples()
    assert pd.isna(sensitivity.estimate)
    assert sensitivity.reason == "not defined"
    assert specificity.estimate == 0.75
    assert specificity.reason == "too few patients (1.0)"


def test_what_the_rates_mean_in_a_smear() -> None:
    # By hand: of 5,000 cells 50 are infected, 45 found; 2 % of the other 4,950 are 99.
    rows = at_a_smear(0.9, Interval(0.98, 0.97, 0.99)).set_index("prevalence")
    counts = ["parasitized", "found", "false_alarms", "false_alarms_low", "false_alarms_high"]
    assert rows.loc[0.01, counts].tolist() == pytest.approx([50, 45, 99, 49.5, 148.5])
    assert rows.loc[0.01, "ppv"] == pytest.approx(45 / 144)
    assert rows.loc[0.001, "ppv"] == pytest.approx(4.5 / (4.5 + 99.9))
    unknown = at_a_smear(0.9, Interval(1.0)).iloc[0]
    assert (unknown["ppv"], unknown["false_alarms"]) == (1, 0)
    assert pd.isna(unknown["false_alarms_low"])


def test_accuracy_of_each_patients_majority() -> None:
    cells = pd.DataFrame({"patient": list("aaaab") + ["c"] * 5, "label": [1, 1, 1, 0, 0, *[0] * 5]})
    assert patient_majority_accuracy(cells) == pytest.approx(9 / 10)
