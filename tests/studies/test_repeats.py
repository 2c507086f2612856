"""A series of runs: what is set, what has run, and how it is summed up."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from malaria.core.yaml_files import read_yaml
from malaria.errors import MalariaError
from malaria.pipeline.stages import read_stages, up_to
from malaria.prediction.table import PREDICTION_COLUMNS, as_text
from malaria.studies import repeats
from malaria.studies.repeats import Repeat, folds_of, read_series, run_series, seeds_of, summarise
from tests.conftest import REPO
from tests.git_repo import keep_as_experiment, start_repository

VALUES = {"n_cells": 2, "n_patients": 1, "threshold": 0.4}


def keep(root: Path, name: str, accuracy: float, probability: tuple[float, float]) -> None:
    """Keep a finished run as DVC keeps an experiment."""
    reports = root / "pilot/reports"
    reports.mkdir(parents=True, exist_ok=True)
    test = VALUES | {"accuracy": accuracy}
    (reports / "metrics.json").write_text(json.dumps({"val": {}, "test": test}))
    rows = [
        (f"{name}_{number}", "C1", split, number, 0.0, value)
        for split in ("val", "test")
        for number, value in enumerate(probability)
    ]
    pd.DataFrame(rows, columns=PREDICTION_COLUMNS).to_csv(reports / "predictions.csv", index=False)
    keep_as_experiment(root, name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    start_repository(tmp_path)
    keep(tmp_path, "cv-fold10", 0.9, (0.1, 0.8))
    keep(tmp_path, "cv-fold2", 0.7, (0.3, 0.4))
    keep(tmp_path, "cv2-fold1", 0.1, (0.0, 0.0))
    return tmp_path


def test_a_run_for_each_fold_and_each_seed() -> None:
    assert folds_of("cv", 3, ["train.epochs=2"])[2] == Repeat(
        "cv-fold3", ("train.epochs=2", "split.folds=3", "split.fold=3")
    )
    assert [run.settings for run in seeds_of("s", [4, 7], [])] == [
        ("train.seed=4",),
        ("train.seed=7",),
    ]


def test_the_summary_has_a_row_for_each_run_then_mean_and_sd(root: Path) -> None:
    table = summarise(root, "pilot", "cv")
    assert table["experiment"].tolist() == ["cv-fold2", "cv-fold10", "mean", "sd"]
    assert table["accuracy"].tolist() == pytest.approx([0.7, 0.9, 0.8, 0.02**0.5])
    assert table["n_cells"].tolist() == [2, 2, pd.NA, pd.NA]


def test_the_summary_has_no_na_on_the_terminal(root: Path) -> None:
    lines = as_text(summarise(root, "pilot", "cv")).splitlines()
    assert lines[0].split()[:3] == ["experiment", "n_cells", "n_patients"]
    assert lines[2].split() == ["cv-fold10", "2", "1", "0.400", "0.900"]
    assert lines[3].split() == ["mean", "0.400", "0.800"]


def test_predictions_of_a_series_are_those_of_its_test_splits(root: Path) -> None:
    found = read_series(root, "pilot", "cv")
    assert list(found) == ["cv-fold2", "cv-fold10"]
    assert found["cv-fold2"]["called"].tolist() == [False, True]  # at .4, the run's own threshold
    assert found["cv-fold10"]["cell_id"].tolist() == ["cv-fold10_0", "cv-fold10_1"]
    assert set(found["cv-fold2"]["split"]) == {"test"}


def test_a_series_runs_what_its_summary_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], folder: Path) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(repeats, "_has_run", lambda *_: False)
    monkeypatch.setattr(repeats, "run_to_the_end", run)
    assert list(run_series(REPO, "demo", seeds_of("s", [1, 2], [])))[1:] == [
        "s-seed1 starts",
        "s-seed2 starts",
    ]
    assert [command[-1] for command in commands] == ["evaluate", "evaluate"]
    stages = read_stages(REPO / "demo", read_yaml(REPO / "demo/params.yaml"))
    needed = up_to(stages, "evaluate")
    assert {"fetch", "controls", "train", "predict", "evaluate"} <= needed
    assert not {"explore", "explain", "report"} & needed


def test_a_series_that_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(MalariaError, match="belongs to a series 'c'"):
        summarise(root, "pilot", "c")
    (root / "pilot/series").mkdir(parents=True)
    (root / "pilot/series/c.csv").touch()
    with pytest.raises(MalariaError, match=r"summed up to is in pilot/series/c\.csv"):
        summarise(root, "pilot", "c")


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("train.epoch=3", "does not set a key of params.yaml"),
        ("train.epochs", "does not set a key"),
        ("trian.epochs=3", "does not set a key"),
        ("train.epochs.more=3", "does not set a key"),
        ("train.epochs=[1", "does not set a key"),
        ("train.epochs=0", r"train\.epochs is 0"),
        ("split.fold=9", "fold is 9, but there are 5 folds"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_runs(
    tmp_path: Path, setting: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pilot").mkdir()
    shutil.copy(REPO / "pilot/params.yaml", tmp_path / "pilot")
    monkeypatch.setattr("subprocess.run", pytest.fail)
    run = Repeat("cv-fold1", ("split.folds=5", "split.fold=1", setting))
    with pytest.raises(MalariaError, match=fault):
        list(run_series(tmp_path, "pilot", [run]))
