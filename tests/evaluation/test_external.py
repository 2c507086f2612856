"""External test sets: their metrics and intervals, and when a reader is warned."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from malaria.evaluation.external import (
    UNKNOWN_PATIENTS,
    external_metrics,
    external_table,
    external_warnings,
    table_warnings,
)
from malaria.evaluation.intervals import interval_table
from malaria.evaluation.metrics import compute_metrics, write_metrics
from malaria.evaluation.tables import Settings
from malaria.prediction.table import with_probabilities, write_table

SETTINGS = Settings(threshold=0.4, temperature=1, rule="youden", replicates=200, seed=1)
BOUNDS = ["estimate", "low", "high"]


def predictions(label: list[int], patients: Sequence[str | None]) -> pd.DataFrame:
    table = {
        "set": "lab_b",
        "cell_id": [f"crop {number}" for number in range(len(label))],
        "patient": pd.Series(patients, dtype="string"),
        "label": label,
        "logit": np.random.default_rng(0).normal(np.array(label) * 2 - 1),
        "same_as": pd.Series([None] * len(label), dtype="string"),
        "double_of": pd.Series([None] * len(label), dtype="string"),
    }
    return with_probabilities(pd.DataFrame(table))


@pytest.mark.filterwarnings("error")
def test_no_set_is_a_header(tmp_path: Path) -> None:
    table = predictions([], [])
    assert external_metrics(table, 0.4) == {}
    cells = table.assign(split="")
    assert list(external_warnings(table, cells)) == []
    assert list(table_warnings(external_table(table, SETTINGS))) == []
    write_table(external_table(table, SETTINGS), tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == (
        "set,cells,parasitized,known,doubles,metric,estimate,low,high,patients,reason\n"
    )


def test_metrics_and_intervals_are_those_of_a_split_with_the_same_patients() -> None:
    table = predictions([0, 1] * 60, [f"C{number % 10}" for number in range(120)])
    assert external_metrics(table, 0.4) == {"lab_b": compute_metrics(table, 0.4)}
    rows = external_table(table, SETTINGS).set_index("metric")
    columns = [*BOUNDS, "patients", "reason"]
    expected = interval_table(table, 0.4, 200, 1).set_index("metric")[columns]
    pd.testing.assert_frame_equal(rows[columns], expected)
    assert set(rows["cells"]) == {120}
    assert set(rows["parasitized"]) == {60}


def test_without_patients_the_interval_is_by_cell_and_the_reason_says_so() -> None:
    table = predictions([0, 1] * 60, [None] * 120)
    rows = external_table(table, SETTINGS)
    expected = interval_table(table.assign(patient=table["cell_id"]), 0.4, 200, 1)
    pd.testing.assert_frame_equal(rows[BOUNDS], expected[BOUNDS])
    assert rows["patients"].isna().all()
    assert set(rows["reason"]) == {UNKNOWN_PATIENTS}
    assert math.isnan(external_metrics(table, 0.4)["lab_b"]["n_patients"])
    cells = table.assign(split="")
    assert list(external_warnings(table, cells)) == [f"external.lab_b: {UNKNOWN_PATIENTS}"]
    assert list(table_warnings(external_table(table, SETTINGS))) == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("label", "kept", "lacks"),
    [(1, "sensitivity", "uninfected"), (0, "specificity", "parasitized")],
)
@pytest.mark.parametrize("count", [1, 30])
def test_a_set_with_one_class_has_nulls_and_reasons(
    label: int, kept: str, lacks: str, count: int, tmp_path: Path
) -> None:
    table = predictions([label] * count, [None] * count)
    write_metrics({}, external_metrics(table, 0.4), tmp_path / "metrics.json")
    written = json.loads((tmp_path / "metrics.json").read_text())["external"]["lab_b"]
    assert list(written) == list(compute_metrics(predictions([0, 1], [None] * 2), 0.4))
    there = {"accuracy", "log_loss", "brier", "ece", kept}
    rows = external_table(table, SETTINGS).set_index("metric")
    missing = set(rows.index) - there
    assert {name for name, value in written.items() if value is None} == {*missing, "n_patients"}
    assert written["accuracy"] == written[kept]
    assert set(rows.loc[sorted(missing), "reason"]) == {f"no {lacks} cell"}
    assert rows.loc[sorted(missing), BOUNDS].isna().all(axis=None)
    for name in there:
        assert round(rows.loc[name, "estimate"], 6) == written[name]


def test_patients_of_the_pipeline_give_a_warning() -> None:
    own = [f"C{number}" for number in (2, 30, 4, 5, 6, 7, 800)]
    table = predictions([0, 1] * 7, own * 2)
    patients = ["C2", "C30", "C4", "C5", "C6", "C7", "C7", "C99"]
    cells = pd.DataFrame({"patient": patients, "split": ["train"] * 5 + ["test"] * 3})
    cells["cell_id"] = cells["patient"]
    assert list(external_warnings(table, cells)) == [
        "external.lab_b may not be external: 6 of its 7 patients have names of the pipeline's "
        "patients (5 in train, 1 in test): C2, C4, C5, C6, C7, ..."
    ]
    assert list(external_warnings(table, cells[cells["patient"] == "C99"])) == []


def test_cells_of_the_pipeline_and_doubles_are_counted_and_named() -> None:
    table = predictions([0, 1] * 5, [None] * 10)
    ids = [f"own {number}" for number in range(7)]
    table.loc[:6, "same_as"] = ids
    table.loc[8:, "double_of"] = "crop 3"
    splits = ["train"] * 4 + ["val", "dropped", "test"]
    cells = pd.DataFrame({"cell_id": ids, "patient": "C1", "split": splits})
    assert list(external_warnings(table, cells))[:2] == [
        "external.lab_b is not external: 7 of its 10 cells have the very pixels of the pipeline's "
        "cells (4 in train, 1 in val, 1 in test, 1 in dropped): own 0, own 1, own 2, own 3, own 4, "
        "...",
        "external.lab_b: 2 of its 10 cells have the very pixels of another of the set and count "
        "again: crop 8, crop 9",
    ]
    rows = external_table(table, SETTINGS)
    assert set(rows["known"]) == {7}
    assert set(rows["doubles"]) == {2}
    assert list(table_warnings(rows)) == [
        "external.lab_b is not external: 7 of its 10 cells have the very pixels of the pipeline's "
        "cells",
        "external.lab_b: 2 of its 10 cells have the very pixels of another of the set and count "
        "again",
    ]
