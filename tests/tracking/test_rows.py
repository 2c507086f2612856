"""Experiments out of locks: their identity, name, and what is new in them."""

from pathlib import Path
from typing import Any

import pytest

from malaria.core.yaml_files import read_yaml
from malaria.pipeline.history import open_files, read_states, worktree
from malaria.pipeline.identity import digest_of, identity_of_lock, parts_now
from malaria.tracking.rows import ExperimentRow, describe, parts_at, row_of, title
from tests.lock_repo import LockRepo, md5_of


@pytest.fixture
def repo(tmp_path: Path) -> LockRepo:
    return LockRepo(tmp_path / "repo")


def row_now(repo: LockRepo) -> ExperimentRow:
    with open_files(repo.root) as files:
        (state,) = read_states(files, [worktree(repo.root)], [])
        row = row_of(state, files)
    assert row is not None
    return row


def live_identity(repo: LockRepo) -> str:
    """What live logging calls the experiment that would run now."""
    return digest_of(parts_now(repo.folder, read_yaml(repo.folder / "params.yaml")))


def test_a_whole_lock_is_the_experiment_that_ran(repo: LockRepo) -> None:
    repo.run()
    ran = live_identity(repo)
    repo.set_params(train={"epochs": 9})  # not run yet
    repo.write_code("side", "# not run yet\n")
    row = row_now(repo)
    assert row.identity == ran == identity_of_lock(repo.folder) != live_identity(repo)
    assert row.is_evaluated
    assert row.params == {
        "split.seed": 1,
        "side.knob": 1e-5,
        "train.model": "basic_cnn",
        "train.epochs": 2,
    }


def test_a_lock_of_the_first_stages_is_the_experiment_under_way(repo: LockRepo) -> None:
    repo.run("split", "train")
    row = row_now(repo)
    assert row.identity == live_identity(repo)
    assert set(row.entries) == {"split", "train"}
    assert not row.is_evaluated
    assert row.params["side.knob"] == 1e-5


@pytest.mark.parametrize("change", ["param", "code"])
def test_entries_of_an_earlier_experiment_are_apart(repo: LockRepo, change: str) -> None:
    repo.run()
    if change == "param":
        repo.set_params(train={"epochs": 3})
    else:
        repo.write_code("train", "# other\n")
        repo.set_params(train={"epochs": 3})
    repo.run("train")
    row = row_now(repo)
    assert row.identity == live_identity(repo)
    assert set(row.entries) == {"split", "side", "train"}
    assert not row.is_evaluated


def test_a_side_stage_of_other_params_is_apart_too(repo: LockRepo) -> None:
    repo.run()
    repo.set_params(split={"seed": 2}, side={"knob": 7})
    repo.run("split", "train", "evaluate")
    row = row_now(repo)
    assert row.identity == live_identity(repo)
    assert set(row.entries) == {"split", "train", "evaluate"}
    assert row.is_evaluated  # a fold of a series runs no further


def test_a_lock_of_which_nothing_fits_any_more_is_no_experiment(repo: LockRepo) -> None:
    repo.run("split", "side")
    repo.set_params(split={"seed": 2}, side={"knob": 7})
    repo.write_code("split", "# other\n")
    repo.write_code("side", "# other\n")
    lock = (repo.folder / "dvc.lock").read_text()
    read = lock[: lock.index("side:")] + lock[lock.index("side:") :].replace(
        md5_of(repo.folder / "data/cells.csv"), "0" * 32
    )
    (repo.folder / "dvc.lock").write_text(read)
    with open_files(repo.root) as files:
        (state,) = read_states(files, [worktree(repo.root)], [])
        assert row_of(state, files) is None


def test_what_a_revision_would_run_is_what_live_logging_says(repo: LockRepo) -> None:
    repo.commit("nothing run")
    with open_files(repo.root) as files:
        now = worktree(repo.root)
        parts = parts_at(files, now, "demo")
        assert parts == parts_now(repo.folder, read_yaml(repo.folder / "params.yaml"))
        assert parts_at(files, now, "pilot") == {}
        (repo.folder / "params.yaml").write_text("mlflow: {}\n")
        assert parts_at(files, now, "demo") == {}


@pytest.mark.parametrize(
    ("params", "experiment", "name"),
    [
        ({"train.model": "cnn_se", "preprocess.size": 64}, None, "12345678, cnn_se, 64 px"),
        ({"train.model": "cnn_se", "preprocess.size": 64}, "best", "best, cnn_se, 64 px"),
        ({"train.model": "cnn_se", "preprocess.size": 64}, "cnn_se", "cnn_se, 64 px"),
        ({"train.model": "m", "split.unit": "cell"}, "leaky", "leaky, leaky split, m"),
        ({"train.model": "m", "split.fold": 2, "split.folds": 5}, "cv", "cv, fold 2 of 5, m"),
        ({"train.model": "m", "fetch.synthetic.cells": 9}, "x", "x, m, synthetic"),
        ({"train.model": "m", "fetch.synthetic": None, "split.fold": None}, "x", "x, m"),
        ({}, None, "12345678"),
    ],
)
def test_names_tell_what_is_known(
    params: dict[str, Any], experiment: str | None, name: str
) -> None:
    assert title(params, experiment, "1234567890") == name


def note(repo: LockRepo, before: str | None) -> str:
    with open_files(repo.root) as files:
        parts = parts_at(files, worktree(repo.root), "demo")
        return describe(files, "demo", parts, before)


def test_changes_are_told_against_what_ran_before(repo: LockRepo) -> None:
    repo.run()
    repo.set_params(train={"epochs": 3})
    before = repo.commit("params of the next run, beside the lock of the last")
    repo.set_params(train={"epochs": 4, "model": "x" * 80})
    repo.write_code("side", "# other\n")
    assert note(repo, before) == (
        f"Changed since `demo/dvc.lock` of `{before[:8]}`:\n\n"
        "- `train.epochs`: `2` → `4`\n"
        f'- `train.model`: `"basic_cnn"` → `"{"x" * 59}…`\n'
        "- code: `stages/side.py`"
    )


def test_without_a_lock_params_of_the_commit_count(repo: LockRepo) -> None:
    before = repo.commit("no lock")
    where = f"`{before[:8]}`, where `demo` has no lock"
    assert note(repo, before) == f"The same params and code as {where}."
    repo.set_params(split={"seed": None})
    assert note(repo, before) == f"Changed since {where}:\n\n- `split.seed`: `1` → `null`"


def test_params_that_came_or_went_are_told(repo: LockRepo) -> None:
    text = (repo.folder / "dvc.yaml").read_text()
    (repo.folder / "dvc.yaml").write_text(text.replace("- side.knob", "- side.other"))
    params = (repo.folder / "params.yaml").read_text()
    before = repo.commit("another knob")
    assert note(repo, before).startswith("Nothing earlier")  # its params.yaml lacks it
    (repo.folder / "params.yaml").write_text(params.replace("knob:", "other:"))
    second = repo.commit("renamed")
    (repo.folder / "dvc.yaml").write_text(text)
    (repo.folder / "params.yaml").write_text(params)
    assert "- `side.knob`: new, `1e-05`\n- `side.other`: removed, was `1e-05`" in note(repo, second)


def test_the_first_of_all_has_nothing_to_be_compared_with(repo: LockRepo) -> None:
    assert note(repo, None) == "Nothing earlier of `demo` is in Git to compare it with."
    repo.run()
    (repo.folder / "dvc.lock").write_text("a: [")
    assert note(repo, repo.commit("broken")).startswith("Nothing earlier of `demo`")
