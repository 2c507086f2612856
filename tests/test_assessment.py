"""The tables of an evaluation: what stands in them, and when a reader is warned."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from malaria.assessment import MAJORITY, MODEL, STATISTICS, Settings, assess, warnings_of
from malaria.figures import draw_intervals
from malaria.intervals import metric_intervals
from malaria.metrics import choose_threshold, compute_metrics


def split_of(name: str, strength: float, seed: int) -> pd.DataFrame:
    """Return cells of 16 patients, the first four of them healthy; `strength` tells them apart."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(16), 25)
    label = rng.integers(0, 2, len(patient)) * (patient >= 4)
    logit = rng.normal(size=len(patient)) + strength * (label - 0.5)
    return pd.DataFrame(
        {
            "split": name,
            "patient": patient.astype(str),
            "label": label,
            "logit": logit,
            "probability": 1 / (1 + np.exp(-logit)),
            "photo": "20150918_161508",
            "width": rng.integers(80, 200, len(patient)),
            "height": 90,
        }
    )


def both(strength: float, seed: int) -> dict[str, pd.DataFrame]:
    return {name: split_of(name, strength, seed + i) for i, name in enumerate(("val", "test"))}


SPLITS, CONTROLS = both(4, seed=0), both(1, seed=7)
VAL = SPLITS["val"]
THRESHOLD = choose_threshold(VAL["label"].to_numpy(), VAL["probability"].to_numpy(), "youden")


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return assess(SPLITS, CONTROLS, Settings(THRESHOLD, 2.0, "youden", replicates=200, seed=1))


def test_every_estimate_is_that_of_the_metrics(tables: dict[str, pd.DataFrame]) -> None:
    for row in tables["intervals"].itertuples():
        metrics = compute_metrics(SPLITS[row.split], THRESHOLD)
        assert round(row.estimate, 6) == metrics[row.metric]
    assert len(tables["intervals"]) == 22


def test_the_chosen_point_stands_beside_one_half(tables: dict[str, pd.DataFrame]) -> None:
    points = tables["operating_points"]
    assert points[["point", "threshold"]].drop_duplicates().to_numpy().tolist() == [
        ["youden", THRESHOLD],
        ["fixed_0.5", 0.5],
    ]
    assert set(points["split"]) == {"val", "test"}
    half = points[(points["point"] == "fixed_0.5") & (points["split"] == "test")]
    estimate, interval = metric_intervals(SPLITS["test"], 0.5, 200, seed=1)["sensitivity"]
    row = half.set_index("metric").loc["sensitivity"]
    assert (row["estimate"], row["low"], row["high"]) == (estimate, interval.low, interval.high)


def test_one_half_stands_once_where_it_is_the_rule() -> None:
    tables = assess(SPLITS, CONTROLS, Settings(0.5, 2.0, "fixed_0.5", replicates=100, seed=1))
    assert len(tables["operating_points"]) == 6


def test_groups_patients_and_smear_are_of_test_cells(tables: dict[str, pd.DataFrame]) -> None:
    test = SPLITS["test"]
    assert tables["patients"]["cells"].sum() == len(test)
    by_group = tables["groups"].groupby("group")
    cells = by_group.apply(lambda rows: rows.drop_duplicates("value")["cells"].sum())
    assert cells.to_dict() == {
        "longer side": 400,
        "parasite burden": 300,
        "patients": 400,
        "photographed": 400,
    }
    rate = 1 - compute_metrics(test, THRESHOLD)["specificity"]
    alarms = tables["smear"].set_index("prevalence").loc[0.01, "false_alarms"]
    assert alarms == pytest.approx(4950 * rate, rel=1e-4)


def test_the_picture_of_the_intervals_is_the_same_bytes_for_the_same_numbers(
    tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    first, again, other = (tmp_path / f"{name}.png" for name in ("first", "again", "other"))
    draw_intervals(tables["intervals"], tables["groups"], first, "title")
    draw_intervals(tables["intervals"], tables["groups"], again, "title")
    assert first.read_bytes() == again.read_bytes()
    higher = tables["groups"].assign(estimate=tables["groups"]["estimate"] + 0.01)
    draw_intervals(tables["intervals"], higher, other, "title")
    assert first.read_bytes() != other.read_bytes()


def test_controls_have_a_threshold_of_their_own(tables: dict[str, pd.DataFrame]) -> None:
    rows = tables["controls"].set_index(["predictor", "metric"])["estimate"]
    val, test = CONTROLS["val"], CONTROLS["test"]
    own = choose_threshold(val["label"].to_numpy(), val["probability"].to_numpy(), "youden")
    expected = compute_metrics(test, own)
    for metric in ("accuracy", "sensitivity", "specificity", "roc_auc"):
        assert rows[STATISTICS, metric] == pytest.approx(expected[metric], abs=1e-6)
    assert rows[MODEL, "roc_auc"] > rows[STATISTICS, "roc_auc"]
    assert list(warnings_of(tables["controls"])) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {(STATISTICS, "roc_auc"): 0.95},
            ["the model's roc_auc on test cells is 0.950, which does not beat crop statistics"],
        ),
        ({(STATISTICS, "accuracy"): 0.9}, ["the model's accuracy on test cells is 0.900"]),
        ({(MAJORITY, "accuracy"): 0.92}, ["does not beat each patient's majority (0.920)"]),
        ({(STATISTICS, "sensitivity"): 0.99}, []),
    ],
)
def test_a_model_that_does_not_beat_a_shortcut_is_called_out(
    changes: dict[tuple[str, str], float], said: list[str]
) -> None:
    estimates: dict[tuple[str, str], Any] = {
        (MODEL, "accuracy"): 0.9,
        (MODEL, "sensitivity"): 0.9,
        (MODEL, "roc_auc"): 0.95,
        (STATISTICS, "accuracy"): 0.8,
        (STATISTICS, "sensitivity"): 0.8,
        (STATISTICS, "roc_auc"): 0.85,
        (MAJORITY, "accuracy"): 0.75,
    } | changes
    table = pd.DataFrame(
        [[*key, value] for key, value in estimates.items()],
        columns=["predictor", "metric", "estimate"],
    )
    warnings = list(warnings_of(table))
    assert len(warnings) == len(said)
    for part, warning in zip(said, warnings, strict=True):
        assert part in warning


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"logit": 0.5, "probability": 0.622459}, id="all predictions are equal"),
        pytest.param({"patient": "C1"}, id="one patient"),
        pytest.param({"width": 90}, id="all crops are of one size"),
        pytest.param({"photo": ""}, id="no date"),
    ],
)
def test_cells_that_say_little_have_tables_with_reasons(change: dict[str, Any]) -> None:
    splits = {name: split.assign(**change) for name, split in SPLITS.items()}
    tables = assess(splits, CONTROLS, Settings(0.5, 2.0, "youden", replicates=100, seed=1))
    intervals = tables["intervals"]
    without = intervals["low"].isna()
    assert (intervals.loc[without, "reason"] != "").all()
    if "patient" in change:
        assert without.all()


@pytest.mark.filterwarnings("error")
def test_a_patient_with_one_cell_counts_as_a_patient() -> None:
    test = SPLITS["test"]
    alone = test.iloc[:1].assign(patient="C99")
    splits = SPLITS | {"test": pd.concat([test, alone], ignore_index=True)}
    tables = assess(splits, CONTROLS, Settings(0.5, 2.0, "youden", replicates=100, seed=1))
    patients = tables["patients"].set_index("patient")
    assert patients.loc["C99", "cells"] == 1
    assert tables["intervals"]["low"].notna().all()
