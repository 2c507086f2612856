"""The README's tables: what stands in them, and that the rest of the README stays."""

import json
from pathlib import Path
from typing import Any

import pytest

from malaria.errors import MalariaError
from malaria.results import (
    END,
    START,
    TABLES,
    leaky_table,
    model_table,
    result_tables,
    series_table,
    write_results,
)
from tests.conftest import REPO

METRICS = ["n_cells", "n_patients", "accuracy", "sensitivity", "specificity", "roc_auc", "mcc"]


def write_run(folder: Path, reports: Path, auc: float, **changes: Any) -> None:
    """Write a run of cnn_se on the pilot: its params, metrics and what training made of them."""
    text = (REPO / "pilot/params.yaml").read_text()
    for old, new in {
        "model: vgg19_finetuned": "model: cnn_se",
        **changes.pop("params", {}),
    }.items():
        assert old in text
        text = text.replace(old, new)
    reports.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(text)
    values = dict.fromkeys([*METRICS, "brier"], 0.5) | {"n_cells": 1234, "n_patients": 9}
    metrics = {split: values | {"roc_auc": auc} for split in ("val", "test")}
    (reports / "metrics.json").write_text(json.dumps(metrics))
    (reports / "tables").mkdir()
    (reports / "tables/intervals.csv").write_text(
        "split,metric,low,high\nval,accuracy,0.45,0.5512\ntest,accuracy,,\ntest,mcc,0.4,0.6\n"
    )
    recipe = {
        "published_size": 64,
        "epochs": 50,
        "batch_size": 100,
        "optimizer": "adam",
        "learning_rate": 0.001,
        "schedule": "constant",
        "augment": json.loads(json.dumps(AUGMENT)),
        "engine": "device",
        "patience": 5,
        "head_epochs": 0,
        "head_learning_rate": None,
        "body_learning_rate": None,
    }
    resolved = {
        "model": "cnn_se",
        "weights": "none",
        "parameters": 271378,
        "size": 64,
        "precision": "float32",
        "recipe": recipe | changes,
        "kept_epoch": 2,
    }
    (reports / "train.json").write_text(json.dumps(resolved))
    (reports / "history.csv").write_text("epoch,loss\n1,1\n2,1\n3,1\n")


AUGMENT = {
    "rotation_range": 0,
    "width_shift_range": 0,
    "height_shift_range": 0,
    "shear_range": 0,
    "zoom_range": (1.0, 1.0),
    "horizontal_flip": False,
    "vertical_flip": False,
    "brightness_range": (1.0, 1.0),
    "fill_mode": "nearest",
    "right_angle_rotation": False,
    "brightness_delta": 0,
    "contrast_range": (1.0, 1.0),
    "stain_jitter": 0,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pilot").mkdir()
    (tmp_path / "params.yaml").write_text((REPO / "params.yaml").read_text())
    write_run(tmp_path / "pilot", tmp_path / "pilot/reports", auc=0.8)
    experiment = tmp_path / "pilot/experiments/b"
    write_run(experiment, experiment, auc=0.9, batch_size=32, learning_rate=0.01)
    experiment = tmp_path / "pilot/experiments/a"
    flips = AUGMENT | {"horizontal_flip": True, "zoom_range": [0.9, 1.1]}
    write_run(
        experiment,
        experiment,
        auc=0.85,
        augment=flips,
        params={"unit: patient": "unit: cell"},
    )
    return tmp_path


def test_models_stand_in_the_order_of_their_validation_auc(root: Path) -> None:
    rows = model_table(root).split("\n\n")[0].splitlines()
    assert rows[0].startswith("| model | parameters | val accuracy | val ROC AUC | test accuracy |")
    assert len({row.count("|") for row in rows}) == 1
    assert [row.split(" | ")[3] for row in rows[2:]] == ["0.900", "0.850", "0.800"]
    assert rows[2].startswith("| `cnn_se` | 271,378 | 0.500 | 0.900 | 0.500 |")


def test_a_leaky_split_is_called_so_wherever_its_numbers_appear(root: Path) -> None:
    leaky = [line for line in model_table(root).splitlines() if "leaky" in line]
    assert len(leaky) == 2
    assert all("`cnn_se` (leaky cell split)" in line for line in leaky)


def test_what_a_run_changed_in_its_recipe_is_listed_with_the_published_value(root: Path) -> None:
    changes = model_table(root).split("changed in its published recipe:\n\n")[1].splitlines()
    assert changes == [
        "- `cnn_se`: weights none, float32, batch_size 32 (100), learning_rate 0.01 (0.001), "
        "epoch 2 of 3 kept.",
        "- `cnn_se` (leaky cell split): weights none, float32, zoom_range [0.9, 1.1] ([1.0, 1.0]), "
        "horizontal_flip True (False), epoch 2 of 3 kept.",
        "- `cnn_se`: weights none, float32, epoch 2 of 3 kept.",
    ]


def test_another_size_than_the_published_one_is_said(root: Path) -> None:
    path = root / "pilot/experiments/b/train.json"
    path.write_text(path.read_text().replace('"size": 64', '"size": 40', 1))
    assert "- `cnn_se`: 40 px (64), weights none" in model_table(root)


def test_a_study_that_was_never_run_says_so(root: Path) -> None:
    assert "| study | test | not run |" in result_tables(root)


def test_a_metric_has_its_interval_where_there_is_one(root: Path) -> None:
    val, test = (line for line in result_tables(root).splitlines() if line.startswith("| pilot"))
    assert val.startswith("| pilot | val | 1,234 | 9 | 0.500 (0.450 to 0.551) | 0.500 | 0.500 |")
    assert test.startswith("| pilot | test | 1,234 | 9 | 0.500 | 0.500 | 0.500 |")
    assert test.split(" | ")[8] == "0.500 (0.400 to 0.600)"


def test_a_leaky_split_stands_beside_the_honest_one_with_the_gap(root: Path) -> None:
    assert leaky_table(root) == "Not run."
    experiment = root / "pilot/experiments/leaky"
    write_run(experiment, experiment, auc=0.95, params={"unit: patient": "unit: cell"})
    rows = [line.split(" | ") for line in leaky_table(root).splitlines()]
    assert rows[0][2] == "val ROC AUC"
    assert [row[0] for row in rows[2:]] == ["| by patient", "| by cell (leaky)", "| gap"]
    assert [row[2] for row in rows[2:]] == ["0.800", "0.950", "0.150"]
    assert "0.950" not in model_table(root)


def test_a_series_has_a_row_for_each_run_then_mean_and_sd(root: Path) -> None:
    (root / "pilot/series").mkdir()
    names = [*METRICS, "threshold"]
    lines = [["experiment", *names], ["cv-fold1", "1200", "5", *["0.25"] * 6]]
    lines += [["mean", "", "", *["0.375"] * 6], ["sd", "", "", *["0.0625"] * 6]]
    text = "".join(",".join(line) + "\n" for line in lines)
    (root / "pilot/series/cv.csv").write_text(text)
    rows = series_table(root).splitlines()
    assert rows[0].startswith("| run | cells | patients | accuracy | sensitivity |")
    assert rows[2] == "| cv-fold1 | 1,200 | 5 | 0.250 | 0.250 | 0.250 | 0.250 | 0.250 |"
    assert rows[3].startswith("| mean |  |  | 0.375 |")


def test_external_sets_stay_out_of_the_tables(root: Path) -> None:
    before = [table(root) for table in TABLES.values()]
    path = root / "pilot/reports/metrics.json"
    external = {"lab_b": {"accuracy": 0.25, "specificity": None}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"external": external}))
    assert [table(root) for table in TABLES.values()] == before


def test_only_what_stands_between_the_markers_is_written(root: Path) -> None:
    readme = root / "README.md"
    marked = [f"{START.format(name=name)}old{END.format(name=name)}" for name in TABLES]
    readme.write_text("before\n" + "\nbetween\n".join(marked) + "\nafter\n")
    write_results(root)
    first = readme.read_text()
    assert first.startswith("before\n<!-- results")
    assert first.endswith("<!-- /models -->\nafter\n")
    assert "\nbetween\n" in first
    assert "old" not in first
    write_results(root)
    assert readme.read_text() == first


def test_a_run_that_is_not_finished_is_told_and_the_readme_stays(root: Path) -> None:
    text = "".join(f"{START.format(name=name)}old{END.format(name=name)}" for name in TABLES)
    (root / "README.md").write_text(text)
    (root / "pilot/reports/train.json").unlink()
    with pytest.raises(MalariaError, match=r"pilot/reports/train\.json is missing"):
        write_results(root)
    assert (root / "README.md").read_text() == text


def test_a_readme_without_a_marker_is_refused(root: Path) -> None:
    (root / "README.md").write_text(f"{START.format(name='results')}{END.format(name='results')}")
    with pytest.raises(MalariaError, match=r"README\.md needs the lines .*leaky"):
        write_results(root)
