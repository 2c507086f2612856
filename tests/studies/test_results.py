"""The result tables: their content, and that the text around them stays."""

import json
from pathlib import Path
from typing import Any

import pytest

from malaria.errors import MalariaError
from malaria.studies.results import (
    END,
    START,
    TABLES,
    cuts,
    leaky_table,
    model_table,
    result_table,
    series_table,
    write_results,
)
from tests.conftest import REPO

METRICS = ["accuracy", "sensitivity", "specificity", "roc_auc", "mcc", "brier"]
LEAKY = {"unit: patient": "unit: cell"}


def write_run(folder: Path, reports: Path, auc: float, **changes: Any) -> None:
    """Write a run of cnn_se on the pilot; `changes` are those to its published recipe."""
    text = (REPO / "pilot/params.yaml").read_text()
    edits = {"model: vgg19_finetuned": "model: cnn_se", **changes.pop("params", {})}
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    (reports / "tables").mkdir(parents=True)
    (folder / "params.yaml").write_text(text)
    values = dict.fromkeys(METRICS, 0.5) | {"n_cells": 1234, "n_patients": 9, "roc_auc": auc}
    (reports / "metrics.json").write_text(json.dumps({"val": values, "test": values}))
    (reports / "tables/intervals.csv").write_text(
        "split,metric,low,high\nval,accuracy,0.45,0.5512\ntest,accuracy,,\ntest,mcc,0.4,0.6\n"
    )
    published = {"batch_size": 100, "augment.zoom_range": [1.0, 1.0]}
    trained = {
        "weights": "none",
        "parameters": 271378,
        "size": 64,
        "precision": "float32",
        "recipe": {"published_size": 64, **changes},
        "published": {key: published[key] for key in changes},
        "kept_epoch": 2,
    }
    (reports / "train.json").write_text(json.dumps(trained))
    (reports / "history.csv").write_text("epoch,loss\n1,1\n2,1\n3,1\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the pilot, two experiments on it, and text around each table."""
    (tmp_path / "params.yaml").write_text((REPO / "params.yaml").read_text())
    write_run(tmp_path / "pilot", tmp_path / "pilot/reports", auc=0.8)
    a, b = tmp_path / "pilot/experiments/a", tmp_path / "pilot/experiments/b"
    write_run(a, a, auc=0.85, params=LEAKY, **{"augment.zoom_range": [0.9, 1.1]})
    write_run(b, b, auc=0.9, batch_size=32)
    (tmp_path / "docs").mkdir()
    for file, name in TABLES:
        with (tmp_path / file).open("a") as text:
            text.write(f"before\n{START.format(name=name)}old{END.format(name=name)}\nafter\n")
    return tmp_path


def test_a_metric_has_its_interval_if_there_is_one(root: Path) -> None:
    _, _, val, test = result_table(root).splitlines()  # none of the study, which has not run
    assert val.startswith("| pilot | val | 1,234 | 9 | 0.500 (0.450 to 0.551) | 0.500 | 0.500 |")
    assert test.startswith("| pilot | test | 1,234 | 9 | 0.500 | 0.500 | 0.500 |")
    assert test.split(" | ")[8] == "0.500 (0.400 to 0.600)"


def test_the_cuts_of_the_pilot_are_listed_with_the_studys_values(root: Path) -> None:
    assert "- `preprocess.size`: 64 (study: 125)" in cuts(root).splitlines()
    assert "gate." not in cuts(root)


def test_models_are_in_the_order_of_their_validation_auc(root: Path) -> None:
    rows = model_table(root).split("\n\n")[0].splitlines()
    assert rows[0].startswith("| model | parameters | val accuracy | val ROC AUC | test accuracy |")
    assert len({row.count("|") for row in rows}) == 1
    assert [row.split(" | ")[3] for row in rows[2:]] == ["0.900", "0.850", "0.800"]
    assert rows[2].startswith("| `cnn_se` | 271,378 | 0.500 | 0.900 | 0.500 |")


def test_a_leaky_split_and_changes_to_the_published_recipe_are_named(root: Path) -> None:
    path = root / "pilot/experiments/b/train.json"
    path.write_text(path.read_text().replace('"size": 64', '"size": 40', 1))
    table, changes = model_table(root).split("changed in its published recipe:\n\n")
    assert table.count("| `cnn_se` (leaky cell split) |") == 1
    assert changes.splitlines() == [
        "- `cnn_se`: 40 px (64), weights none, float32, batch_size 32 (100), epoch 2 of 3 kept.",
        "- `cnn_se` (leaky cell split): weights none, float32, zoom_range [0.9, 1.1] ([1.0, 1.0]), "
        "epoch 2 of 3 kept.",
        "- `cnn_se`: weights none, float32, epoch 2 of 3 kept.",
    ]


def test_a_leaky_split_is_next_to_the_honest_one_with_the_gap(root: Path) -> None:
    assert leaky_table(root) == "Not run."
    experiment = root / "pilot/experiments/leaky"
    write_run(experiment, experiment, auc=0.95, params=LEAKY)
    rows = [line.split(" | ") for line in leaky_table(root).splitlines()]
    assert rows[0][2] == "val ROC AUC"
    assert [row[0] for row in rows[2:]] == ["| by patient", "| by cell (leaky)", "| gap"]
    assert [row[2] for row in rows[2:]] == ["0.800", "0.950", "0.150"]
    assert "0.950" not in model_table(root)


def test_a_series_has_a_row_per_run_then_mean_and_sd(root: Path) -> None:
    (root / "pilot/series").mkdir()
    names = ["experiment", "n_cells", "n_patients", *METRICS]
    lines = [names, ["cv-fold1", "1200", "5", *["0.25"] * 6], ["mean", "", "", *["0.375"] * 6]]
    (root / "pilot/series/cv.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    rows = series_table(root).splitlines()
    assert rows[0].startswith("| run | cells | patients | accuracy | sensitivity |")
    assert rows[2] == "| cv-fold1 | 1,200 | 5 | 0.250 | 0.250 | 0.250 | 0.250 | 0.250 |"
    assert rows[3].startswith("| mean |  |  | 0.375 |")


def test_external_sets_are_not_in_the_tables(root: Path) -> None:
    before = [table(root) for table in TABLES.values()]
    path = root / "pilot/reports/metrics.json"
    external = {"lab_b": {"accuracy": 0.25, "specificity": None}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"external": external}))
    assert [table(root) for table in TABLES.values()] == before


def texts(root: Path) -> list[str]:
    return [(root / file).read_text() for file in ("README.md", "docs/results.md")]


def test_only_the_text_between_the_markers_is_written(root: Path) -> None:
    write_results(root)
    first = texts(root)
    for text in first:
        assert text.startswith("before\n<!-- ")
        assert text.endswith(" -->\nafter\n")
        assert "old" not in text
    assert [text.count("\nafter\n") for text in first] == [1, len(TABLES) - 1]
    write_results(root)
    assert texts(root) == first


def test_a_missing_result_or_marker_is_named_and_no_file_changes(root: Path) -> None:
    before = texts(root)
    (root / "pilot/reports/train.json").rename(root / "train.json")
    with pytest.raises(MalariaError, match=r"pilot/reports/train\.json is missing; run `uv run"):
        write_results(root)
    assert texts(root) == before
    (root / "train.json").rename(root / "pilot/reports/train.json")
    (root / "docs/results.md").write_text("no marker")
    with pytest.raises(MalariaError, match=r"results\.md needs the lines <!-- cuts: made by"):
        write_results(root)
    assert texts(root) == [before[0], "no marker"]
