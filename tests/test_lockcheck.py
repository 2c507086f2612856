"""What a lock is worth without data: each change named, and what follows from it left out."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from malaria import cli
from malaria.assessment import external_metrics
from malaria.errors import MalariaError
from malaria.external import read_external
from malaria.lockcheck import (
    LockState,
    check_lock,
    check_locks,
    find_changes,
    number_faults,
    read_pipeline,
)
from malaria.metrics import PREDICTION_COLUMNS, compute_metrics, read_predictions, write_metrics
from malaria.pipeline import locked_hashes, md5
from tests.test_experiments import git

PIPELINE = """\
stages:
  train:
    cmd: python ${repo}/stages/train.py
    params: [train.epochs]
    deps: ["${repo}/stages/train.py"]
    outs: [models/model.keras]
  evaluate:
    cmd: python ${repo}/stages/evaluate.py
    params: [evaluate.threshold]
    deps: [models/model.keras, "${repo}/stages/evaluate.py"]
    outs:
      - reports/predictions.csv: {cache: false}
      - reports/external.csv: {cache: false}
    metrics:
      - reports/metrics.json: {cache: false}
  report:
    cmd: python ${repo}/stages/report.py
    params: [evaluate]
    deps: [reports/metrics.json, "${repo}/stages/report.py"]
    outs:
      - reports/report.html: {cache: false}
"""
PARAMS = "repo: ..\ntrain: {epochs: 6}\nevaluate: {threshold: youden}\n"
ROWS = [
    # cell, patient, split, label, logit, probability: youden takes .6 on val
    ("a", "C1", "val", 1, 0.405465, 0.6),
    ("b", "C2", "val", 0, -0.405465, 0.4),
    ("c", "C3", "test", 1, 1.386294, 0.8),
    ("d", "C3", "test", 1, 0.0, 0.5),
    ("e", "C4", "test", 0, 0.847298, 0.7),
    ("f", "C4", "test", 0, -2.197225, 0.1),
]
EXTERNAL = """\
set,cell_id,patient,label,logit,probability
lab_b,x,,1,1.386294,0.800000
lab_b,y,,1,-2.197225,0.100000
"""


def dvc(root: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, capture_output=True
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose pipeline has run, cloned: without the data and DVC's cache."""
    root = tmp_path_factory.mktemp("lock") / "repo"
    pilot = root / "pilot"
    for folder in ("models", "reports"):
        (pilot / folder).mkdir(parents=True)
    (root / "stages").mkdir()
    for stage in ("train", "evaluate", "report"):
        (root / f"stages/{stage}.py").write_text(f"# {stage}\n")
    (pilot / "dvc.yaml").write_text(PIPELINE)
    (pilot / "params.yaml").write_text(PARAMS)
    for file in ("models/model.keras", "reports/report.html"):
        (pilot / file).write_text(file)
    lines = [PREDICTION_COLUMNS, *ROWS]
    text = "".join(",".join(map(str, line)) + "\n" for line in lines)
    (pilot / "reports/predictions.csv").write_text(text)
    (pilot / "reports/external.csv").write_text(EXTERNAL)
    predictions = read_predictions(pilot / "reports/predictions.csv")
    external = read_external(pilot / "reports/external.csv")
    metrics = {
        split: compute_metrics(predictions[predictions["split"] == split], 0.6)
        for split in ("val", "test")
    }
    write_metrics(metrics, external_metrics(external, 0.6), pilot / "reports/metrics.json")
    git(root, "init", "-q")
    dvc(root, "init", "-q")
    dvc(root, "commit", "--force", "pilot/dvc.yaml")  # as if the stages had run
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "results")
    git(root, "clone", "-q", ".", "../clone")
    return root.parent / "clone"


@pytest.fixture
def clone(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "clone"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_clone_without_data_is_all_right_and_what_never_ran_no_failure(clone: Path) -> None:
    assert not (clone / "pilot/models/model.keras").exists()
    (clone / "demo").mkdir()
    for file in ("dvc.yaml", "params.yaml"):
        shutil.copy(clone / "pilot" / file, clone / "demo")
    assert check_locks(clone, ["pilot", "demo"]) == [
        LockState("pilot", "ok"),
        LockState("demo", "never run"),
    ]


def test_each_change_is_named_once_with_its_stage(clone: Path) -> None:
    pilot = clone / "pilot"
    edit(clone / "stages/train.py", "#", "##")
    edit(pilot / "params.yaml", "{epochs: 6}", "{epochs: 7}")
    edit(pilot / "params.yaml", "{threshold: youden}", "{seed: 1}")
    edit(pilot / "dvc.yaml", "/evaluate.py", "/evaluate.py --fast")
    edit(pilot / "dvc.yaml", "outs: [models", "outs: [models/last.keras, models")
    (pilot / "reports/predictions.csv").unlink()
    (clone / "stages/report.py").unlink()
    state = check_lock(clone, "pilot")
    assert state == LockState(
        "pilot",
        "stale",
        (
            "train has not run since it was given pilot/models/last.keras in pilot/dvc.yaml",
            "stages/train.py was changed after train ran",
            "train.epochs in pilot/params.yaml is 7, but train ran with 6",
            "evaluate.threshold, which evaluate and report ran with, is missing from "
            "pilot/params.yaml",
            "pilot/reports/predictions.csv, which evaluate left, is missing",
            "the command of evaluate was changed after it ran",
            "stages/report.py, which report read, is missing",
            "evaluate.seed was added to pilot/params.yaml after report ran",
        ),
        ("train", "evaluate", "report"),
        "uv run dvc repro pilot/dvc.yaml",
    )


def test_edited_metrics_are_the_fault_of_nobody_downstream(clone: Path) -> None:
    edit(clone / "pilot/reports/metrics.json", "0.75", "0.95")
    state = check_lock(clone, "pilot")
    assert state.reasons == (
        "pilot/reports/metrics.json was changed after evaluate left it",
        "test.roc_auc in pilot/reports/metrics.json is 0.95, but reports/predictions.csv gives "
        "0.75 at the file's threshold",
    )
    assert state.rerun == ("evaluate", "report")


def test_results_without_a_lock_are_stale(clone: Path) -> None:
    (clone / "pilot/dvc.lock").unlink()
    state = check_lock(clone, "pilot")
    assert state.reasons == (
        "pilot/reports/metrics.json is there, but no pilot/dvc.lock tells its run",
    )


def test_a_folder_without_a_pipeline_and_dvcs_own_errors_are_told(clone: Path) -> None:
    with pytest.raises(MalariaError, match=r"stages has no dvc\.yaml; name a folder"):
        check_lock(clone, "stages")
    edit(clone / "pilot/dvc.yaml", "cmd: python", "comand: python")
    with pytest.raises(MalariaError, match=r"`uv run dvc status pilot/dvc\.yaml` failed: .*"):
        check_lock(clone, "pilot")


def changes(clone: Path, status: dict[str, Any]) -> list[tuple[str, str, tuple[str, ...]]]:
    found = find_changes(status, read_pipeline(clone, "pilot"))
    return [(change.what, change.how, change.stages) for change in found]


def test_data_that_was_not_fetched_means_nothing(finished: Path) -> None:
    status: dict[str, Any] = {
        "train": [
            {"changed outs": {"pilot/models/model.keras": "not in cache"}},
        ],
        "evaluate": [{"changed deps": {"pilot/models/model.keras": "deleted"}}],
    }
    assert changes(finished, status) == []
    status["train"][0]["changed outs"]["pilot/models/model.keras"] = "modified"
    assert changes(finished, status) == [
        ("pilot/models/model.keras", "output modified", ("train",))
    ]


def test_what_several_stages_use_is_told_once_and_what_follows_not_at_all(finished: Path) -> None:
    status = {
        "train": [{"changed deps": {"stages/train.py": "modified"}}, "changed command"],
        "evaluate": [
            {
                "changed deps": {
                    "stages/evaluate.py": "modified",
                    "pilot/models/model.keras": "modified",
                    "pilot/params.yaml": {"evaluate.threshold": "modified"},
                }
            },
            {"changed outs": {"pilot/reports/metrics.json": "deleted"}},
        ],
        "report": [{"changed deps": {"pilot/reports/metrics.json": "modified"}}],
    }
    assert changes(finished, status) == [
        ("stages/train.py", "dep modified", ("train",)),
        ("train", "changed command", ("train",)),
        ("stages/evaluate.py", "dep modified", ("evaluate",)),
        ("evaluate.threshold", "param modified", ("evaluate",)),
        ("pilot/reports/metrics.json", "output deleted", ("evaluate",)),
    ]


def test_stages_of_different_runs_are_seen_in_the_lock_alone(clone: Path) -> None:
    lock = clone / "pilot/dvc.lock"
    edit(lock, locked_hashes(clone / "pilot")["models/model.keras"], "a" * 32)  # what train left
    assert changes(clone, {}) == [("pilot/models/model.keras", "dep made anew", ("evaluate",))]
    lock.write_text(lock.read_text().split("  report:")[0])
    assert changes(clone, {})[1:] == [("report", "not run", ("report",))]


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        ('"accuracy": 0.5', '"accuracy": 0.500001', []),
        (
            '"threshold": 0.6',
            '"threshold": 0.4',
            [
                "val.threshold in pilot/reports/metrics.json is 0.4, but youden chooses 0.6 on the "
                "val cells of reports/predictions.csv",
                "val.accuracy in pilot/reports/metrics.json is 1.0, but reports/predictions.csv "
                "gives 0.5 at the file's threshold",
            ],
        ),
        (
            '"specificity": null',
            '"specificity": 1.0',
            [
                "external.lab_b.specificity in pilot/reports/metrics.json is 1.0, but "
                "reports/external.csv gives nan at the file's threshold"
            ],
        ),
        (
            '"n_cells": 4',
            '"cells": 4',
            [
                "test.cells in pilot/reports/metrics.json is 4, but reports/predictions.csv gives "
                "no such number at the file's threshold",
                "test.n_cells in pilot/reports/metrics.json is missing, but "
                "reports/predictions.csv gives 4 at the file's threshold",
            ],
        ),
        (
            '"threshold": 0.6',
            '"point": 0.6',
            [
                "pilot/reports/metrics.json cannot be computed again from reports/predictions.csv "
                "(KeyError('threshold'))"
            ],
        ),
    ],
)
def test_numbers_that_the_predictions_do_not_give_are_named(
    clone: Path, old: str, new: str, faults: list[str]
) -> None:
    edit(clone / "pilot/reports/metrics.json", old, new)
    assert [*number_faults(read_pipeline(clone, "pilot"))][: len(faults) or None] == faults


def test_a_lock_that_was_made_to_fit_edited_numbers_is_stale(clone: Path) -> None:
    lock, metrics = clone / "pilot/dvc.lock", clone / "pilot/reports/metrics.json"
    before = md5(metrics)
    edit(metrics, "0.75", "0.95")
    lock.write_text(lock.read_text().replace(before, md5(metrics)))
    state = check_lock(clone, "pilot")
    assert [reason.split(",")[0] for reason in state.reasons] == [
        "test.roc_auc in pilot/reports/metrics.json is 0.95"
    ]
    assert state.rerun == ("evaluate", "report")
    assert state.remedy == "uv run dvc repro --force pilot/dvc.yaml"


def test_the_command_answers_people_and_programs(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("malaria.root.ROOT", clone)
    edit(clone / "stages/report.py", "#", "##")
    told = CliRunner().invoke(cli.app, ["lock-check", "pilot"])
    assert told.exit_code == 1
    assert told.output == (
        "pilot: stale\n  stages/report.py was changed after report ran\n"
        "  to run again: report; `uv run dvc repro pilot/dvc.yaml`\n"
    )
    (clone / "pilot/dvc.lock").unlink()
    (clone / "pilot/reports/metrics.json").unlink()
    told = CliRunner().invoke(cli.app, ["lock-check", "--json", "pilot"])
    assert told.exit_code == 0
    assert json.loads(told.output) == [
        {"folder": "pilot", "state": "never run", "reasons": [], "rerun": [], "remedy": ""}
    ]
