"""The tables of an evaluation: what is in them, and when a reader is warned."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from malaria.evaluation.intervals import metric_intervals
from malaria.evaluation.measures import METRICS
from malaria.evaluation.metrics import choose_threshold, compute_metrics
from malaria.evaluation.names import name_of
from malaria.evaluation.pictures import draw_intervals
from malaria.evaluation.tables import MAJORITY, MODEL, STATISTICS, Settings, assess, warnings_of
from malaria.prediction.table import arrays_of, with_probabilities

Tables = dict[str, pd.DataFrame]


def split_of(name: str, strength: float, seed: int) -> pd.DataFrame:
    """Return cells of 16 patients, the first four healthy; `strength` separates the classes."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(16), 25)
    label = rng.integers(0, 2, len(patient)) * (patient >= 4)
    table = {
        "split": name,
        "patient": patient.astype(str),
        "label": label,
        "logit": rng.normal(size=len(patient)) + strength * (label - 0.5),
        "photo": "20150918_161508",
        "width": rng.integers(80, 200, len(patient)),
        "height": 90,
    }
    return with_probabilities(pd.DataFrame(table))


def both(strength: float, seed: int) -> Tables:
    return {name: split_of(name, strength, seed + i) for i, name in enumerate(("val", "test"))}


def chosen(val: pd.DataFrame) -> float:
    label, _, probability = arrays_of(val)
    return choose_threshold(label, probability, "youden")


SPLITS, CONTROLS = both(4, seed=0), both(1, seed=7)
THRESHOLD = chosen(SPLITS["val"])


def assess_at_half(splits: Tables, rule: str = "youden") -> Tables:
    return assess(splits, CONTROLS, Settings(0.5, 2.0, rule, replicates=100, seed=1))


@pytest.fixture(scope="module")
def tables() -> Tables:
    return assess(SPLITS, CONTROLS, Settings(THRESHOLD, 2.0, "youden", replicates=200, seed=1))


def test_every_estimate_is_that_of_the_metrics(tables: Tables) -> None:
    for row in tables["intervals"].itertuples():
        metrics = compute_metrics(SPLITS[row.split], THRESHOLD)
        assert round(row.estimate, 6) == metrics[row.metric]
    assert tables["intervals"]["metric"].tolist() == 2 * list(METRICS)


def test_operating_points_are_the_chosen_one_and_one_half(tables: Tables) -> None:
    points = tables["operating_points"]
    found = points[["point", "threshold"]].drop_duplicates().to_numpy().tolist()
    assert found == [["youden", THRESHOLD], ["fixed_0.5", 0.5]]
    assert set(points["split"]) == {"val", "test"}
    half = points[(points["point"] == "fixed_0.5") & (points["split"] == "test")]
    row = half.set_index("metric").loc["sensitivity"]
    expected = metric_intervals(SPLITS["test"], 0.5, 200, seed=1)["sensitivity"]
    assert (row["estimate"], row["low"], row["high"]) == (
        expected.estimate,
        expected.low,
        expected.high,
    )


def test_one_half_is_there_once_if_it_is_the_rule() -> None:
    assert len(assess_at_half(SPLITS, "fixed_0.5")["operating_points"]) == 6


def test_groups_patients_and_smear_are_of_test_cells(tables: Tables) -> None:
    test = SPLITS["test"]
    assert tables["patients"]["cells"].sum() == len(test)
    cells = tables["groups"].drop_duplicates(["group", "value"]).groupby("group")["cells"].sum()
    assert cells.to_dict() == {
        "longer side": 400,
        "parasite burden": 300,
        "patients": 400,
        "photographed": 400,
    }
    rate = 1 - compute_metrics(test, THRESHOLD)["specificity"]
    alarms = tables["smear"].set_index("prevalence").loc[0.01, "false_alarms"]
    assert alarms == pytest.approx(4950 * rate, rel=1e-4)


@pytest.mark.filterwarnings("error")  # matplotlib warns of a layout that it gave up
def test_the_figure_of_the_intervals_has_the_same_bytes_for_the_same_numbers(
    tables: Tables, tmp_path: Path
) -> None:
    def drawn(groups: pd.DataFrame) -> bytes:
        draw_intervals(tables["intervals"], groups, tmp_path / "figure.png", "title")
        return (tmp_path / "figure.png").read_bytes()

    groups = tables["groups"]
    assert drawn(groups) == drawn(groups)
    assert drawn(groups) != drawn(groups.assign(estimate=groups["estimate"] + 0.01))


def test_the_figure_has_the_metrics_names_and_marks_a_bar_that_runs_out(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr("malaria.drawing.save_figure", lambda figure, path: figures.append(figure))
    groups = tables["groups"].assign(low=0.9, estimate=0.95)
    for low in (0.9, 0.1):
        groups.loc[0, "low"] = low
        draw_intervals(tables["intervals"], groups, tmp_path / "figure.png", "title")
    named = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    assert named[-3:] == ["MCC", "ROC AUC", "average precision"]
    for figure, cut in zip(figures, (0, 1), strict=True):
        axis = figure.axes[1]
        arrows = [line for line in axis.lines if line.get_marker() == "<"]
        drawn = np.concatenate([np.asarray(line.get_xdata()) for line in arrows])
        assert drawn.tolist() == [axis.get_xlim()[0]] * cut
        assert axis.get_xlabel().endswith("reaches further") == bool(cut)


def test_baselines_have_their_own_threshold(tables: Tables) -> None:
    rows = tables["controls"].set_index(["predictor", "metric"])["estimate"]
    expected = compute_metrics(CONTROLS["test"], chosen(CONTROLS["val"]))
    for metric in ("accuracy", "sensitivity", "specificity", "roc_auc"):
        assert rows[STATISTICS, metric] == pytest.approx(expected[metric], abs=1e-6)
    assert rows[MODEL, "roc_auc"] > rows[STATISTICS, "roc_auc"]
    assert list(warnings_of(tables["controls"])) == []


@pytest.mark.parametrize(
    ("predictor", "metric", "warned"),
    [
        (STATISTICS, "roc_auc", True),
        (STATISTICS, "accuracy", True),
        (MAJORITY, "accuracy", True),
        (STATISTICS, "sensitivity", False),
    ],
)
def test_a_model_that_does_not_beat_a_baseline_gives_a_warning(
    tables: Tables, predictor: str, metric: str, warned: bool
) -> None:
    table = tables["controls"].set_index(["predictor", "metric"])
    ours = table.loc[(MODEL, metric), "estimate"]
    table.loc[(predictor, metric), "estimate"] = ours
    beaten = f"is {ours:.3f}, which does not beat {predictor} ({ours:.3f})"
    expected = [f"the model's {name_of(metric)} on test cells {beaten}"] if warned else []
    assert list(warnings_of(table.reset_index())) == expected


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
def test_cells_without_variation_have_tables_with_reasons(change: dict[str, Any]) -> None:
    splits = {name: split.assign(**change) for name, split in SPLITS.items()}
    intervals = assess_at_half(splits)["intervals"]
    without = intervals["low"].isna()
    assert (intervals.loc[without, "reason"] != "").all()
    if "patient" in change:
        assert without.all()


@pytest.mark.filterwarnings("error")
def test_a_patient_with_one_cell_counts_as_a_patient() -> None:
    test = SPLITS["test"]
    single = test.iloc[:1].assign(patient="C99")
    tables = assess_at_half(SPLITS | {"test": pd.concat([test, single], ignore_index=True)})
    assert tables["patients"].set_index("patient").loc["C99", "cells"] == 1
    assert tables["intervals"]["low"].notna().all()
